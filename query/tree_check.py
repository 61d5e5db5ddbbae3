"""Whether the log is what was signed of it, and what it is a copy of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlflow_ledger.bus import EMBEDDED, MirrorLog, Partition, Stored
from mlflow_ledger.consumers import (
    Ledger,
    NoteInvalid,
    PublicKey,
    leaf_data,
    origin_of,
    unchecked,
)

from .report import TreeReport
from .signed_tree import Found, SignedTree, place_in
from .tree_difference import Leaves

__all__ = ["TreeCheck"]

_SHOWN = 20

Told = Callable[[str, int, int], None]


class TreeCheck:
    """Is shown every event of the log in order, and then compares them with what was signed."""

    def __init__(self, ledger: Ledger, keys: Sequence[PublicKey], held: Mapping[str, str]) -> None:
        """Believe ``keys``; ``held`` are checkpoints from elsewhere, by a name for each."""
        self._ledger = ledger
        self._keys = keys
        self._held = held
        self._leaves: dict[Partition, Leaves] = {}
        self.reports: list[TreeReport] = []

    def note(self, stored: Stored) -> Partition:
        """Take the next event of the log; the partition that it is of."""
        digest = stored.record.digest()
        partition, offset = self._ledger.log.origin(stored.offset)
        self._leaves.setdefault(partition, Leaves()).add(offset, digest, stored.append_ms)
        return partition

    def note_unreadable(self, offset: int) -> None:
        """The next event of the log cannot be read: whatever was signed of it, it is not that."""
        partition, there = self._ledger.log.origin(offset)
        self._leaves.setdefault(partition, Leaves()).add_unreadable(there)

    def is_first(self, partition: Partition) -> bool:
        """Whether the event that came last is the first of its partition."""
        return len(self._leaves[partition]) == 1

    def findings(self, progress: Told) -> Iterator[Found]:
        """Where the log is not what was signed."""
        yield from self._foreign()
        partitions = sorted({*self._leaves, *self._partitions()})
        for number, partition in enumerate(partitions):
            progress("trees", number, len(partitions))
            leaves = self._leaves.get(partition) or Leaves()
            tree = SignedTree(self._ledger, partition, leaves, self._keys, self._held)
            yield from tree.findings()
            if tree.is_anything:
                self.reports.append(tree.report())
        progress("trees", len(partitions), len(partitions))
        yield from self._copied(progress)

    def _partitions(self) -> Iterator[Partition]:
        """Those that may have been signed, though nothing stands in them any more."""
        log = self._ledger.log
        if not isinstance(log, MirrorLog):
            yield EMBEDDED
            return
        for topic, count in log.partitions().items():
            yield from ((topic, number) for number in range(count))

    def _foreign(self) -> Iterator[Found]:
        partitions = {*self._leaves, *self._partitions()}
        known = {origin_of(self._ledger.ledger_id, partition) for partition in partitions}
        for name, note in self._held.items():
            try:
                origin = unchecked(note).origin
            except NoteInvalid as error:
                yield "trees", name, str(error)
                continue
            if origin not in known:
                yield "trees", name, f"is of {origin}, of which there is nothing in this log"

    def _copied(self, progress: Told) -> Iterator[Found]:
        """Compare a copy of the log with what it is a copy of.

        Of a partition the topic may have forgotten the beginning, and nothing else.
        """
        seen: dict[Partition, int] = {}
        count = sum(map(len, self._leaves.values()))
        for done, stored in enumerate(self._ledger.originals()):
            leaves = self._leaves.get(stored.partition) or Leaves()
            at = bisect_left(leaves.offsets, stored.offset)
            yield from self._lost(stored.partition, seen.get(stored.partition, at), at)
            place = place_in(stored.partition, stored.offset)
            if at == len(leaves) or leaves.offsets[at] != stored.offset:
                yield "log", place, "stands in the topic, and not in this host's copy of it"
            else:
                if leaves.data(at) != leaf_data(stored.record.digest(), stored.append_ms):
                    yield "log", place, "is another one in the topic than in this host's copy of it"
                at += 1
            seen[stored.partition] = at
            if done % 1000 == 0:
                progress("topics", done, count)
        for partition, at in seen.items():
            yield from self._lost(partition, at, len(self._leaves.get(partition) or ()))
        if seen:
            progress("topics", count, count)

    def _lost(self, partition: Partition, first: int, behind: int) -> Iterator[Found]:
        """What this host has copied, and the topic no longer has."""
        leaves = self._leaves.get(partition) or Leaves()
        for at in range(first, min(behind, first + _SHOWN)):
            place = place_in(partition, leaves.offsets[at])
            yield "log", place, "stands in this host's copy of the topic, and not in the topic"
        if behind - first > _SHOWN:
            place = place_in(partition, leaves.offsets[first + _SHOWN])
            yield (
                "log",
                place,
                f"and {behind - first - _SHOWN} from here on: not in the topic either",
            )
