"""The archive holds the log, piece by piece; whatever is changed in it is found."""

from __future__ import annotations

import json
from pathlib import Path

import fastavro
import pytest

from mlflow_ledger.bus import EMBEDDED
from mlflow_ledger.consumers import (
    Archive,
    Ledger,
    Sealing,
    archive_of,
    archived_ledgers,
    check_archive,
    seal,
)
from mlflow_ledger.consumers import sealing as sealing_module
from mlflow_ledger.schemas import ArtifactError, ExperimentCreated, LedgerError
from tests.bus.programs import start
from tests.query.story import tell


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "store")
    tell(ledger)
    return ledger


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few events."""
    monkeypatch.setattr(sealing_module, "_MOST_EVENTS", 7)


def more(ledger: Ledger, number: int) -> None:
    name = f"more {number}"
    event = ExperimentCreated(
        experiment_id=str(10**17 + number), name=name, artifact_location=f"/{number}"
    )
    ledger.write(lambda _: [event])


def files(archive: Archive, pattern: str) -> list[Path]:
    return sorted(Path(str(archive)).rglob(pattern))


def archived(archive: Archive) -> list[object]:
    return [stored for _, records in archive.records(EMBEDDED) for stored in records]


def test_the_archive_is_the_log(ledger: Ledger) -> None:
    archive = archive_of(ledger)
    sealed = seal(ledger, archive)
    assert sealed.position == ledger.log.end()
    assert len(sealed.segments) > 3
    assert archived(archive) == list(ledger.log.rows(1))
    assert [a.ledger_id for a in archived_ledgers(ledger.blobs.place)] == [ledger.ledger_id]
    more(ledger, 1)
    again = seal(ledger, archive)
    assert again.events == 1
    assert again.segments[0].first == sealed.segments[-1].following
    assert archived(archive) == list(ledger.log.rows(1))
    assert seal(ledger, archive).segments == []


def test_a_segment_is_read_without_anything_else(ledger: Ledger) -> None:
    """With Avro's own reader, and the schemas that are in the file."""
    archive = archive_of(ledger)
    seal(ledger, archive)
    path = files(archive, "*.avro")[1]
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        schemas = json.loads(reader.metadata["mlflow_ledger.schemas"])
        for row in reader:
            assert isinstance(row, dict)
            schema = schemas[row["head"][2:10].hex()]
            assert schema["name"] == row["type"]


def test_a_chain_does_not_depend_on_how_it_is_cut(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Archive(tmp_path / name, ledger.ledger_id) for name in ("one", "other"))
    seal(ledger, one)
    monkeypatch.setattr(sealing_module, "_MOST_EVENTS", 11)
    seal(ledger, other)
    assert one.segments(EMBEDDED)[-1].chain == other.segments(EMBEDDED)[-1].chain


def change_a_byte(archive: Archive) -> None:
    path = files(archive, "*.avro")[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_a_file(archive: Archive) -> None:
    files(archive, "*.avro")[1].unlink()


def lose_a_manifest(archive: Archive) -> None:
    files(archive, "0*.json")[1].unlink()


def change_a_manifest(archive: Archive) -> None:
    path = files(archive, "0*.json")[1]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chain": "00" * 32}))


def garble_a_manifest(archive: Archive) -> None:
    files(archive, "0*.json")[1].write_text("{")


def swap_two(archive: Archive) -> None:
    one, other = files(archive, "*.avro")[1:3]
    one_data, other_data = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_data)
    other.write_bytes(one_data)


@pytest.mark.parametrize(
    "harm",
    [change_a_byte, lose_a_file, lose_a_manifest, change_a_manifest, garble_a_manifest, swap_two],
)
def test_a_changed_segment_is_found(harm: object, ledger: Ledger) -> None:
    archive = archive_of(ledger)
    seal(ledger, archive)
    assert callable(harm)
    harm(archive)
    with pytest.raises(ArtifactError, match=r"avro|manifest|segment"):
        archived(archive)


def test_all_of_it_can_be_compared_with_the_log(ledger: Ledger) -> None:
    archive = archive_of(ledger)
    seal(ledger, archive)
    assert check_archive(ledger, archive) == ledger.log.last_offset()
    db = ledger.log.connection()
    db.execute("UPDATE events SET subject = 'other' WHERE seq = 4")
    with pytest.raises(ArtifactError, match="holds at 4 another event"):
        check_archive(ledger, archive)


def test_a_log_of_another_history_is_not_sealed(ledger: Ledger, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive", ledger.ledger_id)
    seal(ledger, archive)
    db = ledger.log.connection()
    db.execute("UPDATE events SET subject = 'other' WHERE seq = (SELECT max(seq) FROM events)")
    with pytest.raises(ArtifactError, match="another history"):
        seal(ledger, archive)


def kill_sealing(folder: str) -> None:
    """For a process of its own."""
    sealing_module._MOST_EVENTS = 7
    ledger = Ledger(Path(folder))
    seal(ledger, archive_of(ledger))


@pytest.mark.parametrize("number", range(1, 4))
def test_a_killed_sealer_leaves_what_another_goes_on_with(number: int, ledger: Ledger) -> None:
    ledger.close()
    process = start(kill_sealing, str(ledger.folder), failpoint=f"archive.written:{number}")
    process.join(60)
    assert process.exitcode == -9
    archive = archive_of(ledger)
    seal(ledger, archive)
    assert archived(archive) == list(ledger.log.rows(1))


def test_the_duty_waits_for_full_segments(ledger: Ledger) -> None:
    now = [0.0]
    duty = Sealing(ledger, lambda: now[0])
    duty.round(0)
    assert duty.sealed == ledger.log.last_offset() // 7 * 7
    for number in range(8):
        more(ledger, number)
    duty.round(0)
    before = duty.sealed
    now[0] = 31.0
    duty.round(0)
    assert before < duty.sealed <= ledger.log.last_offset()


def test_a_place_that_cannot_be_written_is_told(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LedgerError, match="cannot write"):
        seal(ledger, Archive(tmp_path / "file", ledger.ledger_id))
