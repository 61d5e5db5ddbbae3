"""What the fold knows anyway and a tree needs: the digests of events as they are folded."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter

from .checkpoint import event_leaves

__all__ = ["Gathered"]

_MOST = 500_000
_offset = itemgetter(0)


class Gathered:
    """The last events that this process has folded, each with its offset, digest and append time.

    So a service that folds need not read its log twice to sign it. It is of use, never of need:
    what is not here is read from the log. Nothing is hashed before a checkpoint is due.
    """

    __slots__ = ("_before", "_events", "note")

    def __init__(self) -> None:
        """Hold nothing yet; ``note`` takes (offset, digest, append_ms) of the next event."""
        self._events: list[tuple[int, bytes, int]] = []
        self._before = 0
        self.note = self._events.append

    def begin(self, following: int) -> None:
        """A transaction begins that folds from an offset on: what was said of those is void."""
        events = self._events
        if events and events[-1][0] >= following:
            del events[bisect_left(events, following, key=_offset) :]
        del events[:-_MOST]
        self._before = len(events)

    def undo(self) -> None:
        """The transaction was rolled back: none of its events stands in the log for sure."""
        del self._events[self._before :]

    def leaves(self, first: int, behind: int) -> list[bytes]:
        """The hashes of the leaves from an offset up to the one before ``behind``.

        None of them where not all are here, one behind the other.
        """
        at = bisect_left(self._events, first, key=_offset)
        some = self._events[at : at + behind - first]
        if list(map(_offset, some)) != list(range(first, behind)):
            return []
        return event_leaves(some)

    def drop(self) -> None:
        """Hold nothing any more."""
        self._events.clear()
        self._before = 0
