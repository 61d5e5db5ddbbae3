"""The ledger of one machine: a log and the state folded from it, in one folder."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlflow_ledger.bus import (
    EMBEDDED,
    Actor,
    ChangedMeanwhile,
    Outgoing,
    Position,
    Settings,
    SqliteLog,
    Stored,
    Writer,
    forkable,
    prepare,
)
from mlflow_ledger.schemas import BlobMissing, Envelope, Event, LogMissing

from .beginning import root_of
from .blob_place import place_of
from .blobs import Blobs
from .carrier import Carrier
from .committer import Committer, Decide, try_out
from .keyed_state import KeyedState, Progress, check_stands, next_offset, rehearsal
from .known import Foreseen, Known
from .onlooking import OnlookingState
from .place import Place
from .readers import Readers
from .state_file import StateDamaged, StateFailures, StateFiles, connect

if TYPE_CHECKING:
    from mlflow_ledger.bus import Keyring

    from .analytics import Analytics
    from .bundles import Bundles
    from .snapshots import Snapshots
    from .thin_ledger import RemoteAnalytics

__all__ = ["Ledger"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 10


class Ledger:
    """A log, and the state folded from it, in one folder shared by all processes of a host.

    Nothing is opened, made or locked before it is needed. All threads of a process share one
    instance (:func:`open_ledger`); it is fit for use after a fork.

    Two locks: the log's, for who appends, and the state's, for who folds; in this order.
    """

    fork_order = 2
    has_log = True
    """Whether the log, or a copy of it, is on this host."""
    erasable = False
    """Whether contents are sealed with keys, so that a log that never forgets can forget them."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        """Use the ledger in ``folder``, which is created with the first write."""
        self.folder = folder
        self.settings = settings or Settings.read()
        self._place = Place(folder, self.settings)
        self.log = self._make_log(folder / "log.sqlite")
        self.files = StateFiles(folder)
        self.blobs = Blobs(place_of(self.settings.blobs, folder / "blobs"))
        self.shared = False  # among several hosts, which then have a bus
        self.spools = False  # what is said may wait on this host, so that nothing waits for it
        self.carrier = Carrier(self)
        self.artifact_root: str | None = None
        actor = Actor(self.settings.actor, "claimed") if self.settings.actor else None
        self._writer = Writer(actor, keyring=self._keyring())
        self._state = KeyedState(self.log, self.files)
        self._committer = Committer(self.log, self._state, self._writer, self.root)
        self._onlooking = OnlookingState(self.log, self.files)
        self.readers = Readers()
        self._compared: Hashable = None
        forkable(self)

    @property
    def ledger_id(self) -> str:
        """The ledger's id."""
        return self.log.ledger_id

    def root(self) -> str:
        """Where artifacts of new experiments go: here, unless a server says otherwise."""
        return self.artifact_root or root_of(self.ledger_id)

    @property
    def known(self) -> Known:
        """What this process knows without looking at the state."""
        return self._committer.known

    def forget_known(self) -> None:
        """Let go of what is known, in whichever workspace."""
        self._committer.forget_known()

    def write(self, decide: Decide, foreseen: Foreseen | None = None) -> list[Event]:
        """Say what ``decide`` decides, all or nothing; returns the events once they are accepted.

        When this returns, the events stand in the log and every reader sees them. Where
        ``foreseen`` holds, that is said, and the state is not asked.

        Raises:
            Refused: by ``decide``, or by the rules; the refusal is kept for the audit.
            LogError: nothing was written, or it is not known whether it was.
        """
        if foreseen is None:
            with self.log.lock:
                return self._committer.write(decide)
        return self._say(
            foreseen,
            lambda _: list(foreseen.events),
            lambda: self._committer.write(decide, foreseen),
        )

    def write_and_ask(
        self,
        decide: Decide,
        question: Callable[[sqlite3.Connection], T],
        foreseen: Foreseen | None = None,
        answer: Callable[[Envelope], T] | None = None,
    ) -> T:
        """Say what ``decide`` decides, and ask the state that holds just that.

        Where ``foreseen`` holds, ``answer`` gives the answer, told how its first event was said.
        """
        if foreseen is None or answer is None:
            with self.log.lock:
                return self._committer.write_and_ask(decide, question)
        return self._say(
            foreseen,
            lambda said: answer(said[0].record.envelope),
            lambda: self._committer.write_and_ask(decide, question, foreseen),
        )

    def _say(
        self,
        foreseen: Foreseen,
        answer: Callable[[Sequence[Outgoing]], T],
        otherwise: Callable[[], T],
    ) -> T:
        """Say what is foreseen, and answer; do otherwise, under the lock, where it doesn't hold."""
        encoded = [prepare(event) for event in foreseen.events]
        with self.log.lock:
            said = self._committer.write_foreseen(foreseen, encoded)
            if said is None:
                return otherwise()
        if self._committer.owes_folding():
            self._committer.pay_folding()
        return answer(said)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state, which holds every acknowledged event.

        It takes no lock, and nobody waits for it. Keep it short: while it is open the state's
        write-ahead log cannot shrink.
        """
        self._place.check()
        if self.log.read_only:
            with StateFailures(self.folder), self._onlooking.read() as db:
                yield db
            return
        with StateFailures(self.folder):
            db = self._view()
            try:
                yield db
            finally:
                self.readers.give_back(db, self.files.mark())

    def query(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to a question of the state; asks again where the state had to be repaired."""
        return self._query(ask, self.read)

    def _query(
        self,
        ask: Callable[[sqlite3.Connection], T],
        read: Callable[[], AbstractContextManager[sqlite3.Connection]],
    ) -> T:
        for _ in range(_TRIES):
            mark = self.files.mark()
            try:
                with read() as db:
                    return ask(db)
            except StateDamaged as error:
                self.repair(mark, error)
                break
            except ChangedMeanwhile:
                continue
        with read() as db:
            return ask(db)

    def new_analytics(self) -> Analytics | RemoteAnalytics:
        """What runs are searched with."""
        from .analytics import Analytics  # DuckDB takes its time to be imported

        return Analytics(self)

    def snapshots(self) -> Snapshots:
        """Where state and analytics are published, for clones and for looking back."""
        from .snapshots import Snapshots

        return Snapshots(self)

    def catch_up(self, progress: Progress | None = None) -> Position:
        """Fold what stands in the log and not yet in the state; returns the position reached.

        ``progress`` gets (folded, of how many) now and then; it may end the work by raising.
        """
        self._place.check()
        if not self.log.read_only:
            self._fold_rest(progress)
        return self.query(lambda db: Position(self.ledger_id, {EMBEDDED: next_offset(db)}))

    def logs(self) -> list[SqliteLog]:
        """Where events stand that readers are shown."""
        return [self.log]

    def distant_blob(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob from where the log is, where no log is here."""
        msg = f"blob {digest} is nowhere but here"
        raise BlobMissing(msg)

    def follow(self) -> None:
        """Bring the log here up to date, where it is a copy of one that stands elsewhere."""

    def advance(self, budget_s: float, progress: Progress | None = None) -> Position:
        """Come closer to the end of the log, for about so long; returns where the log ends."""
        assert budget_s > 0
        self.catch_up(progress)
        return self.log.end()

    def position(self) -> Position:
        """How far this host has read the log."""
        return self.log.end()

    def oldest_missing_ms(self, end: Position) -> int | None:
        """When the log took the oldest event before ``end`` that this host has not read."""
        assert self.log.end().covers(end)
        return None

    def erasures(self) -> tuple[int, bool] | None:
        """What changes when something was erased, and whether something is to be erased yet.

        None where the log itself forgets.
        """
        return None

    def originals(self) -> Iterator[Stored]:
        """What stands in the log of which the one here is a copy, as far as it was copied."""
        return iter(())

    def bundles(self) -> Bundles | None:
        """The snapshots for hosts that have no replica yet: one host's ledger has none."""
        return None

    def rebuild(self, progress: Progress | None = None) -> Position:
        """Throw the state away and fold the log again; ``progress`` gets (folded, of how many)."""
        self._place.check()
        self.log.check_there()
        self.log.check_writable()
        with self._state.lock, StateFailures(self.folder):
            self._state.rebuild(progress)
            db, _ = self._state.caught_up()
            return Position(self.ledger_id, {EMBEDDED: next_offset(db)})

    def rehearse(self, events: Sequence[Event]) -> None:
        """Do nothing where the rules would take these events if they were next in the log.

        Raises:
            Refused: by the rules.
        """
        with self._state.lock:
            self._state.repairing(lambda: self._try_out(events))

    def trim_changes(self, generation: str, seq: int) -> None:
        """Forget what changed up to ``seq``, if the state still is of this generation."""
        with self._state.lock:
            self._state.repairing(self._state.caught_up)
            self._state.trim_changes(generation, seq)

    @property
    def keyed_state(self) -> KeyedState:
        """The state as this process keeps it up with the log; use it under its lock."""
        return self._state

    def exists(self) -> bool:
        """Whether anything was ever logged here."""
        return self.log.path.exists()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        if self._committer.has_unfolded() and self.exists():
            self._committer.pay_folding()
        with self.log.lock.without_processes(), self._state.lock.without_processes():
            self._state.close()
        self.readers.close()
        self._state.lock.close()
        self._onlooking.close()
        self._place.close()
        self.log.close()

    def before_fork(self) -> None:
        """Keep the state and the list of readers still; the log's own hook came first."""
        self._state.lock.before_fork()
        self.readers.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.readers.after_fork_in_parent()
        self._state.lock.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Leave inherited connections alone, and speak with a voice of our own."""
        self._committer.abandon()
        self._state.abandon()
        self.readers.after_fork_in_child()
        self._state.lock.after_fork_in_child()

    def _try_out(self, events: Sequence[Event]) -> None:
        db, fold = self._state.caught_up()
        said = Writer().stamp_all(events, self.log.partitions())  # of these ids none is ever used
        with rehearsal(db, fold):
            try_out(fold, said, events)

    def _make_place(self) -> None:
        """Make sure of the folder before its lock is opened, which is rare."""
        self._place.make()
        self.log.check_writable()

    def _keyring(self) -> Keyring | None:
        """What seals contents, where they are sealed."""
        return None

    def _make_log(self, path: Path) -> SqliteLog:
        return SqliteLog(path, self.settings.synchronous, make_folder=self._make_place)

    def _fold_rest(self, progress: Progress | None = None) -> None:
        """Fold what is missing; begin the log, or repair what is damaged, if need be."""
        if not self._follow(progress):
            self._begin_or_repair()

    def _begin_or_repair(self) -> None:
        with self.log.lock:
            self._committer.catch_up()

    def _follow(self, progress: Progress | None = None) -> bool:
        """Fold what is missing, where that takes no more than folding."""
        if self.files.current() is None or self.log.replaced() or not self.exists():
            return False
        with self._state.lock:
            try:
                with StateFailures(self.folder):
                    self._state.caught_up(progress)
                    return self.log.last_offset() > 0
            except StateDamaged:
                return False  # whoever has the log's lock as well repairs it

    def repair(self, mark: tuple[int, int], error: StateDamaged) -> None:
        """Fold the log again, unless somebody did since the state bore this mark."""
        if self.log.read_only:
            _log.warning("%s; folding the log apart, nothing is lost", error)
            self._onlooking.repair()
            return
        with self._state.lock, StateFailures(self.folder):
            if self.files.mark() == mark:
                _log.warning("%s; folding the log again, nothing is lost", error)
                self._state.rebuild()

    def _view(self) -> sqlite3.Connection:
        """A reader with a view open that holds every acknowledged event."""
        mark = self.files.mark()
        try:
            with StateFailures(self.folder):
                return self._fresh_view()
        except LogMissing:
            self._state.check_not_lost()
            raise
        except StateDamaged as error:
            self.repair(mark, error)
            return self._fresh_view()

    def _fresh_view(self) -> sqlite3.Connection:
        db = self._begin()
        if not self._is_behind(db):
            return db
        self.readers.give_back(db, self.files.mark())
        self._fold_rest()
        return self._begin()

    def _begin(self) -> sqlite3.Connection:
        """A reader with a view of the state as it is now."""
        db = self.readers.take(self.files.mark()) or self._connect()
        try:
            db.execute("BEGIN")
            next_offset(db)  # a view begins with the first look
            if self._compared != self.readers.mark:
                check_stands(db, self.log)
                self._compared = self.readers.mark
        except BaseException:
            self.readers.give_back(db, self.files.mark())
            raise
        return db

    def _is_behind(self, db: sqlite3.Connection) -> bool:
        """Whether something stands in the log that this view does not show."""
        last = self.log.last_offset()
        return last == 0 or next_offset(db) != last + 1 or self.log.replaced()

    def _connect(self) -> sqlite3.Connection:
        mark, path = self.files.mark(), self.files.current()
        if path is None:
            with self._state.lock.without_processes():
                self._state.close()  # it is not the current one, if there is any
            self._begin_or_repair()
            mark, path = self.files.mark(), self.files.current()
            assert path is not None
        return self.readers.lend(connect(path), mark)
