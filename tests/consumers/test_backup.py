"""A backup is the ledger as it was, and what is restored from it is that ledger again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import EMBEDDED, Position, Settings, kafka_place
from mlflow_ledger.bus import KafkaSettings as Kafka
from mlflow_ledger.consumers import (
    Ledger,
    Restored,
    backup,
    backup_points,
    restore_to_folder,
    restore_to_topics,
    source_at,
    state_digest,
)
from mlflow_ledger.consumers import sealing as sealing_module
from mlflow_ledger.query.verify import verify
from mlflow_ledger.schemas import (
    ArtifactError,
    ExperimentCreated,
    LedgerError,
    LogForeign,
    LogUnavailable,
    SettingsError,
)
from tests.bus.programs import start
from tests.query.story import tell


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "store")
    tell(ledger)
    yield ledger
    ledger.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few events."""
    monkeypatch.setattr(sealing_module, "_MOST_EVENTS", 7)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def more(ledger: Ledger, number: int) -> None:
    name = f"more {number}"
    event = ExperimentCreated(
        experiment_id=str(10**17 + number), name=name, artifact_location=f"/{number}"
    )
    ledger.write(lambda _: [event])


def restored(
    target: Path, folder: Path, to: int | Position | None = None, *, allow_missing: bool = False
) -> Restored:
    source = source_at(target)
    return restore_to_folder(
        source, folder, source.cut(to), Settings(), allow_missing=allow_missing
    )


def digest(ledger: Ledger) -> str:
    return ledger.query(state_digest)


def test_what_is_restored_is_the_ledger(ledger: Ledger, target: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    done = backup(ledger, target, lambda *progress: told.append(progress))
    assert done.point.state_digest == digest(ledger)
    assert {what for what, _, _ in told} == {"sealing", "copying artifacts", "checking the events"}
    found = restored(target, tmp_path / "again")
    assert found.missing == []
    again = Ledger(tmp_path / "again")
    assert list(again.log.rows(1)) == list(ledger.log.rows(1))
    assert digest(again) == digest(ledger) == found.state_digest
    report = verify(again)
    assert report.findings == []
    assert report.artifacts == 3
    more(again, 1)  # it can be gone on with
    assert verify(again).holds
    again.close()


def test_only_what_is_new_is_copied(ledger: Ledger, target: Path) -> None:
    backup(ledger, target)
    again = backup(ledger, target)
    assert (again.new_events, again.new_segments, again.new_blobs, again.new_bytes) == (0, 0, 0, 0)
    more(ledger, 1)
    third = backup(ledger, target)
    assert (third.new_events, third.new_segments, third.new_blobs) == (1, 1, 0)
    assert len(backup_points(target, ledger.ledger_id)) == 2


def test_any_earlier_position_can_be_restored(ledger: Ledger, target: Path, tmp_path: Path) -> None:
    backup(ledger, target)
    rows = list(ledger.log.rows(1))
    for stored in (rows[4], rows[len(rows) // 2], rows[-1]):
        at = Position(ledger.ledger_id, {EMBEDDED: stored.offset})
        folder = tmp_path / f"at-{stored.offset}"
        found = restored(target, folder, at, allow_missing=True)
        assert found.events == stored.offset - 1
        assert found.position == str(at)
    middle = rows[len(rows) // 2]
    found = restored(target, tmp_path / "by-time", middle.append_ms, allow_missing=True)
    assert found.events == sum(stored.append_ms <= middle.append_ms for stored in rows)


def test_a_moment_that_makes_no_sense_is_told(ledger: Ledger, target: Path, tmp_path: Path) -> None:
    backup(ledger, target)
    end = ledger.log.last_offset()
    for to, words in (
        (Position("0" * 16, {EMBEDDED: 3}), "another ledger"),
        (Position(ledger.ledger_id, {EMBEDDED: end + 2}), "lies behind what was backed up"),
        (10**15, "newest backup"),
        (0, "nothing stood in the log"),
    ):
        with pytest.raises(SettingsError, match=words):
            restored(target, tmp_path / "again", to)
    assert not (tmp_path / "again/log.sqlite").exists()


def test_a_ledger_is_never_overwritten(ledger: Ledger, target: Path) -> None:
    backup(ledger, target)
    with pytest.raises(LogUnavailable, match="there is a ledger"):
        restored(target, ledger.folder)


def test_an_embedded_ledger_does_not_become_topics(ledger: Ledger, target: Path) -> None:
    backup(ledger, target)
    source, place = source_at(target), kafka_place("ledger+kafka://nowhere:1/t")
    with pytest.raises(LogForeign, match="restore it to ledger:"):
        restore_to_topics(source, place, source.cut(None), Settings(), Kafka())


def test_a_place_without_a_backup_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="0 ledgers"):
        source_at(tmp_path / "nothing")


def change_a_segment(target: Path) -> None:
    path = sorted(target.rglob("*.avro"))[1]
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)


def lose_a_segment(target: Path) -> None:
    sorted(target.rglob("*.avro"))[1].unlink()


def lose_a_blob(target: Path) -> None:
    next(path for path in (target / "sha256").rglob("*") if path.is_file()).unlink()


def change_a_blob(target: Path) -> None:
    path = next(path for path in (target / "sha256").rglob("*") if path.is_file())
    path.write_bytes(b"other")


def change_the_digest(target: Path) -> None:
    [path] = (target / "backups").rglob("*.json")
    path.write_text(path.read_text().replace('state_digest": "', 'state_digest": "00'))


@pytest.mark.parametrize(
    "harm", [change_a_segment, lose_a_segment, lose_a_blob, change_a_blob, change_the_digest]
)
def test_a_backup_that_does_not_hold_is_not_restored(
    harm: object, ledger: Ledger, target: Path, tmp_path: Path
) -> None:
    backup(ledger, target)
    assert callable(harm)
    harm(target)
    with pytest.raises(LedgerError):
        restored(target, tmp_path / "again")
    assert not (tmp_path / "again/log.sqlite").exists()


def test_what_the_ledger_has_lost_is_named(ledger: Ledger, target: Path) -> None:
    lose_a_blob(ledger.folder / "blobs")
    done = backup(ledger, target)
    assert len(done.missing) == 1
    assert (done.new_blobs, done.point.blobs) == (2, 2)


def test_what_is_missing_may_be_left_out(ledger: Ledger, target: Path, tmp_path: Path) -> None:
    backup(ledger, target)
    lose_a_blob(target)
    found = restored(target, tmp_path / "again", allow_missing=True)
    assert (len(found.missing), found.blobs) == (1, 2)
    backup(ledger, target)  # puts it back
    assert restored(target, tmp_path / "third").missing == []


def test_it_is_one_moment_while_others_write(ledger: Ledger, target: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 100
        while not stop.is_set():
            more(ledger, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        points = [backup(ledger, target).point for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert points[0].events < points[-1].events
    for point in points:
        folder = tmp_path / f"at-{point.events}"
        found = restored(target, folder, Position.parse(point.position))
        assert (found.events, found.state_digest) == (point.events, point.state_digest)


def back_up(folder: str, target: str) -> None:
    """For a process of its own."""
    sealing_module._MOST_EVENTS = 7
    backup(Ledger(Path(folder)), Path(target))


@pytest.mark.parametrize("step", ["archive.written:2", "backup.sealed", "backup.copied:2"])
def test_a_backup_that_is_killed_is_no_backup(
    step: str, ledger: Ledger, target: Path, tmp_path: Path
) -> None:
    ledger.catch_up()
    ledger.close()
    process = start(back_up, str(ledger.folder), str(target), failpoint=step)
    process.join(60)
    assert process.exitcode == -9
    assert backup_points(target, ledger.ledger_id) == []
    backup(ledger, target)
    assert restored(target, tmp_path / "again").state_digest == digest(ledger)


def restore(target: str, folder: str) -> None:
    """For a process of its own."""
    restored(Path(target), Path(folder))


@pytest.mark.parametrize("step", ["restore.written", "restore.checked", "restore.placed"])
def test_a_restore_that_is_killed_leaves_no_ledger_or_a_whole_one(
    step: str, ledger: Ledger, target: Path, tmp_path: Path
) -> None:
    backup(ledger, target)
    folder = tmp_path / "again"
    process = start(restore, str(target), str(folder), failpoint=step)
    process.join(60)
    assert process.exitcode == -9
    if (folder / "log.sqlite").exists():
        assert step == "restore.placed"
    else:
        restored(target, folder)
    again = Ledger(folder)
    assert digest(again) == digest(ledger)
    assert verify(again).holds
    again.close()


def test_a_copy_of_a_backup_is_a_backup(ledger: Ledger, target: Path, tmp_path: Path) -> None:
    backup(ledger, target)
    shutil.copytree(target, tmp_path / "copy")
    assert restored(tmp_path / "copy", tmp_path / "again").state_digest == digest(ledger)


@pytest.mark.parametrize("below", ["", "backup", "blobs/backup"])
@pytest.mark.parametrize("whose", ["its own", "another", "its own by a link"])
def test_no_backup_is_put_into_a_ledger(
    ledger: Ledger, tmp_path: Path, whose: str, below: str
) -> None:
    """It would be lost with the ledger, or lie among the files of another."""
    inside = ledger.folder
    if whose == "another":
        other = Ledger(tmp_path / "other")
        more(other, 1)
        other.close()
        inside = other.folder
    elif whose == "its own by a link":
        (tmp_path / "link").symlink_to(inside)
        inside = tmp_path / "link"
    before = sorted(path for path in inside.rglob("*") if path.suffix != ".lock")
    with pytest.raises(ArtifactError, match=r"lies within the ledger .*: name a place outside"):
        backup(ledger, inside / below)
    assert sorted(path for path in inside.rglob("*") if path.suffix != ".lock") == before


def test_no_backup_is_put_where_another_ledgers_are(
    ledger: Ledger, tmp_path: Path, target: Path
) -> None:
    other = Ledger(tmp_path / "other")
    more(other, 1)
    backup(other, target)
    other.close()
    before = sorted(target.rglob("*"))
    with pytest.raises(ArtifactError, match=rf"holds backups of another ledger .{other.ledger_id}"):
        backup(ledger, target)
    assert sorted(target.rglob("*")) == before
