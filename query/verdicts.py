"""What became of each event: the fold's verdicts, asked of the state."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from mlflow_ledger.bus import Stored
from mlflow_ledger.consumers import Ledger, Verdict
from mlflow_ledger.schemas import CommandRejected, DecodeError, Event, decode

__all__ = ["Judged", "folded", "judged"]

_BATCH = 500
_KINDS = {"IDENTITY_CONFLICT": "conflict", "UNREADABLE": "unreadable"}
_ACCEPTED = Verdict("accepted")


class Judged(NamedTuple):
    """A record, its event where that can be read, and its verdict.

    A ``CommandRejected`` has the verdict of the command that it tells of: rejected.
    """

    stored: Stored
    event: Event | None
    verdict: Verdict


def folded(ledger: Ledger) -> int:
    """The offset behind the last record that the state has folded; later ones have no verdict."""
    row = ledger.query(lambda db: db.execute("SELECT next FROM progress").fetchone())
    return int(row[0]) if row else 1


def judged(
    ledger: Ledger,
    records: Iterable[Stored],
    end: int,
    highest: dict[str, int] | None = None,
) -> Iterator[Judged]:
    """The records before offset ``end``, decoded, with their verdicts.

    A record that repeats an earlier one is dropped, as the fold drops it. Who reads on and on in
    parts gives ``highest``, where the highest id of each source is kept from part to part.
    """
    highest = {} if highest is None else highest
    records = itertools.takewhile(lambda stored: stored.offset < end, records)
    while batch := list(itertools.islice(records, _BATCH)):
        verdicts = ledger.query(partial(_kept, batch))
        for stored in batch:
            record = stored.record
            verdict = _ACCEPTED
            if (record.envelope.source, record.envelope.id) in verdicts:
                of_digest = verdicts[record.envelope.source, record.envelope.id]
                verdict = of_digest.get(record.digest(), _ACCEPTED)
            if verdict.kind != "conflict" and _repeated(ledger, highest, stored):
                continue
            yield _judge(stored, verdict)


def _judge(stored: Stored, verdict: Verdict) -> Judged:
    record = stored.record
    try:
        event = decode(record.envelope.type, record.head, record.clear())
    except DecodeError as error:
        return Judged(stored, None, Verdict("unreadable", "UNREADABLE", str(error)))
    if isinstance(event, CommandRejected) and verdict.kind == "accepted":
        message = event.content.message if event.content else ""
        verdict = Verdict("rejected", event.code, message)
    return Judged(stored, event, verdict)


def _kept(
    batch: list[Stored], db: sqlite3.Connection
) -> dict[tuple[str, int], dict[bytes, Verdict]]:
    """The verdicts that the fold kept about any of these identities, by digest."""
    found: dict[tuple[str, int], dict[bytes, Verdict]] = {}
    for stored in batch:
        identity = (stored.record.envelope.source, stored.record.envelope.id)
        for digest, code, message in db.execute(
            "SELECT digest, code, message FROM rejections "
            "WHERE source = ? AND id = ? AND digest <> x''",
            identity,
        ):
            verdict = Verdict(_KINDS.get(code, "rejected"), code, message)  # type: ignore[arg-type]  # the values of _KINDS are kinds
            found.setdefault(identity, {})[digest] = verdict
    return found


def _repeated(ledger: Ledger, highest: dict[str, int], stored: Stored) -> bool:
    """Whether this identity came before; the ids of a source grow unless one is repeated."""
    envelope = stored.record.envelope
    known = highest.setdefault(envelope.source, 0)
    if envelope.id > known:
        highest[envelope.source] = envelope.id
        return False
    earlier = "AND source = ? AND id = ? AND seq < ?"
    values = (envelope.source, envelope.id, stored.offset)
    return any(True for _ in ledger.log.rows(1, 1, earlier, values))
