"""Which events differ from those that were signed: dropped, added, moved, changed, re-timed."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from mlflow_ledger.consumers import leaf_data, leaf_hash
from mlflow_ledger.schemas import format_time

__all__ = ["Leaves", "deviations"]

_DIGEST_BYTES, _LEAF_BYTES = 32, 40
_MOST_TIMES = 20_000
"""How many append times are tried for an event, to tell whether its time is all that changed."""


class Leaves:
    """The events of a partition, as much of each as its leaf says, and where it stands."""

    def __init__(self) -> None:
        """Hold none yet."""
        self.offsets = array("q")
        self.unreadable: set[int] = set()
        """The numbers of those that cannot be read."""
        self._data = bytearray()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.offsets)

    def add(self, offset: int, digest: bytes, append_ms: int) -> None:
        """Take the next one."""
        self.offsets.append(offset)
        self._data += leaf_data(digest, append_ms)

    def add_unreadable(self, offset: int) -> None:
        """Take the next one, of which nothing is known: no event has a digest of zeros."""
        last = len(self) - 1
        self.unreadable.add(last + 1)
        self.add(offset, bytes(_DIGEST_BYTES), self.append_ms(last) if last >= 0 else 0)

    def data(self, leaf: int) -> bytes:
        """What a leaf is the hash of."""
        return bytes(self._data[leaf * _LEAF_BYTES : (leaf + 1) * _LEAF_BYTES])

    def all(self) -> Iterator[bytes]:
        """What the leaves are hashes of, one after the other."""
        return (self.data(leaf) for leaf in range(len(self)))

    def digest(self, leaf: int) -> bytes:
        """An event's digest."""
        return self.data(leaf)[:_DIGEST_BYTES]

    def append_ms(self, leaf: int) -> int:
        """When the log took an event."""
        return int.from_bytes(self.data(leaf)[_DIGEST_BYTES:], "big")


def deviations(
    signed: Sequence[bytes], found: Sequence[bytes], leaves: Leaves
) -> Iterator[tuple[int, str]]:
    """Where the leaves that are found deviate from those that were signed, and how.

    What was found behind the last signed one may be new.
    """
    was = {leaf: number for number, leaf in enumerate(signed)}
    now = {leaf: number for number, leaf in enumerate(found)}
    i = j = 0
    while i < len(signed) and j < len(found):
        moved, stays = was.get(found[j], -1), now.get(signed[i], -1)
        if signed[i] == found[j]:
            i, j = i + 1, j + 1
        elif moved > i and stays > j:
            yield j, f"stands elsewhere than it did: it was number {moved + 1} of its partition"
            i, j = i + 1, j + 1
        elif moved > i:
            yield i, f"is missing: number {i + 1} of its partition was signed, and is not there"
            i += 1
        elif stays > j:
            yield j, _added(moved)
            j += 1
        else:
            yield j, _changed(signed[i], j, leaves) if moved < 0 else _added(moved)
            i, j = i + 1, j + 1
    for number in range(i, len(signed)):
        yield number, f"is missing: number {number + 1} of its partition was signed"


def _added(moved: int) -> str:
    if moved < 0:
        return "was not there when those behind it were signed"
    return f"stands here once more: it was number {moved + 1} of its partition"


def _changed(signed: bytes, leaf: int, leaves: Leaves) -> str:
    """Whether another time, between those of its neighbours, gives the leaf that was signed."""
    digest, said_ms = leaves.digest(leaf), leaves.append_ms(leaf)
    for append_ms in _times(leaf, leaves):
        if leaf_hash(leaf_data(digest, append_ms)) == signed:
            return (
                f"was given another time: the log took it at {_time(append_ms)}, and now it says "
                f"{_time(said_ms)}"
            )
    return "is not the event that was signed: it was changed"


def _times(leaf: int, leaves: Leaves) -> Iterator[int]:
    """The times at which the log may have taken an event: between its neighbours, or near."""
    said = leaves.append_ms(leaf)
    before = leaves.append_ms(leaf - 1) if leaf else said
    after = leaves.append_ms(leaf + 1) if leaf + 1 < len(leaves) else before
    if 0 <= after - before <= _MOST_TIMES and leaf:
        yield from range(before, after + 1)
    else:
        for near in dict.fromkeys((before, after, said)):
            yield from range(max(near - _MOST_TIMES // 2, 0), near + _MOST_TIMES // 2)


def _time(append_ms: int) -> str:
    try:
        return format_time(append_ms)
    except (ValueError, OverflowError, OSError):
        return f"{append_ms} ms since 1970"
