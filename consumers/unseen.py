"""What this process has said to the brokers, and its replica cannot show yet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

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

    def add(self, said: Sequence[Outgoing], spool: Callable[[], int] | None = None) -> None:
        """Remember what was said; ``spool`` puts it into a spool, and gives the last one's number.

        Events are remembered in the order of their numbers.
        """
        with self._mutex:
            through = 0 if spool is None else spool()
            for place, outgoing in enumerate(said, 1):
                size_bytes = _size(outgoing.record)
                if size_bytes > _LARGE_BYTES:
                    continue
                number = through - len(said) + place if spool else 0
                self._said.append((number, outgoing))
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

    def since(self, index: int) -> list[tuple[int, int, Outgoing]]:
        """Those from one on: each with its index and its spool's number, 0 where there is none."""
        with self._mutex:
            found = [(at, *said) for at, said in enumerate(self._said, self._first)]
        return found[max(index - found[0][0], 0) :] if found else []

    def after_fork_in_child(self) -> None:
        """Go on with a lock that nobody holds."""
        self._mutex = threading.Lock()

    def _drop(self) -> None:
        _, outgoing = self._said.popleft()
        self._first += 1
        self._size_bytes -= _size(outgoing.record)


def _size(record: Record) -> int:
    return len(record.head) + len(record.content or b"")
