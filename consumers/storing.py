"""Storing as a duty: blobs that came over the bus go to the blob store."""

from __future__ import annotations

import time
from collections.abc import Callable

from .delivery import Delivery
from .ledger import Ledger

__all__ = ["Storing"]

_MOST_BLOBS = 20
_LOOK_S = 0.5


class Storing:
    """Writes some blobs a round, as long as there are any."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to the ledger's blob store."""
        self.stored = 0
        self.failures = 0
        self.waiting = 0
        self._delivery = Delivery(ledger, clock)
        self._clock = clock
        self._look_at_s = 0.0
        self._seq = -1

    def round(self, seq: int) -> None:
        """Write what is due; what cannot be written now is counted, and tried again later."""
        if (seq == self._seq and not self.waiting) or self._clock() < self._look_at_s:
            return
        self._look_at_s = self._clock() + _LOOK_S
        done = self._delivery.round(_MOST_BLOBS)
        self._seq = seq
        self.stored += len(done.stored)
        self.failures += len(done.failed)
        self.waiting = self._delivery.backlog().blobs
