"""From the log to a bridge's deliveries: which webhooks are to be told of which event."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

from mlflow_ledger.bus import EMBEDDED, MirrorLog, Position, Selection, Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    Event,
    LogForeign,
    LogMissing,
    RegisteredModelDeleted,
    RegisteredModelEvent,
    WebhookCreated,
    WebhookDeleted,
    WebhookUpdated,
)

from .deliveries import Deliveries
from .moment import Since, parse_moment
from .verdicts import Judged, judged
from .webhook_events import NOTICES

__all__ = ["WebhookFeed"]

_BATCH = 500
_KINDS: tuple[type[Event], ...] = (
    *NOTICES,
    RegisteredModelDeleted,
    WebhookCreated,
    WebhookDeleted,
    WebhookUpdated,
)
_TYPES = tuple(sorted(kind.__name__ for kind in _KINDS))
_CATALOG = ("catalog", 0)


class WebhookFeed:
    """Reads on behind the last event that was routed, and routes what has come since.

    All that decides about a delivery stands in one partition, in one order: routed twice, on
    whatever host, it comes out the same.
    """

    def __init__(self, ledger: Ledger, deliveries: Deliveries) -> None:
        """Read the log of ``ledger``; use it in one thread at a time."""
        self._ledger = ledger
        self._deliveries = deliveries
        self._mirrored = isinstance(ledger.log, MirrorLog)
        self._inode = 0
        self._next = 1

    def take(self, *, passing_over: bool = False) -> int:
        """Route all that stands in the log by now; returns how many events it looked at.

        Raises:
            LogMissing: the log was removed or replaced meanwhile.
            LogForeign: it ends before the cursor.
        """
        end = self._end()
        taken = 0
        while batch := list(itertools.islice(self._rows(self._next, end), _BATCH)):
            with self._deliveries.transaction():
                for entry in self._judged(batch, end):
                    self._route(entry, passing_over=passing_over)
                self._deliveries.advance(self.place(batch[-1]))
            self._next = batch[-1].offset + 1
            taken += len(batch)
        self._next = max(self._next, end)
        return taken

    def begin_at(self, since: str, wanted: Mapping[str, set[str]]) -> None:
        """Make due what webhooks now listen for, from a moment on: their ids, with actions.

        What was due before stays so. Where this cursor is new, what came before is not due.
        """
        behind = self._behind(since)
        with self._deliveries.transaction():
            self.take(passing_over=self._deliveries.place == 0)
            self._deliveries.forget_models()
            for entry in self._history():
                stored, event, _ = entry
                if not isinstance(event, RegisteredModelEvent):
                    continue
                if behind(stored):
                    place = self.place(stored)
                    self._deliveries.replay(place, stored.append_ms, event, wanted)
                else:
                    self._deliveries.follow_model(event)

    def _behind(self, since: str) -> Callable[[Stored], bool]:
        """Whether a record stands at a moment or behind it.

        Of a position in Kafka's topics only the catalog's offset counts, where it has one: hosts
        copy the topics in orders of their own.
        """
        begin = Since.read(self._ledger.log, since)
        moment = parse_moment(since)
        if self._mirrored and isinstance(moment, Position) and _CATALOG in moment.offsets:
            place = moment.offset(_CATALOG)
            return lambda stored: self.place(stored) >= place
        first = begin.position.offset(EMBEDDED)
        return lambda stored: stored.offset >= first and begin.holds(stored)

    def at(self, place: int) -> Stored:
        """The record at a place.

        Raises:
            LogMissing: it is not there.
        """
        stored = self._ledger.log.at(self._local(place))
        if stored is None or self.place(stored) != place:
            msg = f"the event at {self._position(place)} is not in the log any more"
            raise LogMissing(msg)
        return stored

    def place(self, stored: Stored) -> int:
        """A record's offset in the partition that it came from, on every host the same."""
        log = self._ledger.log
        return log.origin(stored.offset)[1] if isinstance(log, MirrorLog) else stored.offset

    def _end(self) -> int:
        """The offset behind the last record there is, all before it being folded."""
        ledger = self._ledger
        ledger.follow()
        if not self._mirrored and ledger.log.replaced():
            msg = f"the log in {ledger.folder} was removed or replaced while it was followed"
            raise LogMissing(msg)
        inode = ledger.log.path.stat().st_ino
        end = ledger.log.last_offset() + 1
        if inode != self._inode:
            place = self._deliveries.place
            self._inode, self._next = inode, self._local(place + 1)
            if not self._mirrored and place >= end:
                msg = (
                    f"the cursor {self._deliveries.path} has got to {self._position(place)}, and "
                    f"the log in {ledger.folder} ends before: it was restored from a backup. "
                    "Move the cursor aside, and begin with --since the moment of the backup"
                )
                raise LogForeign(msg)
        return end

    def _history(self) -> Iterator[Judged]:
        highest: dict[str, int] = {}
        rows = self._rows(1, self._next)
        while batch := list(itertools.islice(rows, _BATCH)):
            yield from self._accepted(judged(self._ledger, batch, self._next, highest))

    def _judged(self, batch: list[Stored], end: int) -> Iterator[Judged]:
        highest = self._deliveries.highest({s.record.envelope.source for s in batch})
        yield from self._accepted(judged(self._ledger, batch, end, highest))
        self._deliveries.note_sources(highest)

    @staticmethod
    def _accepted(entries: Iterator[Judged]) -> Iterator[Judged]:
        return (entry for entry in entries if entry.verdict.kind == "accepted")

    def _route(self, entry: Judged, *, passing_over: bool) -> None:
        stored, event, _ = entry
        assert event is not None
        workspace = stored.record.envelope.workspace
        if passing_over:
            self._deliveries.pass_over(event, workspace)
        else:
            self._deliveries.route(self.place(stored), stored.append_ms, workspace, event)

    def _rows(self, first: int, end: int) -> Iterator[Stored]:
        where, values = Selection(_TYPES).sql()
        rows = self._ledger.log.rows(first, None, where, values)
        return itertools.takewhile(lambda stored: stored.offset < end, rows)

    def _position(self, place: int) -> Position:
        partition = _CATALOG if self._mirrored else EMBEDDED
        return Position(self._ledger.ledger_id, {partition: place})

    def _local(self, place: int) -> int:
        return self._ledger.log.local(self._position(place)).offset(EMBEDDED)
