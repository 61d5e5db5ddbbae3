"""A ledger as it was at an earlier moment: everything can be read, nothing can be written."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Never, TypeVar

from mlflow_ledger.bus import (
    EMBEDDED,
    Cut,
    MirrorLog,
    Partition,
    Position,
    Spans,
    SqliteLog,
    cut_log,
    parse_moment,
    past_read_only,
    position_of,
    record_at,
    spans_before,
    vector_at,
)
from mlflow_ledger.schemas import Envelope, Event, SettingsError, format_time

from .committer import Decide
from .keyed_state import Progress
from .known import Foreseen
from .ledger import Ledger
from .past_carrier import PastCarrier
from .past_states import PastSnapshots, PastStates
from .snapshots import Snapshots
from .state_file import StateDamaged, StateFailures, connect_past
from .telling import Telling

__all__ = ["AsOfLedger"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 5
_WORTH_TELLING = 20_000


class AsOfLedger(Ledger):
    """A ledger as it was when its log ended at a position, or at a time.

    As of a time, each partition ends before its first record that was appended later. What is read
    is a state of its own, folded from the nearest snapshot before that moment, kept for whoever
    asks for the same moment next, and never changed: reading it takes no lock.
    """

    def __init__(
        self, now: Ledger, as_of: str, telling: Telling | None = None, *, asked: str = "as_of"
    ) -> None:
        """Look back from ``now`` to a moment; the log is looked at with the first question.

        ``asked`` is what whoever asks calls the moment.
        """
        self._now = now
        self._as_of = as_of
        self._asked = asked
        self._past_telling = telling
        self._past = PastStates(now)
        self._finding = threading.RLock()
        self._cut: Cut | None = None
        self._made: Path | None = None
        super().__init__(now.folder, now.settings)
        self.shared = now.shared
        self.carrier = PastCarrier(self, now)

    @property
    def ledger_id(self) -> str:
        """The ledger's id."""
        return self._now.ledger_id

    @property
    def now(self) -> Ledger:
        """The ledger as it is."""
        return self._now

    def state_path(self) -> Path:
        """The file of the state, folded if nobody has done so; copy it, never change it."""
        return self._folder() / "state.sqlite"

    def log_spans(self) -> Spans:
        """The pieces of the log that stand before the moment."""
        return self._found().spans

    def _make_log(self, path: Path) -> SqliteLog:
        assert path == self._now.log.path
        return cut_log(self._now.log, self._found)

    # --- reading

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The state as it was; it never changes."""
        db = self._reader()
        try:
            with StateFailures(self.folder):
                yield db
        finally:
            self.readers.give_back(db, self._made)

    def query(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to a question of the state; folds it again where it was damaged."""
        try:
            with self.read() as db:
                return ask(db)
        except StateDamaged as error:
            _log.warning("%s; folding that moment again, nothing is lost", error)
            self._forget()
        with self.read() as db:
            return ask(db)

    def snapshots(self) -> Snapshots:
        """Analytics of this moment."""
        return PastSnapshots(self, self._now, self._folder)

    def catch_up(self, progress: Progress | None = None) -> Position:
        """Have the state ready; returns the position that it is of."""
        self._folder(progress)
        return self.position()

    def position(self) -> Position:
        """Where the log is cut."""
        return self._found().position

    def exists(self) -> bool:
        """Whether anything was ever logged here."""
        return self._now.exists()

    def bundles(self) -> None:
        """None: snapshots for other hosts are the present's."""

    def close(self) -> None:
        """Close what is open."""
        self.readers.close()
        with self._finding:
            if self._made is not None and self._made.parent != self.folder / "as-of":
                self._made = None
            self._past.close()
        self.log.close()

    # --- what cannot be done in the past

    def write(self, decide: Decide, foreseen: Foreseen | None = None) -> Never:
        """Refuse."""
        raise past_read_only()

    def write_and_ask(
        self,
        decide: Decide,
        question: Callable[[sqlite3.Connection], T],
        foreseen: Foreseen | None = None,
        answer: Callable[[Envelope], T] | None = None,
    ) -> Never:
        """Refuse."""
        raise past_read_only()

    def advance(self, budget_s: float, progress: Progress | None = None) -> Never:
        """Refuse: nothing ever comes."""
        raise past_read_only()

    def rebuild(self, progress: Progress | None = None) -> Never:
        """Refuse: the state of the present is folded again by its own URI."""
        raise past_read_only()

    def rehearse(self, events: Sequence[Event]) -> Never:
        """Refuse."""
        raise past_read_only()

    def trim_changes(self, generation: str, seq: int) -> Never:
        """Refuse."""
        raise past_read_only()

    # --- forks

    def before_fork(self) -> None:
        """Stand still."""
        self._finding.acquire()
        self._past.lock.before_fork()
        super().before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        super().after_fork_in_parent()
        self._past.lock.after_fork_in_parent()
        self._finding.release()

    def after_fork_in_child(self) -> None:
        """Leave what is open or private to the parent."""
        super().after_fork_in_child()
        self._past.abandon()
        self._past.lock.after_fork_in_child()
        if self._made is not None and self._made.parent != self.folder / "as-of":
            self._made = None
        self._finding = threading.RLock()

    # --- the moment

    def _found(self) -> Cut:
        """Where the log is cut."""
        with self._finding:
            if self._cut is None:
                self._now.follow()
                log = self._now.log
                log.check_there()
                position = _position(log, self._as_of, self._asked)
                spans = spans_before(log, position)
                if not spans:
                    _log.warning("as of %s the ledger had not begun: it is empty", self._as_of)
                self._cut = Cut(position, spans)
            return self._cut

    def _folder(self, progress: Progress | None = None) -> Path:
        """The folder of the state, which is folded if nobody has done so."""
        with self._finding:
            if self._made is None:
                telling, folded = self._past_telling, progress
                if folded is None and telling is not None:
                    folded = _told(telling)
                try:
                    self._made = self._past.get(self._found(), self.log, folded)
                finally:
                    if telling is not None:
                        telling.stop()
            return self._made

    def _reader(self) -> sqlite3.Connection:
        if self._made is not None and not self._made.is_dir():
            self._forget()  # others asked for so many moments that it had to go, or it was dropped
        return self.readers.take(self._made) or self._connect()

    def _connect(self) -> sqlite3.Connection:
        for _ in range(_TRIES):
            try:
                return self._connected()
            except StateDamaged:
                self._forget()
        return self._connected()

    def _connected(self) -> sqlite3.Connection:
        folder = self._folder()
        return self.readers.lend(connect_past(folder / "state.sqlite"), folder)

    def _forget(self) -> None:
        """Have the state folded again."""
        with self._finding:
            self.readers.close()
            if self._made is not None:
                self._past.drop(self._made)
            self._made = None


def _position(log: SqliteLog, text: str, asked: str) -> Position:
    """The position of a moment in a log.

    Raises:
        SettingsError: it is of another ledger, or has not come yet.
    """
    moment = parse_moment(text)
    if isinstance(moment, int):
        now_ms = time.time_ns() // 1_000_000
        if moment >= now_ms:
            msg = f"{asked}={text} has not come yet: it is {format_time(now_ms)} now"
            raise SettingsError(msg)
        return vector_at(log, moment) if isinstance(log, MirrorLog) else log.position_at(moment)
    if moment.ledger_id != log.ledger_id:
        msg = f"{text!r} is a position of ledger {moment.ledger_id}; this one is {log.ledger_id}"
        raise SettingsError(msg)
    embedded = set(moment.offsets) <= {EMBEDDED}
    if isinstance(log, MirrorLog):
        if embedded and moment.offsets:
            msg = f"{text!r} is a position in one sequence, and this ledger has topics: name a time"
            raise SettingsError(msg)
        named = record_at(text)
        moment = moment if named is None else _whole(log, *named)
    elif not embedded:
        msg = f"{text!r} is a position in topics, and this ledger has one sequence: name a time"
        raise SettingsError(msg)
    end = position_of(log)
    if not end.covers(moment):
        msg = f"{asked}={text} has not come yet: the log ends at {end}"
        raise SettingsError(msg)
    return moment


def _whole(log: MirrorLog, partition: Partition, offset: int) -> Position:
    """A position of all partitions, where only that of one event is named.

    The others then end where they did when that event was appended.
    """
    appended_ms = _appended_ms(log, partition, offset)
    if appended_ms is None:
        others = dict(position_of(log).offsets)
    else:
        others = dict(vector_at(log, appended_ms - 1).offsets)
    return Position(log.ledger_id, others | {partition: offset})


def _appended_ms(log: MirrorLog, partition: Partition, offset: int) -> int | None:
    for first, last, found, begin in log.runs():
        if found == partition and begin <= offset <= begin + last - first:
            stored = log.at(first + offset - begin)
            return None if stored is None else stored.append_ms
    return None


def _told(telling: Telling) -> Progress:
    def folded(done: int, of: int) -> None:
        if of >= _WORTH_TELLING:
            telling("folding events", done, of)

    return folded
