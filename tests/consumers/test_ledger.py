"""The ledger of one machine: acknowledged writes are read by all, refused ones are kept."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import EMBEDDED, EventTooLarge, Settings
from mlflow_ledger.consumers import Ledger, open_ledger, state_digest
from mlflow_ledger.schemas import (
    Event,
    LogError,
    Reason,
    Refused,
    RunDeleted,
    RunTagDeleted,
    SettingsError,
    decode,
)
from tests.bus.programs import created, say, sources, start, tagged, write_marks

from .folding import State


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "store")
    yield made
    made.close()


def runs(ledger: Ledger) -> list[str]:
    return ledger.query(
        lambda db: [run for (run,) in db.execute("SELECT run_id FROM runs ORDER BY run_id")]
    )


def types(ledger: Ledger) -> list[str]:
    return [stored.record.envelope.type for stored in ledger.log.rows(1)]


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    assert not ledger.exists()
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_the_first_read_finds_the_default_experiment(ledger: Ledger) -> None:
    found = ledger.query(lambda db: db.execute("SELECT experiment_id, name FROM experiments"))
    assert found.fetchall() == [(0, "Default")]
    assert types(ledger) == ["LedgerCreated"]
    assert ledger.exists()


def test_what_is_written_is_read_at_once(ledger: Ledger) -> None:
    events = [created("a"), created("b")]
    assert ledger.write(lambda _: events) == events
    assert runs(ledger) == ["a", "b"]
    assert types(ledger) == ["LedgerCreated", "RunCreated", "RunCreated"]


def test_the_decision_sees_the_state_and_goes_in_whole(ledger: Ledger) -> None:
    say(ledger, created("a"))

    def copy_all(db: sqlite3.Connection) -> list[Event]:
        found = [f"{run}-copy" for (run,) in db.execute("SELECT run_id FROM runs")]
        return [*map(created, found), created("extra")]

    ledger.write(copy_all)
    assert runs(ledger) == ["a", "a-copy", "extra"]
    together = [s.record.envelope.correlationid for s in ledger.log.rows(3)]
    assert together[0] is not None
    assert together[0] == together[1]


def test_nothing_said_is_nothing_written(ledger: Ledger) -> None:
    assert ledger.write(lambda _: []) == []
    assert types(ledger) == ["LedgerCreated"]


def test_a_refused_command_is_raised_kept_and_leaves_no_gap(ledger: Ledger) -> None:
    say(ledger, created("a"))
    with pytest.raises(Refused, match="Run with id=a already exists") as caught:
        say(ledger, created("b"), created("a"))  # all or nothing
    assert caught.value.reason is Reason.EXISTS
    say(ledger, created("c"))
    assert runs(ledger) == ["a", "c"]
    assert types(ledger) == ["LedgerCreated", "RunCreated", "CommandRejected", "RunCreated"]
    record = ledger.log.at(3)
    assert record is not None
    rejected = decode("CommandRejected", record.record.head, record.record.content)
    assert rejected.model_dump(exclude={"content"}) == {
        "command": "RunCreated",
        "command_topic": "runs",
        "command_key": "a",
        "command_subject": "runs:/a",
        "code": "RESOURCE_ALREADY_EXISTS",
    }
    assert record.record.envelope.actor
    kept = ledger.query(
        lambda db: db.execute("SELECT type, subject, code, message FROM rejections").fetchall()
    )
    assert kept == [
        ("RunCreated", "runs:/a", "RESOURCE_ALREADY_EXISTS", "Run with id=a already exists")
    ]
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())


def test_a_refusal_by_the_caller_is_kept_where_it_names_an_event(ledger: Ledger) -> None:
    def refuse(event: Event | None) -> list[Event]:
        raise Refused(Reason.INVALID, "☃" * 5000, event)

    with pytest.raises(Refused):
        ledger.write(lambda _: refuse(None))
    with pytest.raises(Refused):
        ledger.write(lambda _: refuse(RunDeleted(run_id="r")))
    ((message,),) = ledger.query(lambda db: db.execute("SELECT message FROM rejections").fetchall())
    assert set(message) == {"☃"}
    assert len(message.encode()) <= 4096


def test_a_failing_decision_changes_nothing(ledger: Ledger) -> None:
    say(ledger, created("a"))
    with pytest.raises(ZeroDivisionError):
        ledger.write(lambda _: [created("b")] * (1 // 0))
    with pytest.raises(EventTooLarge):
        say(ledger, created("c"), tagged("a", "k", "x" * 600_000))
    say(ledger, created("d"))
    assert runs(ledger) == ["a", "d"]
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())


def test_each_read_is_one_view(ledger: Ledger) -> None:
    say(ledger, created("a"))
    with ledger.read() as db:
        say(ledger, created("b"))
        with ledger.read() as later:
            counts = [d.execute("SELECT count(*) FROM runs").fetchone()[0] for d in (db, later)]
    assert counts == [1, 2]


def test_each_read_sees_what_another_process_has_acknowledged(
    ledger: Ledger, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    process = start(write_marks, ledger.folder, notes, 150, 0)
    reads = 0
    while process.is_alive():
        acknowledged = notes.read_text("utf-8").splitlines() if notes.exists() else []
        seen = ledger.query(
            lambda db: {
                f"{run} {key}"
                for run, key in db.execute("SELECT run_id, key FROM tags JOIN runs USING (run_no)")
            }
        )
        assert set(acknowledged) <= seen
        reads += 1
    process.join()
    assert process.exitcode == 0
    assert reads > 5
    assert ledger.query(lambda db: db.execute("SELECT count(*) FROM tags").fetchone()) == (150,)


def test_two_processes_write_while_one_rebuilds(ledger: Ledger, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    processes = [start(write_marks, ledger.folder, notes, 60, every) for every in (0, 7)]
    while any(process.is_alive() for process in processes):
        acknowledged = len(notes.read_text("utf-8").splitlines()) if notes.exists() else 0
        with ledger.read() as db:
            assert db.execute("SELECT count(*) FROM tags").fetchone()[0] >= acknowledged
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert ledger.query(lambda db: db.execute("SELECT count(*) FROM tags").fetchone()) == (120,)


def test_threads_write_and_read_their_own(ledger: Ledger) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            say(ledger, created(name))
            for number in range(25):
                say(ledger, tagged(name, f"t{number}"))
                if number % 5 == 0:
                    with pytest.raises(Refused):
                        say(ledger, RunTagDeleted(run_id=name, tag="missing"))
                seen = ledger.query(
                    lambda db: db.execute(
                        "SELECT count(*) FROM tags JOIN runs USING (run_no) WHERE run_id = ?",
                        (name,),
                    ).fetchone()[0]
                )
                assert seen == number + 1
        except BaseException as error:  # noqa: BLE001  # told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert len(types(ledger)) == 1 + 8 * (1 + 25 + 5)
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())


def test_two_ledgers_of_one_folder_in_one_process(ledger: Ledger) -> None:
    other = Ledger(ledger.folder)
    for number in range(5):
        say((ledger, other)[number % 2], created(f"r{number}"))
        assert runs(ledger) == runs(other)
    other.close()
    say(ledger, created("r5"))
    assert runs(other) == runs(ledger)  # closed, and opened again by asking
    other.close()


def test_one_instance_for_a_folder_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_ledger("ledger:./store") is open_ledger(f"ledger://{tmp_path}/store")
    assert open_ledger("ledger:./store") is not open_ledger("ledger:./other")
    for wrong in ("ledger:", "ledger:./a?b", "ledger:./a#b", "ledger://host/a", "file:./a"):
        with pytest.raises(SettingsError):
            open_ledger(wrong)


def test_a_long_view_leaves_no_large_write_ahead_log(ledger: Ledger) -> None:
    say(ledger, created("r"))
    with ledger.read() as db:
        for number in range(60):
            say(ledger, tagged("r", f"t{number}", "x" * 400_000))
        path = Path(db.execute("PRAGMA database_list").fetchone()[2])
        wal = path.with_name(f"{path.name}-wal")
        assert wal.stat().st_size > 20 * 1024 * 1024  # nothing can go while somebody looks at it
    for number in range(3):
        say(ledger, tagged("r", f"after{number}"))
    assert wal.stat().st_size <= 16 * 1024 * 1024


@pytest.mark.parametrize("memory", ["", "lots", "1", "-1GB", "1GB; DROP"])
def test_a_limit_that_makes_no_sense_is_refused(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_ANALYTICS_MEMORY", memory)
    with pytest.raises(SettingsError, match="MLFLOW_LEDGER_ANALYTICS_MEMORY"):
        Settings.read()


def test_a_rebuild_tells_how_far_it_is_and_changes_nothing(ledger: Ledger) -> None:
    for number in range(20):
        say(ledger, created(f"r{number}"))
    with ledger.read() as db:
        before = state_digest(db)
    told: list[tuple[int, int]] = []
    position = ledger.rebuild(lambda done, of: told.append((done, of)))
    assert told == [(21, 21)]
    assert position.offset(EMBEDDED) == 22
    with ledger.read() as db:
        assert state_digest(db) == before
    fresh = State()
    fresh.apply(ledger.log.rows(1))
    assert fresh.digest() == before
    fresh.close()


def test_a_rebuild_where_there_is_no_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError):
        Ledger(tmp_path / "missing").rebuild()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match="nothing was logged there yet"):
        Ledger(tmp_path / "empty").rebuild()
    assert {p.name for p in (tmp_path / "empty").iterdir()} <= {"lock"}


def test_a_closed_folder_may_be_moved_or_copied(ledger: Ledger, tmp_path: Path) -> None:
    say(ledger, created("a"))
    ledger.close()
    ledger.folder.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copied")
    moved, copied = Ledger(tmp_path / "moved"), Ledger(tmp_path / "copied")
    say(moved, created("b"))
    say(copied, created("c"))
    assert runs(moved) == ["a", "b"]
    assert runs(copied) == ["a", "c"]
    own = {source.split("/")[0] for source in sources(moved)}
    other = {source.split("/")[0] for source in sources(copied)}
    assert len(own & other) == 1  # the one that wrote before the copy
    moved.close()
    copied.close()


def test_a_claimed_actor_is_marked_as_such(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store", Settings(actor="Zoë", _env_file=None))
    say(ledger, created("a"))
    record = ledger.log.at(2)
    assert record is not None
    envelope = record.record.envelope
    assert (envelope.actor, envelope.actorkind) == ("Zoë", "claimed")
    ledger.close()


@pytest.mark.parametrize("name", ["with space", "ünïcödé 模型", "percent%41?#", "it's"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    ledger = Ledger(tmp_path / name)
    say(ledger, created("a"))
    ledger.close()
    assert runs(ledger) == ["a"]
    ledger.rebuild()
    assert runs(ledger) == ["a"]
    ledger.close()
