"""A ledger in Kafka, as one host sees it: topics to publish to, a replica to read from."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlflow_ledger.bus import (
    EMBEDDED,
    Forwarder,
    KafkaLog,
    KafkaSettings,
    MirrorDamaged,
    MirrorLog,
    Outgoing,
    Position,
    Settings,
    Spool,
    SqliteLog,
    Stored,
    move_aside,
    prepare,
)
from mlflow_ledger.schemas import (
    Event,
    LogMissing,
    LogUnavailable,
    Reason,
    Refused,
    RunUpdated,
)

from .committer import Decide, check_verdict
from .follower import WORTH_TELLING, Follower
from .keyed_state import KeyedState, Progress, rehearsal
from .ledger import Ledger
from .overlay import Overlay
from .replica import Replica
from .speaking import Speaking, Verdict, said_of, verdict_of
from .telling import Telling
from .unseen import Unseen

if TYPE_CHECKING:
    from .bundles import Bundles

__all__ = ["KafkaLedger"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_REST_S, _MOST_REST_S = 1.0, 10.0
_MOST_FOLLOWED = 5000
_ENDS = ("FINISHED", "FAILED", "KILLED")


class KafkaLedger(Speaking):
    """What is said goes to the topics; what is read is the replica of this host.

    The replica is a folder as an embedded ledger's, whose log mirrors the topics: state, analytics
    and audit are folded from it as from any log. A read asks the brokers for the end of the topics
    first and copies what is missing. What may lose a race (names, versions, aliases, params of
    runs that others made) waits until it is folded, and its verdict is returned; all else is
    acknowledged with the brokers' acknowledgement.
    """

    log: MirrorLog

    def __init__(
        self,
        replica: Replica,
        settings: Settings,
        kafka_settings: KafkaSettings | None = None,
        telling: Telling | None = None,
    ) -> None:
        """Use the ledger that :func:`find_replica` has found; ``telling`` is told of long work."""
        self._replica = replica
        self._telling = telling
        super().__init__(replica.folder, settings)
        kafka_settings = kafka_settings or KafkaSettings.read()
        hasty = min(settings.read_wait_s, kafka_settings.timeout_s)
        self.kafka = KafkaLog(replica.place, kafka_settings, replica.ledger_id)
        self._reading = KafkaLog(
            replica.place,
            kafka_settings.model_copy(update={"timeout_s": hasty}),
            replica.ledger_id,
        )
        self._follower = Follower(replica, self._reading, self.log, telling)
        self.spool = Spool(
            self.folder / "spool.sqlite", settings.spool_bytes, synchronous=settings.synchronous
        )
        self.forwarder = Forwarder(self.spool, self.kafka, str(replica.place))
        self.shared = True
        self.spools = settings.delivery != "ack"
        self._begin_speaking()
        self._rest_until = 0.0
        self._rest_s = 0.0
        self._overlay: Overlay | None = None
        self._overlaying = threading.Lock()
        self._whole = False
        self._mirror_mark = 0
        self._unseen = Unseen()

    @property
    def ledger_id(self) -> str:
        """The ledger's id, as its topics begin."""
        return self._replica.ledger_id

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state, which holds every acknowledged event.

        With the brokers away it shows what this host knows, what waits to be sent included, and a
        warning is given once.
        """
        with ExitStack() as stack:
            yield self._mending(lambda: stack.enter_context(self._shown()))

    @contextmanager
    def _shown(self) -> Iterator[sqlite3.Connection]:
        with (
            self._current() as current,
            Ledger.read(self) if current is self else current.read() as db,
        ):
            yield db

    def catch_up(self, progress: Progress | None = None) -> Position:
        """Copy and fold everything up to the end of the topics; returns the position reached."""
        return self._mending(lambda: self._caught_up(progress))

    def _caught_up(self, progress: Progress | None) -> Position:
        self._begin_mirror()
        end = self._follower.follow(self.kafka.timeout_s)
        self._fold_rest(progress)
        return end

    def rebuild(self, progress: Progress | None = None) -> Position:
        """Throw the state away and fold the mirror again; one that is damaged is copied again."""

        def rebuilt() -> Position:
            self._begin_mirror()
            self._follower.follow(math.inf)
            return Ledger.rebuild(self, progress)

        return self._mending(rebuilt)

    def advance(self, budget_s: float, progress: Progress | None = None) -> Position:
        """Copy for about so long, fold what was copied, and say where the topics end.

        Raises:
            LogUnavailable: the brokers are away.
        """
        return self._mending(lambda: self._advanced(budget_s, progress))

    def _advanced(self, budget_s: float, progress: Progress | None) -> Position:
        self._begin_mirror()
        end = self._follower.advance(budget_s, progress)
        self._fold_rest(progress)
        return end

    def position(self) -> Position:
        """How far this host has copied the topics."""
        return self.log.position()

    def oldest_missing_ms(self, end: Position) -> int | None:
        """When the brokers took the oldest event before ``end`` that is not copied yet."""
        here = self.log.position()
        missing = [p for p, offset in end.offsets.items() if here.offset(p) < offset]
        found = [self._reading.at(partition, here.offset(partition)) for partition in missing]
        return min((stored.append_ms for stored in found if stored), default=None)

    def bundles(self) -> Bundles | None:
        """The snapshots for new hosts, where there is a blob store that hosts share."""
        if self.settings.blobs is None:
            return None
        from .bundles import Bundles

        return Bundles(self.blobs.place, self._replica)

    def follow(self) -> None:
        """Copy what is new in the topics, unless the brokers were away a moment ago."""
        self._mending(self._follow_topics)

    def _follow_topics(self) -> bool:
        """Whether the replica shows all that the brokers have."""
        self._begin_mirror()
        if self._resting():
            return False
        sent = self._unseen.sent(self.spool.first()) if len(self._unseen) else 0
        try:
            # Before it was there once, a replica may miss anything: a first look waits for all.
            self._follower.follow(self.settings.read_wait_s if self._whole else math.inf)
        except LogUnavailable as error:
            if self.log.last_offset() == 0:
                raise
            self._rest(error)
            return False
        else:
            if self._rest_s:
                _log.warning("%s answers again", self._replica.place)
            self._rest_s = 0.0
            self._whole = True
            self._unseen.forget(sent)
            return True

    def logs(self) -> list[SqliteLog]:
        """The mirror, and while events wait what lies over it."""
        overlay = self._overlay
        return [self.log] if overlay is None else [self.log, overlay.ledger.log]

    def exists(self) -> bool:
        """A ledger in Kafka that could be opened is there."""
        return True

    def close(self) -> None:
        """Send what waits, as far as that is possible now, and close what is open.

        What could not be sent is said loudly; it is kept, and sent by whoever logs here next.
        """
        if self._waits():
            self.forwarder.close(self.settings.drain_s)
        self._leave_copied()
        self._lift()
        super().close()
        self.spool.close()
        self._follower.close()
        self._reading.close()
        self.kafka.close()

    def _leave_copied(self) -> None:
        """Let the next process of this host know what this one has sent, if the brokers go away."""
        if not len(self._unseen) or self._waits():
            return
        try:
            self._begin_mirror()
            self._follower.follow(self.settings.read_wait_s)
        except LogUnavailable as error:
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

    @contextmanager
    def _current(self) -> Iterator[Ledger]:
        """The ledger to read from: this one, or what lies over it while events wait."""
        ahead = self._settle()
        if not ahead and not self._mending(self._follow_topics):
            ahead = self._waits() or len(self._unseen) > 0
        self._begin_mirror()
        if not ahead:
            self._lift()
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

    def _lift(self) -> None:
        """Nothing waits any more: the log has decided, and the replica shows what."""
        with self._overlaying:
            overlay, self._overlay = self._overlay, None
        if overlay is not None:
            overlay.close()

    def _make_log(self, path: Path) -> MirrorLog:
        return MirrorLog(
            path,
            self._replica.partitions,
            self.settings.synchronous,
            make_folder=self._make_place,
        )

    def _begin_mirror(self) -> None:
        mark = self.log.mark()
        if mark != self._mirror_mark:
            self._notice_mirror(mark)
        if mark:
            return
        self._make_place()
        with self.log.lock, self._state.lock:
            if not self.log.path.exists():
                self.files.forget()  # it was folded from another mirror
        bundles = self.bundles()
        if bundles is not None:
            from .cold_start import ColdStart

            ColdStart(bundles, self.log.path, self.files, self._telling).fetch(self.log.lock)
        with self.log.lock:
            if not self.log.path.exists():
                MirrorLog.begin(self.log.path, self._replica.ledger_id, self._replica.facts())

    def _notice_mirror(self, mark: int) -> None:
        """There is another mirror than before: it may miss anything, and numbers otherwise."""
        self._mirror_mark = mark
        self._whole = False
        with self._speaking:
            self.known.forget()

    def _mending(self, work: Callable[[], T]) -> T:
        """Do something that says nothing; where the mirror is damaged, begin it anew before."""
        mark = self.log.mark()
        try:
            return work()
        except MirrorDamaged as error:
            self._mend(mark, error)
            return work()

    def _mend(self, mark: int, error: MirrorDamaged) -> None:
        """Have the topics copied again, unless somebody did since the mirror bore this mark."""
        self._reading.end()  # while the brokers are away, a damaged copy is better than none
        with self.log.lock, self._state.lock:
            if self.log.mark() != mark:
                return
            self.files.forget()
            aside = move_aside(self.log.path)
        _log.warning("%s. It now is %s, and the topics are copied again", error, aside)

    def _fold_rest(self, progress: Progress | None = None) -> None:
        telling = self._telling
        if progress is not None or telling is None:
            super()._fold_rest(progress)
            return
        begun: list[int] = []

        def tell(done: int, of: int) -> None:
            begun.append(done)
            if of - begun[0] >= WORTH_TELLING:
                telling("folding events", done - begun[0], of - begun[0])

        try:
            super()._fold_rest(tell)
        finally:
            telling.stop()

    def _begin_or_repair(self) -> None:
        self._begin_mirror()
        with self._state.lock:
            self._state.repairing(self._state.caught_up)

    def _resting(self) -> bool:
        return time.monotonic() < self._rest_until

    def _rest(self, why: object) -> None:
        """The brokers are away: leave them alone for a while, and say so the first time."""
        self._follower.check_again()
        self.kafka.look_again()
        if not self._rest_s:
            _log.warning("%s; answering from the replica in %s until then", why, self.folder)
        self._rest_s = min(max(2 * self._rest_s, _FIRST_REST_S), _MOST_REST_S)
        self._rest_until = time.monotonic() + self._rest_s

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
                    said = self._stamp(events, [prepare(event) for event in events])
                for outgoing, event in zip(said, events, strict=True):
                    offset = fold.next_offset(EMBEDDED)
                    envelope = outgoing.record.envelope
                    stored = Stored(EMBEDDED, offset, envelope.time_ms, outgoing.record)
                    check_verdict(fold.apply(stored, event), event)
            except BaseException:
                self._writer.unsay(said)
                raise
        return events, said

    def _follow_known(self) -> None:
        """Let what others have said wipe out what it may have changed; call it while speaking."""
        try:
            last = self.log.last_offset()
        except (MirrorDamaged, LogMissing):  # whoever asks the state next mends or begins it
            self.known.forget()
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
        self._begin_mirror()
        self._follower.follow(self.settings.read_wait_s)
        self._fold_rest()
        with Ledger.read(self) as db:
            return [verdict_of(db, said_of(outgoing)) for outgoing in said]
