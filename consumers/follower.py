"""Keeps a host's mirror up with the topics it copies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from mlflow_ledger.bus import (
    FileLock,
    KafkaLog,
    Mirrored,
    MirrorLog,
    Partition,
    Position,
    Stored,
    forkable,
    reach,
)
from mlflow_ledger.schemas import LogDamaged, LogUnavailable

from .keyed_state import Progress
from .past import Past
from .replica import Replica
from .telling import Telling

__all__ = ["WORTH_TELLING", "Follower"]

_POLL_S = 0.002
WORTH_TELLING = 20_000
"""How many events have to be missing for anybody to be told how their copying goes on."""


class Follower:
    """Copies what is new in the topics; of all processes of the host one at a time does so."""

    fork_order = 0  # whoever copies holds its lock, and takes the mirror's

    def __init__(
        self,
        replica: Replica,
        kafka: KafkaLog,
        mirror: MirrorLog,
        telling: Telling | None = None,
        past: Past | None = None,
        meet: Callable[[Sequence[Stored]], None] | None = None,
    ) -> None:
        """Copy ``kafka`` to ``mirror``; nothing is connected yet.

        ``past`` has what the topics may have forgotten; ``meet`` is shown records before they are
        copied.
        """
        self._meet = meet or (lambda _: None)
        self._telling = telling
        self._past = past
        self._dropped: dict[Partition, int] = {}
        self._replica = replica
        self._kafka = kafka
        self._mirror = mirror
        self._lock = FileLock(mirror.path.with_name("follow.lock"))
        self._checked = False
        self._checking = threading.Lock()
        forkable(self)

    def check_again(self) -> None:
        """Look at the topics again before anything is copied: the brokers were away."""
        if self._checked:
            self._kafka.look_again()
            self._checked = False

    def follow(self, wait_s: float, progress: Progress | None = None) -> Position:
        """Copy everything up to the end as it is now; returns that end.

        Where another process is just copying, wait for it to come that far.

        Raises:
            LogUnavailable: the brokers are away, or it took longer than ``wait_s`` seconds.
            LogForeign, LogDamaged: the topics are no longer those that were copied.
        """
        self._check()
        deadline = time.monotonic() + wait_s
        end = self._kafka.end()
        while not self._mirror.position().covers(end):
            if self._lock.try_acquire():
                try:
                    if not self._copy(end, deadline, progress):
                        raise self._late()
                finally:
                    self._lock.release()
                return end
            if time.monotonic() > deadline:
                raise self._late()
            time.sleep(_POLL_S)
        return end

    def advance(self, budget_s: float, progress: Progress | None = None) -> Position:
        """Copy for about so long; returns the end as it was at the beginning.

        Where another process is just copying, there is nothing to do.

        Raises:
            LogUnavailable: the brokers are away.
            LogForeign, LogDamaged: the topics are no longer those that were copied.
        """
        self._check()
        deadline = time.monotonic() + budget_s
        end = self._kafka.end()
        if not self._mirror.position().covers(end) and self._lock.try_acquire():
            try:
                self._copy(end, deadline, progress)
            finally:
                self._lock.release()
        return end

    def close(self) -> None:
        """Close the lock."""
        self._lock.close()

    def before_fork(self) -> None:
        """Nothing is inherited but the lock, which has hooks of its own."""
        self._lock.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Look at the topics again: the connection is another."""
        self._lock.after_fork_in_child()
        self._checked = False

    def _copy(self, end: Position, deadline: float, progress: Progress | None) -> bool:
        """Copy up to ``end``; whether there was the time for all of it."""
        begun = self._mirror.position()
        done, behind = 0, begun.distance(end)
        told = self._told(behind) if progress is None else progress
        try:
            if self._past is not None and self._dropped:
                self._past.copy(self._mirror, self._dropped, told, self._meet)
                begun = self._mirror.position()
                behind = begun.distance(end)
            for batch, reached in self._kafka.batches(begun, end):
                self._meet(batch)
                self._mirror.take(batch, reached)
                reach("mirror.taken")
                done = behind - reached.distance(end)
                if told is not None:
                    told(done, behind)
                if time.monotonic() > deadline and not reached.covers(end):
                    return False
        finally:
            if told is not progress and self._telling is not None:
                self._telling.stop()
        return True

    def _told(self, behind: int) -> Progress | None:
        """Whom to tell, where it will take a while and nobody else asked to be told."""
        telling = self._telling
        if telling is None or behind < WORTH_TELLING:
            return None
        return lambda done, of: telling("copying events", done, of)

    def _late(self) -> LogUnavailable:
        msg = (
            f"the replica in {self._mirror.path.parent} is not yet where {self._replica.place} is; "
            "`mlflow-ledger consume` keeps it there"
        )
        return LogUnavailable(msg)

    def _check(self) -> None:
        """Once a process: the topics must be those that were copied, and still hold it all."""
        with self._checking:
            if self._checked:
                return
            self._replica.check(self._kafka)
            self._replica.check_mirror(self._mirror)
            self._check_whole()
            self._check_tails()
            self._checked = True

    def _check_whole(self) -> None:
        dropped = {p: first for p, first in self._kafka.start().offsets.items() if first}
        self._dropped = dropped
        if dropped and self._past is not None:
            self._past.check(dropped)
        elif dropped:
            msg = (
                f"{self._replica.place} no longer has all its events: "
                + ", ".join(f"{t}-{n} begins at {first}" for (t, n), first in dropped.items())
                + ". Someone truncated a topic; this host's copy, as far as it goes, is "
                f"{self._mirror.path}. Restore the topics, set MLFLOW_LEDGER_BLOBS to the store "
                "that holds their archive, or begin a ledger under another name"
            )
            raise LogDamaged(msg)

    def _check_tails(self) -> None:
        """What was copied last from each partition must still stand there, and nothing less."""
        end = self._kafka.end()
        copied = {
            partition: entry
            for partition, entry in self._mirror.mirrored().items()
            if entry.last_offset is not None
        }
        there = self._kafka.at_each(
            {
                partition: entry.last_offset
                for partition, entry in copied.items()
                if entry.last_offset is not None
                and entry.next_offset <= end.offset(partition)
                and entry.last_offset >= self._dropped.get(partition, 0)
            }
        )
        for (topic, number), entry in copied.items():
            found = there.get((topic, number))
            if found is not None and found.record.digest() == entry.digest:
                continue
            if found is None and self._was_archived((topic, number), entry):
                continue
            msg = (
                f"{self._replica.place}: {topic}-{number} no longer holds at {entry.last_offset} "
                f"what this host has copied from there into {self._mirror.path}: events were lost, "
                "or the topic was restored from a backup. Compare both before anything else is "
                "written; to go on with what is in Kafka, move the folder away"
            )
            raise LogDamaged(msg)

    def _was_archived(self, partition: Partition, entry: Mirrored) -> bool:
        """Whether what was copied last is no longer in the topic, and in the archive as it was."""
        offset = entry.last_offset
        if self._past is None or offset is None or offset >= self._dropped.get(partition, 0):
            return False
        return self._past.digest_at(partition, offset) == entry.digest
