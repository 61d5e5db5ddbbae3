"""A ledger in Kafka, as one host sees it: topics to publish to, a replica to read from."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from mlflow_ledger.bus import (
    Forwarder,
    KafkaLog,
    KafkaSettings,
    MirrorDamaged,
    Outgoing,
    Settings,
    Spool,
    SqliteLog,
)
from mlflow_ledger.schemas import (
    Event,
    LogError,
    LogMissing,
    LogUnavailable,
    Reason,
    Refused,
    RunUpdated,
)

from .committer import Decide, try_out
from .keyed_state import KeyedState, rehearsal
from .ledger import Ledger
from .overlay import Overlay
from .replica import Replica
from .replicated import Replicated
from .speaking import Speaking, Verdict, said_of, verdict_of
from .telling import Telling
from .unseen import Unseen

__all__ = ["KafkaLedger"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_FOLLOWED = 5000
_ENDS = ("FINISHED", "FAILED", "KILLED")


class KafkaLedger(Replicated, Speaking):
    """What is said goes to the topics; what is read is the replica of this host.

    The replica is a folder as an embedded ledger's, whose log mirrors the topics: state, analytics
    and audit are folded from it as from any log. A read asks the brokers for the end of the topics
    first and copies what is missing. What may lose a race (names, versions, aliases, params of
    runs that others made) waits until it is folded, and its verdict is returned; all else is
    acknowledged with the brokers' acknowledgement.
    """

    def __init__(
        self,
        replica: Replica,
        settings: Settings,
        kafka_settings: KafkaSettings | None = None,
        telling: Telling | None = None,
    ) -> None:
        """Use the ledger that :func:`find_replica` has found; ``telling`` is told of long work."""
        kafka_settings = kafka_settings or KafkaSettings.read()
        super().__init__(replica, settings, kafka_settings, telling)
        before = self.keeping.topic.deliver if self.keeping else None
        self.kafka = KafkaLog(replica.place, kafka_settings, replica.ledger_id, before)
        self.spool = Spool(
            self.folder / "spool.sqlite", settings.spool_bytes, synchronous=settings.synchronous
        )
        self.forwarder = Forwarder(self.spool, self.kafka, str(replica.place))
        self.shared = True
        self.spools = settings.delivery != "ack"
        self._begin_speaking()
        self._overlay: Overlay | None = None
        self._overlaying = threading.Lock()
        self._unseen = Unseen()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state, which holds every acknowledged event.

        With the brokers away it shows what this host knows, what waits to be sent included, and a
        warning is given once.
        """
        with self._shown(follow=True) as db:
            yield db

    def _query_decided(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Ask what is here: the topics were copied for the verdict."""
        return self._query(ask, lambda: self._shown(follow=False))

    @contextmanager
    def _shown(self, *, follow: bool) -> Iterator[sqlite3.Connection]:
        with ExitStack() as stack:
            yield self._mending(lambda: stack.enter_context(self._shown_as_is(follow)))

    @contextmanager
    def _shown_as_is(self, follow: bool) -> Iterator[sqlite3.Connection]:
        with (
            self._current(follow=follow) as current,
            Ledger.read(self) if current is self else current.read() as db,
        ):
            yield db

    def logs(self) -> list[SqliteLog]:
        """The mirror, and while events wait what lies over it."""
        overlay = self._overlay
        return [self.log] if overlay is None else [self.log, overlay.ledger.log]

    def close(self) -> None:
        """Send what waits, as far as that is possible now, and close what is open.

        What could not be sent is said loudly; it is kept, and sent by whoever logs here next.
        """
        if self._waits():
            self.forwarder.close(self.settings.drain_s)
        self._leave_copied()
        self.lift()
        super().close()
        self.spool.close()
        self.kafka.close()

    def _leave_copied(self) -> None:
        """Let the next process of this host know what this one has sent, if the brokers go away."""
        if not len(self._unseen) or self._waits():
            return
        try:
            self._follow_sent()
        except LogError as error:  # it stands in the log all the same
            _log.debug("what was sent is not copied back yet: %s", error)

    def after_fork_in_child(self) -> None:
        """Leave inherited connections alone, and speak with a voice of our own."""
        super().after_fork_in_child()
        self._begin_speaking()
        self._overlaying = threading.Lock()
        self._unseen.after_fork_in_child()
        if self._overlay is not None:
            self._overlay.abandon()
        self._overlay = None

    def _follow_topics(self) -> bool:
        sent = self._sent()
        followed = super()._follow_topics()
        if followed:
            self._unseen.forget(sent)
        return followed

    def _follow_sent(self) -> None:
        """Copy at least what this process has sent."""
        self._begin_mirror()
        sent = self._sent()
        self._follower.follow(self.settings.read_wait_s)
        self._erase_due()
        self._unseen.forget(sent)

    def _sent(self) -> int:
        """How much of what is not seen in the log yet was sent: whoever follows now sees it."""
        return self._unseen.sent(self.spool.first()) if len(self._unseen) else 0

    def _notice_mirror(self, mark: int) -> None:
        super()._notice_mirror(mark)
        with self._speaking:
            self.forget_known()

    @contextmanager
    def _current(self, *, follow: bool = True) -> Iterator[Ledger]:
        """The ledger to read from: this one, or what lies over it while events wait.

        Without ``follow`` the brokers are not asked whether there is more.
        """
        ahead = self._settle()
        if ahead or not follow:
            self._begin_mirror()
        if not ahead and not (follow and self._follow_topics()):
            ahead = self._waits() or len(self._unseen) > 0
        if not ahead:
            self.lift()
            yield self
            return
        with ExitStack() as stack:
            with self._overlaying:
                overlay = self._overlaid()
                current = stack.enter_context(overlay.in_use())
            yield current

    def _overlaid(self) -> Overlay:
        """What lies over the replica, with everything in it that is known now."""
        if self._overlay is not None and not self._overlay.stands():
            self._overlay.close()
            self._overlay = None
        if self._overlay is None:
            with Ledger.read(self) as view:
                self._overlay = Overlay(view, self.log, self.settings)
        self._overlay.refresh(self.spool, self._unseen)
        return self._overlay

    def _settle(self) -> bool:
        """Let what was spooled be sent, for a moment; whether something of it waits still."""
        if not self._waits():
            return False
        wait_s = self.settings.read_wait_s
        if self._resting() or self.forwarder.drain(wait_s):
            if not self._resting():
                self._rest(f"{self._replica.place} has not taken all that waits in {wait_s} s")
            return True
        return False

    def _waits(self) -> bool:
        return self.spool.first() is not None

    def lift(self) -> None:
        """Nothing waits any more: the log has decided, and the replica shows what."""
        with self._overlaying:
            overlay, self._overlay = self._overlay, None
        if overlay is not None:
            overlay.close()

    def _rest(self, why: object) -> None:
        self.kafka.look_again()
        super()._rest(why)

    def _decided(self, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        """What is to be said, as the rules would take it if it were next in the log."""
        try:
            return self._mending(lambda: self._foretold(decide))
        except Refused as refused:
            self._keep_refusal(refused)
            raise

    def _foretold(self, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        with self._current() as current, current.keyed_state.lock:
            state = current.keyed_state
            return state.repairing(lambda: self._rehearsed(state, decide))

    def _rehearsed(self, state: KeyedState, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        db, fold = state.caught_up()
        said: list[Outgoing] = []
        with rehearsal(db, fold):
            try:
                events = list(decide(db))
                with self._speaking:
                    said = self._stamp(events)
                try_out(fold, said, events)
            except BaseException:
                self._writer.unsay(said)
                raise
        return events, said

    def _follow_known(self) -> None:
        """Let what others have said wipe out what it may have changed; call it while speaking."""
        try:
            last = self.log.last_offset()
        except (MirrorDamaged, LogMissing):  # whoever asks the state next mends or begins it
            self.forget_known()
            return
        behind = last - self.known.offset
        if 0 < behind <= _MOST_FOLLOWED:
            others = self.log.since(self.known.offset, behind, self._writer.name)
            self.known.note(others)
            self.known.offset = last
        elif behind:
            self.known.forget()
            self.known.offset = last

    def _deliver(self, said: Sequence[Outgoing], events: Sequence[Event]) -> None:
        """See to it that what cannot lose a race gets into the log: now, or from the spool."""
        if not self.spools:
            self._publish(said)
            self._unseen.add(said)
            return
        try:
            self._unseen.add(said, lambda: self.spool.append(said))
        except BaseException:
            self._forget_voice()
            raise
        self.forwarder.notify()
        if any(isinstance(event, RunUpdated) and event.status in _ENDS for event in events):
            self._end_run()

    def _end_run(self) -> None:
        """Let all that waits be sent at the end of a run, and say loudly what could not be."""
        away = self._resting() or self.forwarder.status().error is not None
        left = self.forwarder.drain(0 if away else self.settings.drain_s)
        if left:
            self.forwarder.tell_left(left)

    def _check_reachable(self, event: Event) -> None:
        if not self._resting():
            return
        msg = (
            f"{type(event).__name__} about {event.subject} needs a verdict of the log, and "
            f"{self._replica.place} is away. Try again when it is back; what needs none is logged "
            "meanwhile"
        )
        raise LogUnavailable(msg)

    def _lost(self, said: Sequence[Outgoing], events: Sequence[Event]) -> Refused | None:
        """Wait until what was said is folded; the first refusal, if there is one."""
        deadline = time.monotonic() + self.kafka.timeout_s
        verdicts: list[Verdict] = [None]
        while None in verdicts:
            if time.monotonic() > deadline:
                msg = f"{self._replica.place} took what was said, and does not show it to readers"
                raise LogUnavailable(msg)
            verdicts = self._mending(lambda: self._verdicts(said))
        for verdict, event in zip(verdicts, events, strict=True):
            if verdict:
                code, message = verdict
                return Refused(Reason(code), message, event)
        return None

    def _verdicts(self, said: Sequence[Outgoing]) -> list[Verdict]:
        self._follow_sent()
        self._fold_rest()
        with Ledger.read(self) as db:
            return [verdict_of(db, said_of(outgoing)) for outgoing in said]
