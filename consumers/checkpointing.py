"""Signing as a duty: the trees over the log grow with it, and are signed every now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .ledger import Ledger
from .note import SigningKey
from .trees import Trees

__all__ = ["Checkpointing"]

_log = logging.getLogger(__name__)

_MOST_EVENTS = 200_000
"""After so many events nobody waits any longer: what the fold has gathered takes memory."""


class Checkpointing:
    """Publishes tiles and checkpoints, as often as the settings say, while there is something new.

    What the fold has computed for each event is gathered on the way, so that signing costs little
    beside folding.
    """

    def __init__(
        self, ledger: Ledger, key: SigningKey, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Sign with ``key``; ``clock``, in seconds, times the pauses."""
        self.signed = 0
        self._every_s = ledger.settings.checkpoint_s
        self._clock = clock
        self._due_s = 0.0
        self._seq = 0
        with ledger.keyed_state.lock:
            gathered = ledger.keyed_state.gather()
        self._trees = Trees(ledger, key, gathered)

    def round(self, seq: int) -> None:
        """Sign what is due.

        Raises:
            TreeBroken: the log is not what was signed earlier.
            LogError, ArtifactError: the log, or the blob store, cannot be read or written.
        """
        is_due = self._clock() >= self._due_s or seq - self._seq >= _MOST_EVENTS
        if seq != self._seq and is_due:
            self.finish(seq)

    def finish(self, seq: int) -> None:
        """Sign what there is, due or not."""
        made = self._trees.publish()
        self.signed += len(made)
        self._seq = seq
        self._due_s = self._clock() + self._every_s
        _log.debug("signed %d checkpoints", len(made))
