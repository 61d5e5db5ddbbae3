"""What waits on this host to be sent to a ledger, and what the ledger would not take."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_ledger.bus import KAFKA_SCHEME, KafkaLog, KafkaSettings, Log, Spool
from mlflow_ledger.schemas import SettingsError, format_time

__all__ = ["RefusedRow", "Spooled", "WaitingRow", "spool_of", "spooled"]


_LEAST_PATIENCE_S = 1.0  # a healthy broker needs some of it


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """How many events of a type wait, their encoded size, and when the oldest was spooled."""

    type: str
    events: int
    size_bytes: int
    since: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """An event that the log would not take, and what it said."""

    type: str
    entity: str
    actor: str
    spooled: str
    refused: str
    error: str


@dataclass(frozen=True, slots=True)
class Spooled:
    """A host's spool: what waits, by event types, and what was refused."""

    path: str
    events: int
    size_bytes: int
    since: str | None
    waiting: list[WaitingRow]
    refused: list[RefusedRow]


def spool_of(uri: str, patience_s: float | None = None) -> tuple[Spool, Log]:
    """The spool of this host for a ledger, and the log that it is sent to.

    With ``patience_s`` no request to the brokers takes longer.

    Raises:
        SettingsError: what is logged to that ledger is never spooled.
    """
    if not uri.startswith(f"{KAFKA_SCHEME}:"):
        msg = (
            f"{uri!r} has no spool: only ledgers in Kafka have one; what is logged to a folder is "
            "in its log at once"
        )
        raise SettingsError(msg)
    from mlflow_ledger.consumers import KafkaLedger, open_ledger

    ledger = open_ledger(uri, create=False)
    if not isinstance(ledger, KafkaLedger):
        msg = (
            f"{uri!r} is asked of a query service, and nothing of it is kept on this host; leave "
            "?query= away, and unset MLFLOW_LEDGER_QUERY, to see this host's spool"
        )
        raise SettingsError(msg)
    if patience_s is None:
        return ledger.spool, ledger.kafka
    settings = KafkaSettings.read()
    timeout_s = min(settings.timeout_s, max(patience_s, _LEAST_PATIENCE_S))
    hasty = settings.model_copy(update={"timeout_s": timeout_s})
    return ledger.spool, KafkaLog(ledger.kafka.place, hasty, ledger.ledger_id)


def spooled(spool: Spool) -> Spooled:
    """What a spool holds."""
    depth = spool.depth()
    found: dict[str, tuple[int, int, int]] = {}
    for _, (_, record, _), spooled_ms in spool.waiting():
        kind = record.envelope.type
        events, size_bytes, since_ms = found.get(kind, (0, 0, spooled_ms))
        found[kind] = (events + 1, size_bytes + record.size_bytes(), min(since_ms, spooled_ms))
    return Spooled(
        str(spool.path),
        depth.events,
        depth.size_bytes,
        None if depth.oldest_ms is None else format_time(depth.oldest_ms),
        [
            WaitingRow(kind, events, size_bytes, format_time(since_ms))
            for kind, (events, size_bytes, since_ms) in sorted(found.items())
        ],
        [
            RefusedRow(
                refusal.outgoing.record.envelope.type,
                refusal.outgoing.record.envelope.subject,
                refusal.outgoing.record.envelope.actor,
                format_time(refusal.spooled_ms),
                format_time(refusal.refused_ms),
                refusal.error,
            )
            for refusal in spool.refused()
        ],
    )
