"""The lock of a folder: one holder among threads, processes and forked children."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from mlflow_ledger.bus import FileLock
from mlflow_ledger.schemas import LogUnavailable

from .programs import FORKSERVER, run


def count_up(folder: Path, times: int) -> None:
    """Add one to a number in a file, in steps that only a lock keeps together."""
    lock = FileLock(folder / "lock")
    number = folder / "number"
    for _ in range(times):
        with lock:
            value = int(number.read_text("utf-8"))
            os.sched_yield()
            number.write_text(str(value + 1), "utf-8")


def hold(folder: Path, held: Event, let_go: Event) -> None:
    """Hold the lock until told otherwise."""
    with FileLock(folder / "lock"):
        held.set()
        let_go.wait()


def test_threads_and_processes_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0", "utf-8")
    workers: list[threading.Thread | multiprocessing.process.BaseProcess] = [
        FORKSERVER.Process(target=count_up, args=(tmp_path, 200)) for _ in range(2)
    ]
    lock = FileLock(tmp_path / "lock")

    def in_thread() -> None:
        for _ in range(200):
            with lock:
                value = int((tmp_path / "number").read_text("utf-8"))
                os.sched_yield()
                (tmp_path / "number").write_text(str(value + 1), "utf-8")

    workers += [threading.Thread(target=in_thread) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "number").read_text("utf-8") == "1200"


def test_trying_does_not_wait(tmp_path: Path) -> None:
    held, let_go = FORKSERVER.Event(), FORKSERVER.Event()
    holder = FORKSERVER.Process(target=hold, args=(tmp_path, held, let_go))
    holder.start()
    held.wait()
    lock = FileLock(tmp_path / "lock")
    assert not lock.try_acquire()
    let_go.set()
    holder.join()
    assert lock.try_acquire()
    assert not lock.try_acquire()  # not even in the thread that has it
    assert not FileLock(tmp_path / "lock").try_acquire()
    lock.release()
    assert lock.try_acquire()
    lock.release()


def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    held, let_go = FORKSERVER.Event(), FORKSERVER.Event()
    holder = FORKSERVER.Process(target=hold, args=(tmp_path, held, let_go))
    holder.start()
    held.wait()
    holder.kill()
    holder.join()
    with FileLock(tmp_path / "lock"):
        pass


def test_it_is_released_when_work_fails(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 // 0
    with lock:
        pass


def test_it_can_be_taken_again_after_closing(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with lock:
        pass
    lock.close()
    lock.close()
    with lock:
        assert not FileLock(tmp_path / "lock").try_acquire()


def test_a_folder_that_was_made_anew_has_one_lock(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    old = FileLock(folder / "lock")
    with old:
        pass
    shutil.rmtree(folder)
    folder.mkdir()
    with FileLock(folder / "lock"):
        assert not old.try_acquire()
    with old:
        assert not FileLock(folder / "lock").try_acquire()


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "gone" / "lock")
    with pytest.raises(LogUnavailable, match="cannot open the lock file"), lock:
        pass
    with pytest.raises(LogUnavailable, match="cannot open the lock file"):
        lock.try_acquire()
    (tmp_path / "gone").mkdir()
    with lock:
        pass


def test_a_forked_child_neither_keeps_nor_drops_its_parents_lock(tmp_path: Path) -> None:
    """In a process of its own, since this one may have threads."""
    assert run("lock_and_fork", tmp_path) == "ok"


def test_who_holds_it_does_not_wait_for_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with lock, pytest.raises(RuntimeError, match="holds the lock"), lock:
        pass
    with lock:
        assert not lock.try_acquire()
    assert lock.try_acquire()
    with pytest.raises(RuntimeError, match="holds the lock"), lock:
        pass
    lock.release()
    with lock:
        lock.path.touch()
    lock.close()
