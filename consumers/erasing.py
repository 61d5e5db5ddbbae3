"""What a replica does when a redaction comes by: nothing of the content is left on this host."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from typing import TYPE_CHECKING

from mlflow_ledger.bus import FileLock, PrivateFolder, reach

from .key_keeping import KeyKeeping
from .ledger import Ledger
from .past_states import drop_cached_states
from .snapshots import Snapshots
from .state_file import remove_all

if TYPE_CHECKING:
    from .replicated import Replicated

__all__ = ["erase_pending"]

_log = logging.getLogger(__name__)

_BLOBS = "blobs:/"


def erase_pending(ledger: Replicated, keeping: KeyKeeping, *, wait: bool = False) -> None:
    """Erase what redactions have named; of the processes of a host one does so.

    Another that is just about it is left alone, or waited for. One that breaks off is finished by
    whoever follows next. The keys go last: until then it can be told what there is to do.

    Raises:
        LogUnavailable, ArtifactError: something cannot be removed now.
    """
    lock = FileLock(ledger.folder / "erase.lock")
    try:
        if wait:
            with lock:
                _Eraser(ledger, keeping).run()
        elif lock.try_acquire():
            try:
                _Eraser(ledger, keeping).run()
            finally:
                lock.release()
    finally:
        lock.close()


class _Eraser:
    """One pass; each step may be done again."""

    def __init__(self, ledger: Replicated, keeping: KeyKeeping) -> None:
        self._ledger = ledger
        self._keeping = keeping

    def run(self) -> None:
        places = self._keeping.file.pending()
        if not places:
            return
        doomed = self._keeping.file.doomed()
        blobs = [s.partition("@")[0].removeprefix(_BLOBS) for s in doomed if s.startswith(_BLOBS)]
        if len(blobs) < len(doomed) or not doomed:
            self._refold()
        reach("erase.folded")
        self._remove_blobs(blobs)
        bundles = self._ledger.bundles()
        if bundles is not None:
            bundles.remove_before(max(places))
        reach("erase.removed")
        self._keeping.file.forget(places)
        self._keeping.keyring.forget()
        reach("erase.forgotten")
        self._keeping.tell(self._ledger.log.position(), now=True)

    def _refold(self) -> None:
        """Fold the state again, and remove what was made of the one before."""
        ledger = self._ledger
        if ledger.files.current() is not None:
            _log.info("something was redacted: folding the events in %s again", ledger.folder)
            ledger.fold_again()
        current = ledger.files.current()
        remove_all(path for path in ledger.folder.glob("state-*.sqlite") if path != current)
        shutil.rmtree(ledger.folder / ".cold", ignore_errors=True)
        drop_cached_states(ledger)
        Snapshots(ledger).remove_all()
        PrivateFolder().remove()  # with those of processes that are no more
        ledger.lift()

    def _remove_blobs(self, digests: list[str]) -> None:
        """Remove this host's copies of blobs that were collected, unless they were logged again."""
        if not digests:
            return
        self._ledger.copy_rest()  # that they were collected was said before their keys were lost

        def collected(db: sqlite3.Connection) -> set[str]:
            rows = db.execute("SELECT digest FROM blobs WHERE collected_ms IS NOT NULL")
            return {digest for (digest,) in rows}

        with Ledger.read(self._ledger) as db:
            gone = collected(db)
        for digest in digests:
            if digest in gone:
                self._ledger.blobs.delete(digest)
