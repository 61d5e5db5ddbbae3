"""How long a call took, and what that time was spent on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

__all__ = ["Took", "Watch", "machine_ticks", "percentile"]

_SCHEDSTAT_BYTES = 128


class Took(NamedTuple):
    """One call, in seconds.

    ``wall`` is what its caller waited: ``cpu`` of it this thread computed, ``starved`` it was ready
    and had no processor; the rest it waited for locks, the disk, or other threads.
    """

    wall: float
    cpu: float
    starved: float

    @property
    def rest(self) -> float:
        """What was neither computed nor waited for a processor."""
        return max(self.wall - self.cpu - self.starved, 0.0)


class Watch:
    """Times one call of this thread: ``with watch: ...``, then ``watch.took``."""

    def __init__(self) -> None:
        self.took = Took(0, 0, 0)
        self._began = (0.0, 0.0, 0.0)
        try:
            self._descriptor: int | None = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except FileNotFoundError:  # no Linux, or one that keeps no such account
            self._descriptor = None

    def __enter__(self) -> Self:
        self._began = self._now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pairs = zip(self._now(), self._began, strict=True)
        self.took = Took(*(now - began for now, began in pairs))

    def _now(self) -> tuple[float, float, float]:
        starved_ns = 0
        if self._descriptor is not None:
            starved_ns = int(os.pread(self._descriptor, _SCHEDSTAT_BYTES, 0).split()[1])
        return time.perf_counter(), time.thread_time(), starved_ns / 1e9


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def machine_ticks() -> tuple[int, int]:
    """How much processor time this machine had so far, and how much of it was used."""
    with open("/proc/stat", encoding="ascii") as file:  # noqa: PTH123  # a line, not a file's text
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4]
