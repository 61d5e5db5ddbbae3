"""How a command becomes events in the log: decided, stamped and committed under the lock."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from mlflow_ledger.bus import EMBEDDED, Outgoing, SqliteLog, Stored, Writer, reach
from mlflow_ledger.schemas import (
    CommandRejected,
    CommandRejectedContent,
    Encoded,
    Event,
    LedgerError,
    LogError,
    Reason,
    Refused,
)

from .beginning import beginning
from .fold import Fold, Verdict
from .keyed_state import KeyedState, next_offset, transaction
from .known import Foreseen, Known, KnownHere
from .state_file import StateDamaged

__all__ = ["Committer", "Decide", "rejection_of", "try_out"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Decide = Callable[[sqlite3.Connection], Sequence[Event]]
"""Looks at the state, caught up and under the lock, and says what happened; may refuse."""

_MAX_MESSAGE_BYTES = 4096
_MOST_UNFOLDED = 256
_MOST_UNFOLDED_BYTES = 128 * 1024


class Committer:
    """Writes for one process; call it under the log's lock.

    A command whose verdict follows from what this process knows for certain is appended to the
    log and acknowledged; it is folded later, by whoever reads or decides next. Any other is folded
    into an open transaction of the state, then the log is committed, then the state. A process
    that dies in between leaves a state that is behind, and the next one folds what is missing.
    """

    def __init__(
        self, log: SqliteLog, state: KeyedState, writer: Writer, root: Callable[[], str]
    ) -> None:
        """Commit to ``log``; ``root`` tells where artifacts of a new ledger go."""
        self._log = log
        self._state = state
        self._writer = writer
        self._root = root
        self._known = KnownHere()
        self._unfolded = 0
        self._unfolded_bytes = 0

    @property
    def known(self) -> Known:
        """What this process knows of the workspace it acts in."""
        return self._known.here()

    def forget_known(self) -> None:
        """Let go of what is known, in whichever workspace."""
        self._known.forget()

    def write(self, decide: Decide, foreseen: Foreseen | None = None) -> list[Event]:
        """Say what ``decide`` decides, all or nothing; a refusal is kept for the audit.

        Takes the state's lock. Of ``foreseen`` it learns what will let the next such command do
        without.
        """
        with self._state.lock:
            events = self._state.repairing(lambda: self._write(decide))
            self._learn(foreseen)
        return events

    def write_and_ask(
        self,
        decide: Decide,
        question: Callable[[sqlite3.Connection], T],
        foreseen: Foreseen | None = None,
    ) -> T:
        """Say what ``decide`` decides, and ask the state that holds it, before anything else."""
        with self._state.lock:
            self._state.repairing(lambda: self._write(decide))
            self._learn(foreseen)
            return self._state.repairing(lambda: question(self._state.current()[0]))

    def write_foreseen(
        self, foreseen: Foreseen, encoded: Sequence[Encoded]
    ) -> Sequence[Outgoing] | None:
        """Say what was foreseen, if it holds; returns what was said."""
        if self.known.offset == 0 or self._log.replaced():
            return None
        try:
            with self._log.transaction() as appending:
                self.known.follow(appending)
                if not foreseen.holds(self.known):
                    return None
                reach("append.begun")
                said = self._writer.stamp_all(foreseen.events, self._log.partitions(), encoded)
                appending.append(said)
                reach("append.written")
            reach("append.committed")
        except BaseException:
            self._writer.renew()
            self._known.forget()
            raise
        self.known.said(foreseen.events, appending.last_offset)
        self._unfolded += len(said)
        self._unfolded_bytes += sum(outgoing.record.size_bytes() for outgoing in said)
        return said

    def has_unfolded(self) -> bool:
        """Whether this process has said what it has not seen folded."""
        return self._unfolded > 0

    def owes_folding(self) -> bool:
        """Whether this process has left so much to others that it should fold some itself."""
        return self._unfolded >= _MOST_UNFOLDED or self._unfolded_bytes >= _MOST_UNFOLDED_BYTES

    def pay_folding(self) -> None:
        """Fold what is left, unless another process is just doing that. Needs no other lock."""
        self._unfolded = self._unfolded_bytes = 0
        if not self._state.lock.try_acquire():
            return
        try:
            self._state.repairing(self._state.caught_up)
        except LedgerError as error:
            # What was said stands in the log: it must not look as if it had failed.
            _log.warning("%s; what was logged is in the log, and is folded when it is read", error)
        finally:
            self._state.lock.release()

    def catch_up(self) -> None:
        """Fold what stands in the log and not yet in the state; begin the log if need be."""
        with self._state.lock:
            self._state.repairing(self._caught_up)

    def abandon(self) -> None:
        """After a fork, in the child: speak with another voice, and find out anew what holds."""
        self._writer.renew()
        self._known.forget()
        self._unfolded = self._unfolded_bytes = 0

    def _learn(self, foreseen: Foreseen | None) -> None:
        if foreseen is not None:
            learn = foreseen.learn
            self._state.repairing(lambda: learn(self.known, self._state.current()[0]))

    def _write(self, decide: Decide) -> list[Event]:
        state, fold = self._caught_up()
        try:
            events = self._commit(state, fold, decide)
        except Refused as refused:
            self._keep_refusal(state, fold, refused)
            raise
        except _Unfolded as error:
            _log.warning("%s; folding the log again, nothing is lost", error)
            self._state.rebuild()
            events = error.events
        reach("fold.committed")
        return events

    def _commit(self, state: sqlite3.Connection, fold: Fold, decide: Decide) -> list[Event]:
        said: list[Outgoing] = []
        events: list[Event] = []
        logged = False
        try:
            with transaction(state, fold):
                with self._log.transaction() as appending:
                    self.known.follow(appending)
                    events = list(decide(state))
                    reach("append.begun")
                    said = self._writer.stamp_all(events, self._log.partitions())
                    for stored, event in zip(appending.append(said), events, strict=True):
                        _check_verdict(fold.apply(stored, event), event)
                    fold.save_progress()
                    reach("append.written")
                logged = True
                self.known.decided(events, appending.last_offset)
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
        rejected = rejection_of(refused)
        if rejected is not None:
            self._commit(state, fold, lambda _: [rejected])

    def _caught_up(self) -> tuple[sqlite3.Connection, Fold]:
        """The state at the log's end, both made if need be."""
        replaced = self._log.replaced()
        if replaced:
            self._state.close()
            self._distrust_log()
        if (replaced or not self._log.is_open()) and not self._log.path.exists():
            self._state.check_not_lost()
            SqliteLog.create(self._log.path, secrets.token_hex(8))
        try:
            state, fold = self._state.caught_up()
        except StateDamaged:
            self._distrust_log()
            raise
        if next_offset(state) == 1:
            partitions = self._log.partitions()
            begun = beginning(self._log.ledger_id, partitions, self._root())
            self._commit(state, fold, lambda _: [begun])
        return state, fold

    def _distrust_log(self) -> None:
        """Another log stands here than the one last written to: no id goes on from there."""
        self._log.close_connections()
        self._writer.renew()
        self._known.forget()


class _Unfolded(StateDamaged):
    """Events stand in the log, and the state could not take them in."""

    def __init__(self, events: list[Event], error: BaseException) -> None:
        super().__init__(f"the state could not be written ({error})")
        self.events = events


def rejection_of(refused: Refused) -> CommandRejected | None:
    """What the audit keeps of a refused command, if it is known which one that was."""
    event = refused.event
    if not isinstance(event, Event):
        return None
    message = refused.message.encode("utf-8", "replace")[:_MAX_MESSAGE_BYTES]
    return CommandRejected(
        command=type(event).__name__,
        command_topic=event.topic,
        command_key=event.key,
        command_subject=event.subject,
        code=refused.reason.value,
        content=CommandRejectedContent(message=message.decode("utf-8", "ignore")),
    )


def try_out(fold: Fold, said: Sequence[Outgoing], events: Sequence[Event]) -> None:
    """Fold what was stamped as if it were next in the log; call it in a :func:`rehearsal`.

    Raises:
        Refused: by the rules.
    """
    for outgoing, event in zip(said, events, strict=True):
        record = outgoing.record
        stored = Stored(EMBEDDED, fold.next_offset(EMBEDDED), record.envelope.time_ms, record)
        _check_verdict(fold.apply(stored, event), event)


def _check_verdict(verdict: Verdict, event: Event) -> None:
    """Do nothing where a new event was accepted.

    Raises:
        Refused: by the rules.
        LogError: it is not new.
    """
    if verdict.kind == "rejected":
        raise Refused(Reason(verdict.code), verdict.message, event)
    if verdict.kind != "accepted":
        msg = f"a new {type(event).__name__} came back as {verdict.kind}: {verdict.message}"
        raise LogError(msg)
