"""The ledger of one machine: a log and the state folded from it, in one folder."""

from __future__ import annotations

import atexit
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlflow_ledger.bus import (
    EMBEDDED,
    RULES,
    TOPICS,
    Actor,
    Outgoing,
    Position,
    Settings,
    SqliteLog,
    Writer,
    abandon,
    folder_of,
    forkable,
    reach,
)
from mlflow_ledger.schemas import (
    CommandRejected,
    CommandRejectedContent,
    Event,
    LedgerCreated,
    LogError,
    LogMissing,
    LogUnavailable,
    Reason,
    Refused,
    TopicPartitions,
)

from .blobs import Blobs
from .fold import Fold, Verdict
from .state_file import StateDamaged, StateFiles, connect, create, state_failures

__all__ = ["Decide", "Ledger", "open_ledger"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Decide = Callable[[sqlite3.Connection], Sequence[Event]]
"""Looks at the state, caught up and under the lock, and says what happened; may refuse."""

_BATCH = 5000
_MAX_MESSAGE_BYTES = 4096
_IDLE_READERS = 8
_REPAIRS = 3  # where others repair too, a generation may go while it is being opened


class Ledger:
    """A log, and the state folded from it, in one folder shared by all processes of a host.

    Nothing is opened, made or locked before it is needed. All threads of a process share one
    instance (:func:`open_ledger`); it is fit for use after a fork.
    """

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        """Use the ledger in ``folder``, which is created with the first write."""
        self.folder = folder
        self.settings = settings or Settings.read()
        self.log = SqliteLog(folder / "log.sqlite", self.settings.synchronous)
        self.files = StateFiles(folder)
        self.blobs = Blobs(folder / "blobs")
        self.artifact_root: str | None = None
        actor = Actor(self.settings.actor, "claimed") if self.settings.actor else None
        self._writer = Writer(actor)
        self._state: sqlite3.Connection | None = None
        self._fold: Fold | None = None
        self._mark = (0, 0)
        self._readers: list[sqlite3.Connection] = []
        self._readers_mark = (0, 0)
        self._compared = (0, 0)
        self._readers_mutex = threading.Lock()
        self._lent: set[sqlite3.Connection] = set()
        forkable(self)

    @property
    def ledger_id(self) -> str:
        """The ledger's id."""
        return self.log.ledger_id

    def root(self) -> str:
        """Where artifacts of new experiments go: here, unless a server says otherwise."""
        return self.artifact_root or f"ledger-artifacts://{self.ledger_id}"

    def write(self, decide: Decide) -> list[Event]:
        """Say what ``decide`` decides, all or nothing; returns the events once they are accepted.

        When this returns, the events stand in the log and every reader sees them.

        Raises:
            Refused: by ``decide``, or by the rules; the refusal is kept for the audit.
            LogError: nothing was written, or it is not known whether it was.
        """
        self._make_folder()
        with self.log.lock:
            return self._repairing(lambda: self._write(decide))

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state, which holds every acknowledged event.

        It takes no lock, and nobody waits for it. Keep it short: while it is open the state's
        write-ahead log cannot shrink.
        """
        with state_failures(self.folder):
            db = self._view()
            try:
                yield db
            finally:
                self._give_back(db)

    def query(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to a question of the state; asks again where the state had to be repaired."""
        mark = self.files.mark()
        try:
            with self.read() as db:
                return ask(db)
        except StateDamaged as error:
            self._repair(mark, error)
            with self.read() as db:
                return ask(db)

    def catch_up(self) -> Position:
        """Fold what stands in the log and not yet in the state; returns the position reached."""
        self._make_folder()
        with self.log.lock:
            return self._repairing(self._position)

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> Position:
        """Throw the state away and fold the log again; ``progress`` gets (folded, of how many)."""
        with self.log.lock, state_failures(self.folder):
            self._close_state()
            self._build(progress)
            return self._position()

    def trim_changes(self, generation: str, seq: int) -> None:
        """Forget what changed up to ``seq``, if the state still is of this generation."""
        with self.log.lock:
            path = self.files.current()
            if self._state is None or path is None or path.name != generation:
                return
            self._state.execute("BEGIN IMMEDIATE")
            self._state.execute("DELETE FROM changes WHERE seq <= ?", (seq,))
            self._state.execute(
                "INSERT OR REPLACE INTO meta VALUES ('changes_floor', ?)", (str(seq),)
            )
            self._state.execute("COMMIT")

    def exists(self) -> bool:
        """Whether anything was ever logged here."""
        return self.log.path.exists()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self.log.lock.without_processes():
            self._close_state()
        with self._readers_mutex:
            while self._readers:
                self._readers.pop().close()
        self.log.close()

    def before_fork(self) -> None:
        """Keep the list of readers still; the log's own hook holds the lock."""
        self._readers_mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._readers_mutex.release()

    def after_fork_in_child(self) -> None:
        """Leave inherited connections alone, and speak with a voice of our own."""
        abandon(self._state, *self._readers, *self._lent)
        self._state = self._fold = None
        self._readers = []
        self._lent = set()
        self._writer.renew()
        self._readers_mutex.release()

    # --- writing: all of the following is called under the log's lock

    def _write(self, decide: Decide) -> list[Event]:
        state, fold = self._caught_up()
        try:
            events = self._commit(state, fold, decide)
        except Refused as refused:
            self._keep_refusal(state, fold, refused)
            raise
        except _Unfolded as error:
            _log.warning("%s; folding the log again, nothing is lost", error)
            self._close_state()
            self._build(None)
            events = error.events
        reach("fold.committed")
        return events

    def _commit(self, state: sqlite3.Connection, fold: Fold, decide: Decide) -> list[Event]:
        said: list[Outgoing] = []
        events: list[Event] = []
        logged = False
        try:
            with _transaction(state, fold):
                events = list(decide(state))
                reach("append.begun")
                correlation_id = secrets.token_hex(8) if len(events) > 1 else None
                partitions = self.log.partitions()
                for event in events:
                    said.append(self._writer.stamp(event, partitions, correlation_id))  # noqa: PERF401  # what was said so far must be known when one fails
                with self.log.transaction() as append:
                    for stored, event in zip(append(said), events, strict=True):
                        _check_verdict(fold.apply(stored, event), event)
                    fold.save_progress()
                    reach("append.written")
                logged = True
                reach("append.committed")
        except Refused:
            self._writer.unsay(said)
            raise
        except BaseException as error:
            if events:  # else nothing was given an id yet
                self._writer.renew()
            if logged and isinstance(error, sqlite3.DatabaseError):
                raise _Unfolded(events, error) from error
            raise
        return events

    def _keep_refusal(self, state: sqlite3.Connection, fold: Fold, refused: Refused) -> None:
        event = refused.event
        if not isinstance(event, Event):
            return
        message = refused.message.encode("utf-8", "replace")[:_MAX_MESSAGE_BYTES]
        rejected = CommandRejected(
            command=type(event).__name__,
            command_topic=event.topic,
            command_key=event.key,
            command_subject=event.subject,
            code=refused.reason.value,
            content=CommandRejectedContent(message=message.decode("utf-8", "ignore")),
        )
        self._commit(state, fold, lambda _: [rejected])

    def _caught_up(self) -> tuple[sqlite3.Connection, Fold]:
        """The state with everything folded that stands in the log; made if there is none."""
        if self.log.replaced():
            self._close_state()
            self._distrust_log()
        if not self.exists():
            self._create()
        if self._state is None or self.files.mark() != self._mark:
            self._open_state()
        state, fold = self._state, self._fold
        assert state is not None
        assert fold is not None
        last = self.log.last_offset()
        if _next(state) > last + 1:
            self._distrust_log()
            msg = f"the state in {self.folder} is ahead of the log, which was cut back or replaced"
            raise StateDamaged(msg)
        if last == 0:
            self._commit(state, fold, lambda _: [self._beginning()])
        elif _next(state) <= last:
            self._catch_up(state, fold, last, None)
        return state, fold

    def _distrust_log(self) -> None:
        """Another log stands here than the one last written to: no id goes on from there."""
        self.log.close_connections()
        self._writer.renew()

    def _position(self) -> Position:
        state, _ = self._caught_up()
        return Position(self.ledger_id, {EMBEDDED: _next(state)})

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot make the ledger's folder {self.folder}: {error.strerror}"
            raise LogUnavailable(msg) from error

    def _create(self) -> None:
        self._check_not_lost()
        SqliteLog.create(self.log.path, secrets.token_hex(8))

    def _check_not_lost(self) -> None:
        if self.files.current() is not None:
            msg = (
                f"{self.log.path} is gone, but what was folded from it is still there: restore the "
                f"log from a backup, or move {self.folder} away to begin a new ledger"
            )
            raise LogMissing(msg)

    def _beginning(self) -> LedgerCreated:
        return LedgerCreated(
            ledger_id=self.ledger_id,
            partitions=[TopicPartitions(topic=topic, count=1) for topic in TOPICS],
            rules=RULES,
            artifact_root=self.root(),
        )

    def _open_state(self) -> None:
        self._close_state()
        path = self.files.current()
        if path is None:
            self._build(None)
            return
        state = connect(path)
        try:
            self._check_stands(state)
        except BaseException:
            state.close()
            self._distrust_log()
            raise
        self._use(state)

    def _check_stands(self, state: sqlite3.Connection) -> None:
        """The last event that the state has folded must be in the log, with that digest."""
        with state_failures(self.folder):
            row = state.execute("SELECT next, digest FROM progress").fetchone()
        if row is None:
            return
        stored = self.log.at(row[0] - 1)
        if stored is None or stored.record.digest() != row[1]:
            msg = f"the state in {self.folder} does not match the log"
            raise StateDamaged(msg)

    def _build(self, progress: Callable[[int, int], None] | None) -> None:
        last = self.log.last_offset()
        path = self.files.next_path()
        state = create(path)
        fold = Fold(state)
        if last:
            self._catch_up(state, fold, last, progress)
        self.files.make_current(path)
        self._use(state)

    def _use(self, state: sqlite3.Connection) -> None:
        self._state, self._fold = state, Fold(state)
        self._mark = self.files.mark()

    def _catch_up(
        self,
        state: sqlite3.Connection,
        fold: Fold,
        last: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        reach("catchup.begun")
        first = _next(state)
        while first <= last:
            with _transaction(state, fold):
                expected = first
                for stored in self.log.rows(first, _BATCH):
                    if stored.offset != first:
                        break
                    fold.apply(stored)
                    first = stored.offset + 1
                if first == expected:
                    raise self.log.damaged(f"event {first} is missing, later ones are there")
                fold.save_progress()
            reach("catchup.folded")
            if progress is not None:
                progress(first - 1, last)

    def _repairing(self, work: Callable[[], T]) -> T:
        """Do something with the state; where that is damaged, build it again and do it then."""
        try:
            with state_failures(self.folder):
                return work()
        except StateDamaged as error:
            _log.warning("%s; folding the log again, nothing is lost", error)
            self._close_state()
            self._build(None)
            return work()

    def _close_state(self) -> None:
        if self._state is not None:
            self._state.close()
        self._state = self._fold = None

    def _repair(self, mark: tuple[int, int], error: StateDamaged) -> None:
        """Fold the log again, unless somebody did since the state bore this mark."""
        with self.log.lock, state_failures(self.folder):
            if self.files.mark() == mark:
                _log.warning("%s; folding the log again, nothing is lost", error)
                self._close_state()
                self._build(None)

    # --- reading

    def _view(self) -> sqlite3.Connection:
        """A reader with a view open that holds every acknowledged event."""
        for _ in range(_REPAIRS):
            mark = self.files.mark()
            try:
                with state_failures(self.folder):
                    return self._fresh_view()
            except LogMissing:
                self._check_not_lost()
                raise
            except StateDamaged as error:
                self._repair(mark, error)
        return self._fresh_view()

    def _fresh_view(self) -> sqlite3.Connection:
        db = self._begin()
        if not self._is_behind(db):
            return db
        self._give_back(db)
        self.catch_up()
        return self._begin()

    def _reader(self) -> sqlite3.Connection:
        mark = self.files.mark()
        path = self.files.current()
        if path is None:
            with self.log.lock.without_processes():
                self._close_state()  # it is not the current one, if there is any
            self.catch_up()
            mark, path = self.files.mark(), self.files.current()
            assert path is not None
        with self._readers_mutex:
            if mark != self._readers_mark:
                while self._readers:
                    self._readers.pop().close()
                self._readers_mark = mark
            if self._readers:
                db = self._readers.pop()
                self._lent.add(db)
                return db
        db = connect(path)
        with self._readers_mutex:
            self._lent.add(db)
        return db

    def _begin(self) -> sqlite3.Connection:
        """A reader with a view of the state as it is now."""
        db = self._reader()
        try:
            db.execute("BEGIN")
            _next(db)  # a view begins with the first look
            if self._compared != self._readers_mark:
                self._check_stands(db)
                self._compared = self._readers_mark
        except BaseException:
            self._give_back(db)
            raise
        return db

    def _is_behind(self, db: sqlite3.Connection) -> bool:
        """Whether the state does not match the log, and nobody is about to change that.

        Behind and locked means that somebody is just writing: what they write is not acknowledged
        yet, and whatever was acknowledged before is in the state.
        """
        last = self.log.last_offset()
        if last > 0 and _next(db) == last + 1 and not self.log.replaced():
            return False
        if not self.log.lock.try_acquire():
            return False
        self.log.lock.release()
        return True

    def _give_back(self, db: sqlite3.Connection) -> None:
        if db not in self._lent:
            return  # it was lent in the process that this one was forked from
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        finally:
            self._take_back(db)

    def _take_back(self, db: sqlite3.Connection) -> None:
        with self._readers_mutex:
            self._lent.discard(db)
            if len(self._readers) < _IDLE_READERS and self._readers_mark == self.files.mark():
                self._readers.append(db)
                return
        db.close()


@contextmanager
def _transaction(state: sqlite3.Connection, fold: Fold) -> Iterator[None]:
    state.execute("BEGIN IMMEDIATE")
    try:
        reach("fold.begun")
        fold.refresh()
        yield
        reach("fold.written")
        state.execute("COMMIT")
    except BaseException:
        fold.forget()
        if state.in_transaction:
            state.execute("ROLLBACK")
        raise


class _Unfolded(StateDamaged):
    """Events stand in the log, and the state could not take them in."""

    def __init__(self, events: list[Event], error: BaseException) -> None:
        super().__init__(f"the state could not be written ({error})")
        self.events = events


def _check_verdict(verdict: Verdict, event: Event) -> None:
    if verdict.kind == "rejected":
        raise Refused(Reason(verdict.code), verdict.message, event)
    if verdict.kind != "accepted":
        msg = f"a new {type(event).__name__} came back as {verdict.kind}: {verdict.message}"
        raise LogError(msg)


def _next(state: sqlite3.Connection) -> int:
    row = state.execute("SELECT next FROM progress").fetchone()
    return row[0] if row else 1


_ledgers: dict[Path, Ledger] = {}
_ledgers_mutex = threading.Lock()


def open_ledger(uri: str) -> Ledger:
    """The ledger of a URI; one instance for each folder and process, closed at exit."""
    folder = folder_of(uri)
    with _ledgers_mutex:
        ledger = _ledgers.get(folder)
        if ledger is None:
            ledger = _ledgers[folder] = Ledger(folder)
        return ledger


@atexit.register
def _close_all() -> None:
    for ledger in _ledgers.values():
        ledger.close()
