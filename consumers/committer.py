"""What happens under the lock: the state is kept up with the log, and commands are committed."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlflow_ledger.bus import (
    EMBEDDED,
    RULES,
    TOPICS,
    Appending,
    Outgoing,
    SqliteLog,
    Writer,
    abandon,
    reach,
)
from mlflow_ledger.schemas import (
    CommandRejected,
    CommandRejectedContent,
    Event,
    LedgerCreated,
    LogError,
    LogMissing,
    Reason,
    Refused,
    TopicPartitions,
)

from .fold import Fold, Verdict
from .state_file import StateDamaged, StateFiles, connect, create, state_failures

__all__ = ["Committer", "Decide", "Progress", "check_stands", "next_offset"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Decide = Callable[[sqlite3.Connection], Sequence[Event]]
"""Looks at the state, caught up and under the lock, and says what happened; may refuse."""

Progress = Callable[[int, int], None]
"""Is told how many events are folded, and of how many."""

_BATCH = 5000
_MAX_MESSAGE_BYTES = 4096


class Committer:
    """The one connection of a process that changes the state; call it under the log's lock.

    State and log are two files. A command is folded into an open transaction of the state, then
    the log is committed, then the state: a process that dies in between leaves a state that is
    behind, and the next one folds what is missing.
    """

    def __init__(
        self, log: SqliteLog, files: StateFiles, writer: Writer, root: Callable[[], str]
    ) -> None:
        """Commit to ``log``; ``root`` tells where artifacts of a new ledger go."""
        self._log = log
        self._files = files
        self._writer = writer
        self._root = root
        self._state: sqlite3.Connection | None = None
        self._fold: Fold | None = None
        self._mark = (0, 0)

    def write(self, decide: Decide) -> list[Event]:
        """Say what ``decide`` decides, all or nothing; a refusal is kept for the audit."""
        return self._repairing(lambda: self._write(decide))

    def catch_up(self) -> int:
        """Fold what stands in the log and not yet in the state; returns the next offset."""
        return self._repairing(lambda: next_offset(self._caught_up()[0]))

    def rebuild(self, progress: Progress | None = None) -> None:
        """Throw the state away and fold the log again."""
        self.close()
        last = self._log.last_offset()
        path = self._files.next_path()
        state = create(path)
        if last:
            self._catch_up(state, Fold(state), last, progress)
        self._files.make_current(path)
        self._use(state)

    def trim_changes(self, generation: str, seq: int) -> None:
        """Forget what changed up to ``seq``, if the state still is of this generation."""
        path = self._files.current()
        if self._state is None or path is None or path.name != generation:
            return
        self._state.execute("BEGIN IMMEDIATE")
        self._state.execute("DELETE FROM changes WHERE seq <= ?", (seq,))
        self._state.execute("INSERT OR REPLACE INTO meta VALUES ('changes_floor', ?)", (str(seq),))
        self._state.execute("COMMIT")

    def check_not_lost(self) -> None:
        """A state without a log is no new ledger."""
        if self._files.current() is not None:
            msg = (
                f"{self._log.path} is gone, but what was folded from it is still there: restore "
                f"the log from a backup, or move {self._folder} away to begin a new ledger"
            )
            raise LogMissing(msg)

    def close(self) -> None:
        """Close the state."""
        if self._state is not None:
            self._state.close()
        self._state = self._fold = None

    def abandon(self) -> None:
        """After a fork, in the child: leave the state alone, and speak with another voice."""
        abandon(self._state)
        self._state = self._fold = None
        self._writer.renew()

    @property
    def _folder(self) -> Path:
        return self._log.path.parent

    def _write(self, decide: Decide) -> list[Event]:
        state, fold = self._current()
        try:
            events = self._commit(state, fold, decide)
        except _Behind:
            return self._write_behind(decide)
        except Refused as refused:
            self._keep_refusal(state, fold, refused)
            raise
        except _Unfolded as error:
            _log.warning("%s; folding the log again, nothing is lost", error)
            self.rebuild()
            events = error.events
        reach("fold.committed")
        return events

    def _write_behind(self, decide: Decide) -> list[Event]:
        """Write once the state is caught up; the lock keeps it so."""
        self._caught_up()
        return self._write(decide)

    def _commit(
        self, state: sqlite3.Connection, fold: Fold, decide: Decide, *, first: bool = False
    ) -> list[Event]:
        said: list[Outgoing] = []
        events: list[Event] = []
        logged = False
        try:
            with _transaction(state, fold):
                with self._log.transaction() as appending:
                    _check_current(fold, appending, first=first)
                    events = list(decide(state))
                    reach("append.begun")
                    self._stamp(events, said)
                    for stored, event in zip(appending.append(said), events, strict=True):
                        _check_verdict(fold.apply(stored, event), event)
                    fold.save_progress()
                    reach("append.written")
                logged = True
                reach("append.committed")
        except (Refused, _Behind):
            self._writer.unsay(said)
            raise
        except BaseException as error:
            if events:  # else nothing was given an id yet
                self._writer.renew()
            if logged and isinstance(error, sqlite3.DatabaseError):
                raise _Unfolded(events, error) from error
            raise
        return events

    def _stamp(self, events: Sequence[Event], said: list[Outgoing]) -> None:
        """Give events their identities; ``said`` holds those that have one, if one fails."""
        correlation_id = secrets.token_hex(8) if len(events) > 1 else None
        partitions = self._log.partitions()
        for event in events:
            said.append(self._writer.stamp(event, partitions, correlation_id))  # noqa: PERF401  # see the docstring

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

    def _current(self) -> tuple[sqlite3.Connection, Fold]:
        """The state of the current generation, opened or made if need be."""
        if self._log.replaced():
            self.close()
            self._distrust_log()
        if self._state is None or self._files.mark() != self._mark:
            if not self._log.path.exists():
                self.check_not_lost()
                SqliteLog.create(self._log.path, secrets.token_hex(8))
            self._open_state()
        assert self._state is not None
        assert self._fold is not None
        return self._state, self._fold

    def _caught_up(self) -> tuple[sqlite3.Connection, Fold]:
        """The state with everything folded that stands in the log."""
        state, fold = self._current()
        last = self._log.last_offset()
        if next_offset(state) > last + 1:
            self._distrust_log()
            msg = f"the state in {self._folder} is ahead of the log, which was cut back or replaced"
            raise StateDamaged(msg)
        if last == 0:
            self._commit(state, fold, lambda _: [self._beginning()], first=True)
        elif next_offset(state) <= last:
            self._catch_up(state, fold, last, None)
        return state, fold

    def _distrust_log(self) -> None:
        """Another log stands here than the one last written to: no id goes on from there."""
        self._log.close_connections()
        self._writer.renew()

    def _beginning(self) -> LedgerCreated:
        return LedgerCreated(
            ledger_id=self._log.ledger_id,
            partitions=[TopicPartitions(topic=topic, count=1) for topic in TOPICS],
            rules=RULES,
            artifact_root=self._root(),
        )

    def _open_state(self) -> None:
        self.close()
        path = self._files.current()
        if path is None:
            self.rebuild()
            return
        state = connect(path)
        try:
            check_stands(state, self._log)
        except BaseException:
            state.close()
            self._distrust_log()
            raise
        self._use(state)

    def _use(self, state: sqlite3.Connection) -> None:
        self._state, self._fold = state, Fold(state)
        self._mark = self._files.mark()

    def _catch_up(
        self, state: sqlite3.Connection, fold: Fold, last: int, progress: Progress | None
    ) -> None:
        reach("catchup.begun")
        first = next_offset(state)
        while first <= last:
            with _transaction(state, fold):
                expected = first
                for stored in self._log.rows(first, _BATCH):
                    if stored.offset != first:
                        break
                    fold.apply(stored)
                    first = stored.offset + 1
                if first == expected:
                    raise self._log.damaged(f"event {first} is missing, later ones are there")
                fold.save_progress()
            reach("catchup.folded")
            if progress is not None:
                progress(first - 1, last)

    def _repairing(self, work: Callable[[], T]) -> T:
        """Do something with the state; where that is damaged, build it again and do it then."""
        try:
            with state_failures(self._folder):
                return work()
        except StateDamaged as error:
            _log.warning("%s; folding the log again, nothing is lost", error)
            self.rebuild()
            return work()


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


class _Behind(Exception):
    """The state is not at the log's end: there is something to fold first, or it was cut back."""


class _Unfolded(StateDamaged):
    """Events stand in the log, and the state could not take them in."""

    def __init__(self, events: list[Event], error: BaseException) -> None:
        super().__init__(f"the state could not be written ({error})")
        self.events = events


def _check_current(fold: Fold, appending: Appending, *, first: bool) -> None:
    """The state must be at the log's end, which is empty before the first event and never after."""
    if first:
        return
    if appending.last_offset == 0 or fold.next_offset(EMBEDDED) != appending.last_offset + 1:
        raise _Behind


def _check_verdict(verdict: Verdict, event: Event) -> None:
    if verdict.kind == "rejected":
        raise Refused(Reason(verdict.code), verdict.message, event)
    if verdict.kind != "accepted":
        msg = f"a new {type(event).__name__} came back as {verdict.kind}: {verdict.message}"
        raise LogError(msg)


def check_stands(state: sqlite3.Connection, log: SqliteLog) -> None:
    """The last event that a state has folded must be in the log, with that digest.

    Raises:
        StateDamaged: it is not.
    """
    with state_failures(log.path.parent):
        row = state.execute("SELECT next, digest FROM progress").fetchone()
    if row is None:
        return
    stored = log.at(row[0] - 1)
    if stored is None or stored.record.digest() != row[1]:
        msg = f"the state in {log.path.parent} does not match the log"
        raise StateDamaged(msg)


def next_offset(state: sqlite3.Connection) -> int:
    """The offset that follows the last one folded into a state."""
    row = state.execute("SELECT next FROM progress").fetchone()
    return row[0] if row else 1
