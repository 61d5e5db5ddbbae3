"""What this process has said to the brokers, and its replica cannot show yet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from mlflow_ledger.bus import Outgoing
from mlflow_ledger.schemas import Record

__all__ = ["Unseen"]

_MOST_EVENTS = 10_000
_MOST_BYTES = 32 * 1024 * 1024
_LARGE_BYTES = 64 * 1024


class Unseen:
    """The events that left this process, until its replica has followed the topics behind them.

    Once the brokers have an event it waits in no spool. Should they go away before it was copied
    back, it would be missed by reads for as long as they are away: an overlay takes it from here.
    Chunks of files are not kept, and of very many events only the last.
    """

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: deque[tuple[int, Outgoing]] = deque()
        self._first = 0
        self._size_bytes = 0
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        """How many events there are."""
        return len(self._said)

    def add(self, said: Sequence[Outgoing], through: int = 0) -> None:
        """Remember what was said; ``through`` is the spool's number of the last, 0 without."""
        first = through - len(said) + 1 if through else 0
        with self._mutex:
            for place, outgoing in enumerate(said):
                size_bytes = _size(outgoing.record)
                if size_bytes > _LARGE_BYTES:
                    continue
                self._said.append((first + place if through else 0, outgoing))
                self._size_bytes += size_bytes
            while len(self._said) > _MOST_EVENTS or self._size_bytes > _MOST_BYTES:
                self._drop()

    def sent(self, waiting: int | None) -> int:
        """Behind which of them the brokers have all, where the spool begins with ``waiting``."""
        with self._mutex:
            behind = self._first
            for number, _ in self._said:
                if waiting is not None and number >= waiting:
                    break
                behind += 1
            return behind

    def forget(self, behind: int) -> None:
        """The replica shows all before this one."""
        with self._mutex:
            while self._said and self._first < behind:
                self._drop()

    def since(self, index: int, behind: int) -> Iterator[tuple[int, int, Outgoing]]:
        """Those from one on and before another: each with its index and its spool's number."""
        with self._mutex:
            found = list(enumerate(self._said, self._first))
        for at, (number, outgoing) in found:
            if index <= at < behind:
                yield at, number, outgoing

    def after_fork_in_child(self) -> None:
        """Go on with a lock that nobody holds."""
        self._mutex = threading.Lock()

    def _drop(self) -> None:
        _, outgoing = self._said.popleft()
        self._first += 1
        self._size_bytes -= _size(outgoing.record)


def _size(record: Record) -> int:
    return len(record.head) + len(record.content or b"")
