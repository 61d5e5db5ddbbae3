"""Damage: a state repairs itself from the log, and a log that is damaged says so."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import mlflow_ledger.consumers.committer as committer_module
from mlflow_ledger.bus import SqliteLog
from mlflow_ledger.consumers import FOLD_VERSION, Ledger, state_digest
from mlflow_ledger.schemas import (
    LogDamaged,
    LogError,
    LogForeign,
    LogMissing,
    LogUnavailable,
    SettingsError,
    StatementRefused,
)
from tests.bus.programs import FORKSERVER, created, say, sources, tagged

from .folding import State

Damage = Callable[[Path], object]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "store")
    say(made, *(created(f"r{n}") for n in range(200)))
    yield made
    made.close()


def count(ledger: Ledger) -> int:
    found: int = ledger.query(lambda db: db.execute("SELECT count(*) FROM runs").fetchone()[0])
    return found


def state_path(folder: Path) -> Path:
    return folder / (folder / f"CURRENT-{FOLD_VERSION}").read_text("utf-8").strip()


def garble(path: Path, start: int = 0, length: int = 10**9) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(0).randbytes(min(length, size - start)))


def check_whole(ledger: Ledger, expected: int) -> None:
    """Everything is there, and the state is what a fresh replay gives."""
    assert count(ledger) == expected
    fresh = State()
    fresh.apply(ledger.log.rows(1))
    with ledger.read() as db:
        assert state_digest(db) == fresh.digest()
    fresh.close()


STATE_DAMAGE: dict[str, Damage] = {
    "missing": lambda folder: state_path(folder).unlink(),
    "empty": lambda folder: state_path(folder).write_bytes(b""),
    "garbled": lambda folder: garble(state_path(folder)),
    "garbled inside": lambda folder: garble(state_path(folder), 4096),
    "truncated": lambda folder: os.truncate(state_path(folder), 20_000),
    "no database": lambda folder: state_path(folder).write_text("hello", "utf-8"),
    "another version": lambda folder: execute(state_path(folder), "PRAGMA user_version = 7"),
    "a table gone": lambda folder: execute(state_path(folder), "DROP TABLE runs"),
    "pointer missing": lambda folder: (folder / f"CURRENT-{FOLD_VERSION}").unlink(),
    "pointer empty": lambda folder: (folder / f"CURRENT-{FOLD_VERSION}").write_bytes(b""),
    "pointer elsewhere": lambda folder: (folder / f"CURRENT-{FOLD_VERSION}").write_text("x\n"),
    "pointer unreadable": lambda folder: (folder / f"CURRENT-{FOLD_VERSION}").write_bytes(b"\xff"),
    "behind": lambda folder: execute(
        state_path(folder),
        "DELETE FROM runs; DELETE FROM identities; DELETE FROM progress; DELETE FROM meta; "
        "DELETE FROM experiments; DELETE FROM changes",
    ),
    "another event": lambda folder: execute(
        state_path(folder), "UPDATE progress SET digest = x'00'; DELETE FROM runs"
    ),
}  # fmt: skip


def execute(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


@pytest.mark.parametrize("first", ["read", "query", "write"])
@pytest.mark.parametrize("damage", STATE_DAMAGE)
def test_a_damaged_state_is_folded_again(ledger: Ledger, damage: str, first: str) -> None:
    ledger.close()
    STATE_DAMAGE[damage](ledger.folder)
    again = Ledger(ledger.folder)
    if first == "write":
        say(again, created("new"))
    elif first == "query":
        assert count(again) == 200
    elif damage not in ("garbled inside", "truncated", "a table gone"):
        with again.read() as db:  # what is seen only later, a query asks again for
            assert db.execute("SELECT count(*) FROM runs").fetchone() == (200,)
    check_whole(again, 201 if first == "write" else 200)
    again.close()


def test_a_state_that_is_damaged_under_a_living_ledger_is_folded_again(ledger: Ledger) -> None:
    assert count(ledger) == 200
    state_path(ledger.folder).unlink()
    say(ledger, created("new"))
    check_whole(ledger, 201)
    (ledger.folder / f"CURRENT-{FOLD_VERSION}").unlink()
    check_whole(ledger, 201)
    say(ledger, created("newer"))
    check_whole(ledger, 202)


def cut(path: Path, keep: int) -> None:
    execute(path, f"DELETE FROM events WHERE seq > {keep}")


@pytest.mark.parametrize("keep", [0, 1, 100, 200])
def test_a_log_cut_back_behind_the_state_means_a_new_state(ledger: Ledger, keep: int) -> None:
    ledger.close()
    cut(ledger.log.path, keep)
    again = Ledger(ledger.folder)
    check_whole(again, max(keep - 1, 0))
    say(again, created("r199"), created("new"))
    check_whole(again, max(keep - 1, 0) + 2)
    again.close()


@pytest.mark.parametrize("first", ["read", "write"])
def test_a_log_cut_back_under_a_living_ledger_means_a_new_state(ledger: Ledger, first: str) -> None:
    assert count(ledger) == 200
    cut(ledger.log.path, 101)
    if first == "read":
        assert count(ledger) == 100
    say(ledger, created("new"))
    check_whole(ledger, 101)
    # Ids that the cut took away are not gone on from: a new source began.
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())


def test_a_log_restored_from_a_backup_is_followed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.close()
    shutil.copy(ledger.log.path, tmp_path / "backup")
    say(ledger, created("lost"))
    assert count(ledger) == 201
    other = Ledger(ledger.folder)
    assert count(other) == 201
    ledger.close()
    other.close()
    shutil.copy(tmp_path / "backup", tmp_path / "back")
    (tmp_path / "back").replace(ledger.log.path)
    assert count(ledger) == 200
    say(ledger, created("new"))
    check_whole(ledger, 201)
    check_whole(other, 201)
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())
    other.close()


def test_a_log_replaced_under_a_living_ledger_is_followed(ledger: Ledger, tmp_path: Path) -> None:
    backup = sqlite3.connect(tmp_path / "backup")
    source = sqlite3.connect(ledger.log.path)
    source.backup(backup)
    source.close()
    backup.close()
    say(ledger, created("lost"))
    for suffix in ("-wal", "-shm"):
        ledger.log.path.with_name(ledger.log.path.name + suffix).unlink()
    (tmp_path / "backup").replace(ledger.log.path)
    assert count(ledger) == 200
    say(ledger, created("new"))
    check_whole(ledger, 201)
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())


def test_a_folder_removed_under_a_living_ledger_begins_anew(ledger: Ledger) -> None:
    before = ledger.ledger_id
    shutil.rmtree(ledger.folder)
    say(ledger, created("new"))
    check_whole(ledger, 1)
    assert ledger.ledger_id != before
    shutil.rmtree(ledger.folder)
    assert count(ledger) == 0


LOG_DAMAGE: dict[str, tuple[Damage, type[LogError], str]] = {
    "missing": (Path.unlink, LogMissing, "restore the log from a backup"),
    "empty": (lambda path: os.truncate(path, 0), LogDamaged, "restore it from a backup"),
    "garbled": (garble, LogDamaged, "restore it from a backup"),
    "garbled inside": (lambda path: garble(path, 4096), LogDamaged, "restore it from a backup"),
    "truncated": (lambda path: os.truncate(path, 9000), LogDamaged, "restore it from a backup"),
    "no database": (
        lambda path: path.write_text("hello, this is no database " * 50),
        LogDamaged,
        "restore it from a backup",
    ),
    "newer": (
        lambda path: execute(path, "PRAGMA user_version = 99"), LogForeign, "upgrade this one",
    ),
    "something else": (
        lambda path: execute(path, "PRAGMA user_version = 0"), LogForeign, "no ledger's log",
    ),
    "an event gone": (
        lambda path: execute(path, "DELETE FROM events WHERE seq = 7"), LogDamaged, "event 7",
    ),
    "a source gone": (lambda path: execute(path, "DELETE FROM sources"), LogDamaged, "event 1"),
}  # fmt: skip


@pytest.mark.parametrize("damage", LOG_DAMAGE)
def test_a_damaged_log_says_so_and_names_the_way_out(ledger: Ledger, damage: str) -> None:
    ledger.close()
    cause, error, words = LOG_DAMAGE[damage]
    cause(ledger.log.path)
    kept = ledger.log.path.read_bytes() if ledger.log.path.exists() else None
    again = Ledger(ledger.folder)
    with pytest.raises(error, match=words) as caught:
        again.rebuild() if damage != "missing" else count(again)
    assert str(ledger.log.path) in str(caught.value)
    again.close()
    assert (ledger.log.path.read_bytes() if ledger.log.path.exists() else None) == kept


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_to_a_log_is_an_error_or_none(ledger: Ledger, seed: int) -> None:
    ledger.close()
    randomness = random.Random(seed)
    size = ledger.log.path.stat().st_size
    for _ in range(randomness.choice((1, 3, 30))):
        garble(ledger.log.path, randomness.randrange(size), randomness.choice((1, 4, 60)))
    again = Ledger(ledger.folder)
    words = str(ledger.folder)
    try:
        again.rebuild()
        count(again)
    except LogError as error:
        words = str(error)
    assert str(ledger.folder) in words
    again.close()


def test_damage_seen_after_the_log_was_written_says_nothing_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events stand in the log already: the state is folded again, the command is not."""
    broken = iter(["fold.written"])
    step = next(broken)

    def reach(name: str) -> None:
        nonlocal step
        if name == step:
            step = ""
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    monkeypatch.setattr(committer_module, "reach", reach)
    say(ledger, created("once"))
    check_whole(ledger, 201)
    assert ledger.log.last_offset() == 202
    say(ledger, created("more"))
    check_whole(ledger, 202)


# --- in a process of its own, which may be limited


def write_on(folder: Path, limit_bytes: int, told: Connection) -> None:
    """Write until files may not grow any more; then go on where they may again."""
    ledger = Ledger(folder)
    count(ledger)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    acknowledged, failures = [], []
    for number in range(60):
        try:
            say(ledger, tagged("r0", f"t{number}", "x" * 5000))
            acknowledged.append(f"t{number}")
        except BaseException as error:  # noqa: BLE001  # told to the test
            failures.append((type(error).__name__, str(error)))
        if failures:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    ledger.close()
    told.send((acknowledged, failures))


@pytest.mark.parametrize("room_kb", [40, 120, 160, 200, 240])
def test_a_full_disk_is_told_and_loses_nothing(ledger: Ledger, room_kb: int) -> None:
    ledger.close()
    size = max(p.stat().st_size for p in ledger.folder.iterdir() if p.is_file())
    here, there = FORKSERVER.Pipe()
    process = FORKSERVER.Process(
        target=write_on, args=(ledger.folder, size + room_kb * 1024, there)
    )
    process.start()
    acknowledged, failures = here.recv()
    process.join()
    assert failures
    for kind, words in failures:
        assert kind == LogUnavailable.__name__, words
        assert "try again when" in words
    found = ledger.query(
        lambda db: [key for (key,) in db.execute("SELECT key FROM tags ORDER BY key")]
    )
    assert set(acknowledged) <= set(found)
    assert len(found) <= len(acknowledged) + len(failures)
    check_whole(ledger, 200)


def write_as_nobody(folder: Path, told: Connection) -> None:
    """Write and read as a user who may not."""
    with tempfile.TemporaryDirectory() as scratch:
        count(Ledger(Path(scratch)))  # imports all it needs while it may
    if os.getuid() == 0:
        os.setuid(65534)
    answers: list[tuple[str, object]] = []
    for work in (lambda ledger: say(ledger, created("x")), count, Ledger.rebuild):
        try:
            answers.append(("", work(Ledger(folder))))
        except BaseException as error:  # noqa: BLE001  # told to the test
            answers.append((type(error).__name__, str(error)))
    told.send(answers)


@pytest.mark.parametrize("what", ["a folder", "a ledger", "a closed ledger", "a file"])
def test_a_place_that_cannot_be_written_is_told(ledger: Ledger, tmp_path: Path, what: str) -> None:
    ledger.close()
    place = tmp_path / "closed" / "store"
    place.parent.mkdir()
    if what.endswith("ledger"):
        shutil.copytree(ledger.folder, place)
        place.chmod(0o555 if what == "a ledger" else 0)
        for path in place.iterdir():
            path.chmod(0o444)
    elif what == "a file":
        place.write_text("hello", "utf-8")
    place.parent.chmod(0o555)
    for path in (*tmp_path.parents, tmp_path):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    here, there = FORKSERVER.Pipe()
    process = FORKSERVER.Process(target=write_as_nobody, args=(place, there))
    process.start()
    answers = here.recv()
    process.join()
    place.parent.chmod(0o755)
    for kind, words in answers:
        if kind == "":  # a ledger that may be read is read, if that can be done without writing
            assert (what, words) == ("a ledger", 200)
            continue
        told = (SettingsError,) if what == "a file" else (LogUnavailable, LogMissing)
        assert kind in {error.__name__ for error in told}, answers
        assert str(place) in words
    first = SettingsError if what == "a file" else LogUnavailable
    assert answers[0][0] == first.__name__


def test_a_new_log_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite.new").write_text("what a killed process left", "utf-8")
    SqliteLog.create(tmp_path / "log.sqlite", "ab")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.sqlite"]
    log = SqliteLog(tmp_path / "log.sqlite")
    assert log.ledger_id == "ab"
    log.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT colour FROM runs",
        "SELECT 1 FROM colours",
        "SELEKT 1",
        "SELECT count(*, 1) FROM runs",
    ],
)
def test_a_wrong_statement_is_no_damage(ledger: Ledger, statement: str) -> None:
    """A mistake of ours in a question would stay one, however often the log were folded."""
    count(ledger)
    before = state_path(ledger.folder)
    with pytest.raises(StatementRefused, match="no damage") as refused:
        ledger.query(lambda db: db.execute(statement).fetchall())
    assert str(refused.value.__cause__) in str(refused.value)
    assert isinstance(refused.value.__cause__, sqlite3.OperationalError)
    assert state_path(ledger.folder) == before
    assert count(ledger) == 200


def test_a_wrong_statement_about_the_log_is_no_damage_and_a_missing_table_is(
    ledger: Ledger,
) -> None:
    with pytest.raises(StatementRefused, match="no such column: colour"):
        ledger.log.ask("SELECT colour FROM events")
    ledger.close()
    execute(ledger.log.path, "DROP TABLE schemas")
    with pytest.raises(LogDamaged, match="no such table: schemas"):
        list(Ledger(ledger.folder).log.rows(1))
