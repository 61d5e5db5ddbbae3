"""What the fold knows anyway and a tree needs: the digests of events as they are folded."""

from __future__ import annotations

import hashlib
from collections import deque
from itertools import islice

from .checkpoint import TIME_BYTES

__all__ = ["Gathered"]

_MOST = 500_000


class Gathered:
    """The last events that this process has folded, each with its offset, digest and append time.

    So a service that folds need not read its log twice to sign it. It is of use, never of need:
    what is not here is read from the log.
    """

    __slots__ = ("_events", "note")

    def __init__(self) -> None:
        """Hold nothing yet; ``note`` takes (offset, digest, append_ms) of the next event."""
        self._events: deque[tuple[int, bytes, int]] = deque(maxlen=_MOST)
        self.note = self._events.append

    def leaves(self, first: int, behind: int) -> list[bytes]:
        """The hashes of the leaves from an offset up to the one before ``behind``.

        None of them where not all are here, one behind the other.
        """
        events = self._events
        while events and events[0][0] < first:
            events.popleft()
        some = list(islice(events, behind - first))
        if [offset for offset, _, _ in some] != list(range(first, behind)):
            return []
        size = TIME_BYTES  # what leaf_data and leaf_hash say, without their calls
        return [
            hashlib.sha256(b"\x00" + digest + append_ms.to_bytes(size, "big")).digest()
            for _, digest, append_ms in some
        ]

    def drop(self) -> None:
        """Hold nothing any more."""
        self._events.clear()
