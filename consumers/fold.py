"""The fold: one event after the other changes the keyed state, or is refused.

``fold`` takes a state and an event and returns a verdict. It has no clock and no randomness: the
same events, with the partitions interleaved in any way, give the same state.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from mlflow_ledger.bus import EMBEDDED, UNREADABLE, Partition, Stored
from mlflow_ledger.schemas import DecodeError, Envelope, Event, LogForeign, Refused, decode

from .gathered import Gathered
from .rules import Context, Numbers, Pending, rules_of

__all__ = ["FOLD_VERSION", "Fold", "Verdict"]

FOLD_VERSION = 5
"""Raised whenever tables or rules change: each version keeps its own state over one log."""

Kind = Literal["accepted", "rejected", "duplicate", "conflict", "unreadable"]


class Verdict(NamedTuple):
    """What became of an event; ``code`` and ``message`` say why it was not accepted."""

    kind: Kind
    code: str = ""
    message: str = ""


_ACCEPTED = Verdict("accepted")
_DUPLICATE = Verdict("duplicate")
_METRICS_ONLY = {"m"}
_json = json.JSONEncoder(ensure_ascii=False).encode


class Fold:
    """Folds events into one state database, within transactions that its caller opens.

    It remembers numbers of sources and the progress of partitions; :meth:`refresh` at the start of
    a transaction, :meth:`forget` after one that was rolled back.
    """

    def __init__(self, db: sqlite3.Connection, gathered: Gathered | None = None) -> None:
        """Fold into ``db``, which has the tables of ``state.sql``; ``gathered`` gets digests."""
        self._db = db
        self._gathered = gathered
        self._sources: dict[str, int] = {}
        self._numbers: Numbers = {}
        self._highest: dict[int, int] = {}
        """The highest id folded of each source: what comes behind it is new without a look."""
        self._progress: dict[Partition, tuple[int, bytes, int]] = {}
        self._seq = 0
        self._pending = Pending(db)

    def refresh(self) -> None:
        """Read the progress as this transaction sees it; another fold may have gone on."""
        progress = {
            (topic, number): (following, digest, seq)
            for topic, number, following, digest, seq in self._db.execute(
                "SELECT topic, partition, next, digest, seq FROM progress"
            )
        }
        if progress != self._progress:
            self._numbers.clear()
            self._highest.clear()
        self._progress = progress
        if self._gathered is not None:
            self._gathered.begin(self.next_offset(EMBEDDED))
        self._seq = max((seq for _, _, seq in progress.values()), default=0)

    def forget(self) -> None:
        """Forget what a transaction that was rolled back has taught."""
        self._sources.clear()
        self._numbers.clear()
        self._highest.clear()
        self._progress.clear()
        self._seq = 0
        self._pending.forget()
        if self._gathered is not None:
            self._gathered.undo()

    @property
    def seq(self) -> int:
        """How many records this state has seen."""
        return self._seq

    def next_offset(self, partition: Partition) -> int:
        """The offset that follows the last one folded, 0 where there is none."""
        return self._progress.get(partition, (0, b"", 0))[0]

    def progress(self) -> dict[Partition, int]:
        """The next offset of each partition."""
        return {partition: entry[0] for partition, entry in self._progress.items()}

    def apply(self, stored: Stored, event: Event | None = None) -> Verdict:
        """Fold one record; ``event`` is its decoded form where the caller has it.

        Raises:
            LogForeign: the record names rules that this program does not know.
        """
        verdict = self._fold(stored, event)
        self._pending.write()
        return verdict

    def apply_all(self, records: Iterable[Stored]) -> None:
        """Fold records one after the other; what they change is written at the end, in one go.

        Raises:
            LogForeign: as :meth:`apply`; nothing of the transaction may then be kept.
        """
        for stored in records:
            self._fold(stored, None)
        self._pending.write()

    def _fold(self, stored: Stored, event: Event | None) -> Verdict:
        digest = stored.record.digest()
        if self._gathered is not None:
            self._gathered.note((stored.offset, digest, stored.append_ms))
        self._seq = seq = self._seq + 1
        self._progress[stored.partition] = (stored.offset + 1, digest, seq)
        verdict = self._identify(stored, digest)
        if verdict is None:
            verdict = self._decide(stored, event, seq)
        if verdict is not _ACCEPTED and verdict.kind not in ("accepted", "duplicate"):
            self._keep(stored, digest, verdict)
        return verdict

    def save_progress(self) -> None:
        """Write the progress; the caller commits it together with the rows."""
        for partition, entry in self._progress.items():
            self._db.execute(
                "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?)", (*partition, *entry)
            )

    def _identify(self, stored: Stored, digest: bytes) -> Verdict | None:
        """Drop what was folded before; None for what is new, ids that come late included."""
        envelope = stored.record.envelope
        source_no = self._source_no(envelope.source)
        if envelope.id > self._highest[source_no]:
            self._highest[source_no] = envelope.id
            self._pending.identities.append((source_no, envelope.id, digest[:8]))
            return None
        self._pending.write_identities()
        added = self._db.execute(
            "INSERT OR IGNORE INTO identities VALUES (?, ?, ?)",
            (source_no, envelope.id, digest[:8]),
        ).rowcount
        if added:
            return None
        (known,) = self._db.execute(
            "SELECT digest FROM identities WHERE source_no = ? AND id = ?",
            (source_no, envelope.id),
        ).fetchone()
        if known == digest[:8]:
            return _DUPLICATE
        return Verdict(
            "conflict",
            "IDENTITY_CONFLICT",
            f"({envelope.source}, {envelope.id}) was folded with digest {known.hex()}…, and came "
            f"again with {digest[:8].hex()}…; the first one holds",
        )

    def _decide(self, stored: Stored, event: Event | None, seq: int) -> Verdict:
        record = stored.record
        rules = rules_of(record.envelope.rules)
        if rules is None:
            msg = (
                f"event ({record.envelope.source}, {record.envelope.id}) names rules version "
                f"{record.envelope.rules}, which this program does not know; upgrade mlflow-ledger"
            )
            raise LogForeign(msg)
        if record.envelope.type == UNREADABLE:
            return Verdict("unreadable", "UNREADABLE", record.head.decode("utf-8", "replace"))
        try:
            if event is None:
                event = decode(record.envelope.type, record.head, record.clear())
            rule = rules.get(type(event))
            if rule is None:
                return _not_known(record.envelope)
            context = Context(self._db, record.envelope, seq, self._numbers, self._pending)
            rule(context, event)
        except DecodeError as error:
            return Verdict("unreadable", "UNREADABLE", str(error))
        except Refused as refused:
            return Verdict("rejected", refused.reason.value, refused.message)
        self._note_changes(context)
        return _ACCEPTED

    def _note_changes(self, context: Context) -> None:
        if context.touched or context.catalog:
            touched = _touched(context.touched)
            self._pending.changes.append((context.seq, touched))

    def _keep(self, stored: Stored, digest: bytes, verdict: Verdict) -> None:
        envelope = stored.record.envelope
        self._db.execute(
            "INSERT OR IGNORE INTO rejections VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                envelope.source, envelope.id, digest, envelope.type, envelope.subject,
                verdict.code, verdict.message,
            ),
        )  # fmt: skip

    def _source_no(self, source: str) -> int:
        number = self._sources.get(source)
        if number is not None and number in self._highest:
            return number
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO sources (source) VALUES (?)", (source,))
            (number,) = self._db.execute(
                "SELECT source_no FROM sources WHERE source = ?", (source,)
            ).fetchone()
            self._sources[source] = number
        self._pending.write_identities()
        (highest,) = self._db.execute(
            "SELECT max(id) FROM identities WHERE source_no = ?", (number,)
        ).fetchone()
        self._highest[number] = highest or 0
        return int(number)


def _not_known(envelope: Envelope) -> Verdict:
    """The verdict of programs that know no later rules: to them the type is none of ours."""
    text = f"rules version {envelope.rules} knows no {envelope.type}"
    return Verdict("unreadable", "UNREADABLE", text)


def _touched(touched: dict[int, dict[str, list[str]]]) -> str:
    """What was touched, as the list of changes keeps it: JSON, or nothing."""
    if len(touched) == 1:
        ((run_no, kinds),) = touched.items()
        if kinds.keys() == _METRICS_ONLY and len(kinds["m"]) == 1:
            return f'{{"{run_no}": {_one_metric(kinds["m"][0])}}}'
    return _json(touched) if touched else ""


@lru_cache(maxsize=4096)
def _one_metric(key: str) -> str:
    return _json({"m": [key]})
