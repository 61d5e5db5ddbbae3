"""A ledger whose log is this host's mirror of topics: kept up with them, mended, begun anew."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlflow_ledger.bus import (
    KafkaLog,
    KafkaSettings,
    MirrorDamaged,
    MirrorLog,
    Position,
    Settings,
    Stored,
    move_aside,
)
from mlflow_ledger.schemas import LogUnavailable

from .archive import Archive
from .follower import WORTH_TELLING, Follower
from .keyed_state import Progress
from .ledger import Ledger
from .past import Past
from .replica import Replica
from .telling import Telling

if TYPE_CHECKING:
    from mlflow_ledger.bus import Keyring

    from .bundles import Bundles
    from .key_keeping import KeyKeeping

__all__ = ["Replicated"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_REST_S, _MOST_REST_S = 1.0, 10.0
_LOOK_AGAIN_S = 30.0
"""How often who follows for ever makes sure that the topics are the ones that they were."""


class Replicated(Ledger):
    """What is read is the replica of this host, brought up to the end of the topics before.

    With the brokers away it answers with what it has, and asks them only now and then.
    """

    log: MirrorLog

    def __init__(
        self,
        replica: Replica,
        settings: Settings,
        kafka_settings: KafkaSettings,
        telling: Telling | None = None,
    ) -> None:
        """Read the ledger that :func:`find_replica` has found; ``telling`` is told of long work."""
        self._replica = replica
        self._telling = telling
        self.erasable = replica.erasable
        self.keeping: KeyKeeping | None = None
        if replica.erasable:
            from .key_keeping import KeyKeeping

            self.keeping = KeyKeeping(replica, kafka_settings)
        super().__init__(replica.folder, settings)
        self.log.keyring = self._keyring()
        hasty = min(settings.read_wait_s, kafka_settings.timeout_s)
        self._patience_s = kafka_settings.timeout_s
        self._reading = KafkaLog(
            replica.place,
            kafka_settings.model_copy(update={"timeout_s": hasty}),
            replica.ledger_id,
        )
        past = None
        if settings.blobs is not None:
            past = Past(Archive(self.blobs.place, replica.ledger_id), self._reading)
        meet = self.keeping.meet if self.keeping else None
        self._follower = Follower(replica, self._reading, self.log, telling, past, meet)
        self._rest_until = 0.0
        self._rest_s = 0.0
        self._whole = False
        self._mirror_mark = 0
        self._keys_mark = 0
        self._look_again_at = 0.0

    @property
    def ledger_id(self) -> str:
        """The ledger's id, as its topics begin."""
        return self._replica.ledger_id

    def exists(self) -> bool:
        """A ledger in Kafka that could be opened is there."""
        return True

    def close(self) -> None:
        """Close what is open."""
        super().close()
        self._follower.close()
        self._reading.close()
        if self.keeping is not None:
            self.keeping.close()

    def erasures(self) -> tuple[int, bool] | None:
        """What changes when something was erased, and whether something is to be erased yet."""
        if self.keeping is None:
            return None
        return self.keeping.file.generation(), bool(self.keeping.file.pending())

    def catch_up(self, progress: Progress | None = None) -> Position:
        """Copy and fold everything up to the end of the topics; returns the position reached."""
        return self._mending(lambda: self._caught_up(progress))

    def _caught_up(self, progress: Progress | None) -> Position:
        self._begin_mirror()
        end = self._follower.follow(self._patience_s)
        self._erase_due()
        self._fold_rest(progress)
        return end

    def rebuild(self, progress: Progress | None = None) -> Position:
        """Throw the state away and fold the mirror again; one that is damaged is copied again."""

        def rebuilt() -> Position:
            self._begin_mirror()
            self._follower.follow(math.inf)
            self._erase_due()
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
        if time.monotonic() > self._look_again_at:
            self._follower.check_again()
            self._look_again_at = time.monotonic() + _LOOK_AGAIN_S
        try:
            end = self._follower.advance(budget_s, progress)
        except LogUnavailable:
            self._follower.check_again()  # others may come in the place of what was there
            raise
        self._erase_due()
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

    def originals(self) -> Iterator[Stored]:
        """What stands in the topics, as far as this host has copied them.

        Raises:
            LogUnavailable: the brokers are away.
        """
        for batch, _ in self._reading.batches(Position(self.ledger_id), self.log.position()):
            yield from batch

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
        try:
            # Before it was there once, a replica may miss anything: a first look waits for all.
            self._follower.follow(self.settings.read_wait_s if self._whole else math.inf)
            self._erase_due()
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
            return True

    def _keyring(self) -> Keyring | None:
        return None if self.keeping is None else self.keeping.keyring

    def _erase_due(self) -> None:
        """Erase what a redaction has named that was just copied; say now and then how far we are.

        Raises:
            LogUnavailable: it cannot be erased now; whoever follows next tries again.
        """
        if self.keeping is None:
            return
        if self.keeping.file.pending():
            from .erasing import erase_pending

            erase_pending(self, self.keeping)
        if not self.keeping.file.pending():
            self.keeping.tell(self.log.position())

    def copy_rest(self) -> None:
        """Copy what stands in the topics now, and fold nothing.

        Raises:
            LogUnavailable: the brokers are away.
        """
        self._follower.follow(self._patience_s)

    def lift(self) -> None:
        """Let go of what this process has folded for itself alone."""

    def fold_again(self) -> None:
        """Throw the state away and fold what was copied; whoever tells long work tells this."""
        telling = self._telling
        if telling is None:
            Ledger.rebuild(self)
            return
        try:
            Ledger.rebuild(self, lambda done, of: telling("folding the events", done, of))
        finally:
            telling.stop()

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
            self._begin_keys()
            return
        self._make_place()
        if self.keeping is not None:
            self.keeping.register()
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
        self._begin_keys()

    def _begin_keys(self) -> None:
        """Have the keys of what the mirror holds, once for each mirror."""
        if self.keeping is not None and self._keys_mark != self.log.mark():
            self.keeping.register()
            self.keeping.begin(self.log)
            self._keys_mark = self.log.mark()

    def _notice_mirror(self, mark: int) -> None:
        """There is another mirror than before: it may miss anything, and numbers otherwise."""
        self._mirror_mark = mark
        self._whole = False

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
        if not self._rest_s:
            _log.warning("%s; answering from the replica in %s until then", why, self.folder)
        self._rest_s = min(max(2 * self._rest_s, _FIRST_REST_S), _MOST_REST_S)
        self._rest_until = time.monotonic() + self._rest_s
