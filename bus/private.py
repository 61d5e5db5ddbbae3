"""Folders of one process alone, for copies that it makes for itself."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from mlflow_ledger.schemas import LogUnavailable

from .lock import FileLock

__all__ = ["PrivateFolder"]

_log = logging.getLogger(__name__)


class PrivateFolder:
    """A folder in the temporary folder that only this process uses, marked by a lock.

    What dead processes left is removed when another is made.
    """

    def __init__(self) -> None:
        """Make the folder.

        Raises:
            OSError: the temporary folder cannot be written.
        """
        self._own_root = False
        root = Path(tempfile.gettempdir()) / f"mlflow-ledger-{os.geteuid()}"
        if not _is_ours(root):
            _log.warning(
                "%s is not this user's own: it is left alone, and another folder used", root
            )
            self._own_root = True
            root = Path(tempfile.mkdtemp(prefix=f"{root.name}-"))
        self.path, self._lock = _marked(root)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        self._lock.close()
        if self._own_root:
            shutil.rmtree(self.path.parent, ignore_errors=True)

    def abandon(self) -> None:
        """After a fork, in the child: leave the folder to the parent."""
        self._lock.after_fork_in_child()


def _is_ours(root: Path) -> bool:
    """Whether a folder of a name that anybody can guess was made by us, for us alone."""
    try:
        root.mkdir(mode=0o700)
    except FileExistsError:
        status = root.lstat()
        return (
            stat.S_ISDIR(status.st_mode)
            and status.st_uid == os.geteuid()
            and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        )
    return True


def _marked(root: Path) -> tuple[Path, FileLock]:
    """A new folder and its lock.

    On the way, folders whose process is gone are removed; a lock around both keeps a folder that
    is not yet marked from being taken for one of those.
    """
    making = FileLock(root / "lock")
    try:
        with making:
            for folder in root.iterdir():
                if folder.is_dir():
                    _remove_if_unused(folder)
            made = Path(tempfile.mkdtemp(dir=root))
            lock = FileLock(made / "used")
            lock.try_acquire()
            return made, lock
    finally:
        making.close()


def _remove_if_unused(folder: Path) -> None:
    lock = FileLock(folder / "used")
    try:
        if lock.try_acquire():
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
    except LogUnavailable:  # its own process just removed it
        return
    finally:
        lock.close()
