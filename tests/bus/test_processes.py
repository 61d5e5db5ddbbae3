"""Two processes append to one log at once: every record once, each process's own in order."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from mlflow_ledger.bus import Position, SqliteLog, Writer
from mlflow_ledger.schemas import LogDamaged, LogForeign, LogMissing

from .programs import FORKSERVER
from .records import many, stamped

LEDGER_ID = "0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    SqliteLog.create(tmp_path / "log.sqlite", LEDGER_ID)
    return tmp_path / "log.sqlite"


def append(path: Path, batches: int, size: int) -> None:
    """Append as one process with one source."""
    log, writer = SqliteLog(path), Writer()
    for _ in range(batches):
        with log.lock, log.transaction() as appending:
            appending.append(stamped(writer, size))
    log.close()


def test_processes_append_at_once(path: Path) -> None:
    processes = [FORKSERVER.Process(target=append, args=(path, 60, n)) for n in (1, 3, 5)]
    for process in processes:
        process.start()
    log = SqliteLog(path)
    position, seen = log.start(), 0
    while any(process.is_alive() for process in processes) or not position.covers(log.end()):
        for stored in log.read(position, 100):  # a reader follows meanwhile
            position = position.advanced(stored.partition, stored.offset)
            seen += 1
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert seen == 60 * 9
    ids: dict[str, list[int]] = {}
    offsets, times = [], []
    for stored in log.read(log.start()):
        ids.setdefault(stored.record.envelope.source, []).append(stored.record.envelope.id)
        offsets.append(stored.offset)
        times.append(stored.append_ms)
    assert sorted(map(len, ids.values())) == [60, 180, 300]
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in ids.values())
    assert offsets == list(range(1, 541))
    assert times == sorted(times)
    log.close()


def test_threads_append_and_read_at_once(path: Path) -> None:
    log = SqliteLog(path)
    ends: list[list[int]] = []

    def appending(number: int) -> None:
        for batch in range(40):
            log.append(many(2, f"{number}/runs/0", 1 + 2 * batch))

    def reading() -> None:
        seen = []
        for _ in range(100):
            before = log.last_offset()
            records = list(log.rows(1))
            assert [s.offset for s in records] == list(range(1, len(records) + 1))
            assert len(records) >= before
            seen.append(len(records))
        ends.append(seen)

    threads = [threading.Thread(target=appending, args=(n,)) for n in range(4)]
    threads += [threading.Thread(target=reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 3
    assert all(seen == sorted(seen) for seen in ends)
    assert log.last_offset() == 320
    log.close()


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    log = SqliteLog(path)
    log.append(many(2))

    def failing() -> None:
        with log.lock, log.transaction() as appending:
            appending.append(many(3, "new/runs/0"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert log.last_offset() == 2
    log.append(many(1, "new/runs/0"))  # its number in the file was forgotten with it
    (stored,) = log.read(Position(LEDGER_ID, {("", 0): 3}))
    assert stored.record == many(1, "new/runs/0")[0].record
    log.close()


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    with pytest.raises(LogMissing, match="nothing was logged there yet"):
        log.end()
    assert not (tmp_path / "log.sqlite").exists()


@pytest.mark.parametrize(
    ("setup", "error", "words"),
    [
        ("PRAGMA user_version = 99", LogForeign, "upgrade this one"),
        ("PRAGMA user_version = 0", LogForeign, "no ledger's log"),
        ("DROP TABLE meta", LogForeign, "no ledger's log"),
        ("DELETE FROM meta", LogForeign, "no ledger's log"),
        ("UPDATE events SET head = 'text'", LogDamaged, "event 1 cannot be read"),
        ("UPDATE events SET time_ms = 1 << 60", LogDamaged, "event 1 cannot be read"),
        ("UPDATE events SET extra = '['", LogDamaged, "event 1 cannot be read"),
        ("UPDATE events SET extra = '[1]'", LogDamaged, "event 1 cannot be read"),
        ("UPDATE events SET subject = CAST(x'ff' AS TEXT)", LogDamaged, "restore it"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_told(
    path: Path, setup: str, error: type[Exception], words: str
) -> None:
    log = SqliteLog(path)
    log.append(many(1))
    log.close()
    with sqlite3.connect(path) as db:
        db.execute(setup)
    db.close()
    with pytest.raises(error, match=words):
        list(log.rows(1))
    log.close()


@pytest.mark.parametrize("kept", [0, 50, 100, 5000])
def test_a_truncated_file_is_told(path: Path, kept: int) -> None:
    log = SqliteLog(path)
    log.append(many(200))
    log.close()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LogDamaged, match="restore it from a backup"):
        list(log.rows(1))
    log.close()
