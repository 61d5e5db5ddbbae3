"""Publishing as a duty: snapshots for this host's searches, and for hosts that have none yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_ledger.bus import MirrorLog

from .analytics import Analytics
from .ledger import Ledger
from .snapshots import Snapshot

if TYPE_CHECKING:
    from .bundles import Bundles

__all__ = ["Publishing"]

_log = logging.getLogger(__name__)

_LOOK_S = 30.0


class Publishing:
    """Publishes a snapshot when enough was folded since the last one, whoever published that."""

    def __init__(
        self,
        ledger: Ledger,
        bundles: Bundles | None,
        every: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish each ``every`` events, by default as the settings say, at least a tenth."""
        self.published = 0
        self.shared = 0
        self._ledger = ledger
        self._bundles = bundles
        self._every = every or ledger.settings.snapshot_events
        self._clock = clock
        self._analytics = Analytics(ledger)
        self._snapshots = ledger.snapshots()
        self._known: Snapshot | None = None
        self._shared_seq: int | None = None
        self._look_at_s = 0.0

    def round(self, seq: int) -> None:
        """Publish what is due.

        Raises:
            LogUnavailable, ArtifactError: it cannot be written; nothing of it is left.
        """
        if self._is_due(seq, self._known.seq if self._known else 0):
            self._publish(seq)
        if self._bundles is not None and self._known is not None:
            self._share(self._bundles, self._known)

    def close(self) -> None:
        """Let go of analytics."""
        self._analytics.close()

    def _is_due(self, seq: int, last: int) -> bool:
        return seq - last >= self._snapshots.enough(seq, self._every)

    def _publish(self, seq: int) -> None:
        self._known = self._newest()
        if not self._is_due(seq, self._known.seq if self._known else 0):
            return
        made = self._analytics.publish()
        if made is not None:
            self.published += 1
            self._known = made
            _log.info("published a snapshot of %d events", made.seq)

    def _newest(self) -> Snapshot | None:
        path = self._ledger.files.current()
        return None if path is None else self._snapshots.newest(Path(path).name)

    def _share(self, bundles: Bundles, snapshot: Snapshot) -> None:
        if self._shared_seq is None and self._clock() < self._look_at_s:
            return
        if not self._is_due(snapshot.seq, self._shared_seq or 0):
            return
        self._look_at_s = self._clock() + _LOOK_S
        newest = bundles.newest()  # another host may have been quicker
        self._shared_seq = newest.seq if newest else 0
        if not self._is_due(snapshot.seq, self._shared_seq):
            return
        assert isinstance(self._ledger.log, MirrorLog)
        erasures = self._ledger.erasures()
        if erasures is not None and erasures[1]:
            return  # what is to be erased may be in it
        made = bundles.publish(self._ledger.log, snapshot)
        if made is not None and self._ledger.erasures() != erasures:
            bundles.remove(made)
            return
        self._shared_seq = snapshot.seq
        if made is not None:
            self.shared += 1
            _log.info("shared the snapshot of %d events at %s", made.events, bundles)
