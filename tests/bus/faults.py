"""A log that is away, slow or choosy when a test says so; otherwise the log behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mlflow_ledger.bus import Log, MemoryLog, Outgoing, Stored
from mlflow_ledger.schemas import LogUnavailable, RecordRefused

__all__ = ["FaultyLog"]

LEDGER_ID = "0123456789abcdef"


class FaultyLog(MemoryLog):
    """Faults of :meth:`append` alone: all else is that of a log in memory, or of ``behind``."""

    def __init__(self, behind: Log | None = None) -> None:
        super().__init__(LEDGER_ID)
        self.behind = behind
        self.away: Exception | None = None
        """Raised instead of appending."""
        self.unheard = 0
        """How many appends succeed and say that they have not."""
        self.refuses: Callable[[Outgoing], bool] = lambda _: False
        self.open = threading.Event()
        """Cleared: appends wait until it is set."""
        self.open.set()
        self.asked = threading.Event()
        """Set by every append."""
        self.sizes: list[int] = []
        """How many records each append came with."""

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        self.sizes.append(len(records))
        self.asked.set()
        self.open.wait()
        if self.away is not None:
            raise self.away
        if any(self.refuses(outgoing) for outgoing in records):
            msg = "not that one"
            raise RecordRefused(msg)
        stored = self.behind.append(records) if self.behind else super().append(records)
        if self.unheard:
            self.unheard -= 1
            msg = "no answer"
            raise LogUnavailable(msg)
        return stored
