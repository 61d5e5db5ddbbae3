"""Progress as people see it: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["ProgressShown"]

_EVERY_S = 5.0
_EVERY_PART = 10


class ProgressShown:
    """Shows on standard error what it is told; of short work it is told nothing."""

    def __init__(self) -> None:
        """Show nothing before something is told."""
        self._mutex = threading.Lock()
        self._bars: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._lines: dict[str, tuple[float, int]] = {}

    def __call__(self, what: str, done: int, of: int) -> None:
        """So much is done, of so much."""
        with self._mutex:
            if sys.stderr.isatty():
                self._draw(what, done, of)
            else:
                self._write(what, done, of)

    def stop(self) -> None:
        """It is over: bars go, lines stay."""
        with self._mutex:
            if self._bars is not None:
                self._bars.stop()
            self._bars = None
            self._tasks.clear()
            self._lines.clear()

    def _draw(self, what: str, done: int, of: int) -> None:
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=of)
        self._bars.update(self._tasks[what], completed=done, total=of)

    def _write(self, what: str, done: int, of: int) -> None:
        """A line at the beginning and the end, and each 5 s or 10 %."""
        now, part = time.monotonic(), done * _EVERY_PART // max(of, 1)
        said = self._lines.get(what)
        if said is not None and part == said[1] and now - said[0] < _EVERY_S:
            return
        self._lines[what] = (now, part)
        sys.stderr.write(f"mlflow-ledger: {what}: {done:,} of {of:,} ({done / max(of, 1):.0%})\n")
        sys.stderr.flush()


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    return Progress(*columns, console=Console(stderr=True), transient=True)
