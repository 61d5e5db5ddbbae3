"""One lock for all threads and processes that write to a folder."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mlflow_ledger.schemas import LogUnavailable

from .inode import inode_of
from .sharing import share

__all__ = ["FileLock"]


_TRIES = 100 if (os.cpu_count() or 1) > 1 else 1
"""Some 0.1 ms of asking: whoever logs holds the lock for less, and being woken takes as long."""


class FileLock:
    """An exclusive lock: first among the threads of this process, then among processes.

    ``flock`` queues its waiters in the kernel, where SQLite's own busy handler polls and starves
    them: with four writers the worst wait was 0.1 s here and 3-4 s there.
    """

    fork_order = 1

    def __init__(self, path: Path, *, make_folder: Callable[[], None] | None = None) -> None:
        """Lock through the file at ``path``, which is created when first needed.

        ``make_folder`` is called before the file is opened, which is rare.
        """
        self.path = path
        self._path_text = str(path)
        self._make_folder = make_folder
        self._threads = threading.Lock()
        self._holder = 0
        self._descriptor: int | None = None
        self._inode = 0

    def __enter__(self) -> Self:
        """Wait for the lock.

        Raises:
            RuntimeError: this very thread holds it, and would wait for ever.
        """
        if not self._threads.acquire(blocking=False):
            if self._holder == threading.get_ident():
                msg = f"the thread that holds the lock {self.path} waits for it"
                raise RuntimeError(msg)
            self._threads.acquire()
        try:
            self._flock(fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise
        self._holder = threading.get_ident()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self._holder = 0
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it; release it with :meth:`release`."""
        if not self._threads.acquire(blocking=False):
            return False
        try:
            self._flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._threads.release()
            return False
        except BaseException:
            self._threads.release()
            raise
        self._holder = threading.get_ident()
        return True

    def release(self) -> None:
        """Release a lock taken with :meth:`try_acquire`."""
        self.__exit__(None, None, None)

    def close(self) -> None:
        """Close the file; the lock can be taken again, which opens it again."""
        with self._threads:
            self._close()

    def without_processes(self) -> threading.Lock:
        """The part of the lock that only the threads of this process share."""
        return self._threads

    def before_fork(self) -> None:
        """Keep this process's threads out, so that the child inherits a free lock."""
        self._threads.acquire()

    def after_fork_in_parent(self) -> None:
        """Let the threads in again."""
        self._threads.release()

    def after_fork_in_child(self) -> None:
        """Close the inherited descriptor, without unlocking.

        It shares its lock with the parent's: unlocking would take the parent's lock away, and
        keeping it open would hold that lock for the child's whole life.
        """
        self._close()
        self._threads.release()

    def _flock(self, how: int) -> None:
        """Lock the file that is at the path: a folder may have been removed and made anew."""
        while True:
            descriptor = self._open()
            if how & fcntl.LOCK_NB or not _soon(descriptor):
                fcntl.flock(descriptor, how)
            if self._stands():
                return
            self._close()

    def _stands(self) -> bool:
        return inode_of(self._path_text) == self._inode

    def _open(self) -> int:
        if self._descriptor is None:
            if self._make_folder is not None:
                self._make_folder()
            try:
                self._descriptor = self._opened()
                self._inode = os.fstat(self._descriptor).st_ino
            except OSError as error:
                msg = f"cannot open the lock file {self.path}: {error.strerror}"
                raise LogUnavailable(msg) from error
        return self._descriptor

    def _opened(self) -> int:
        """Open the file, or make it; to lock it, reading it is enough."""
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            share(self.path)
            return descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _soon(descriptor: int) -> bool:
    """Whether the lock came free within a moment: 8 writers do a quarter more than by waiting."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False
