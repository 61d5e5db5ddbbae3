"""A disk that is full in earnest: a small file system of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import Spool
from mlflow_ledger.consumers import Analytics, Ledger, collect, plan_collection, state_digest
from mlflow_ledger.schemas import ArtifactError, LogError, LogUnavailable
from tests.bus.programs import created, say, tagged
from tests.bus.records import many, outgoing
from tests.consumers.folding import State

from .disks import fill, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Only root may mount; tests/consumers limits files for all others."""
    with small_disk(tmp_path / "disk", 8) as place:
        yield place


def check_whole(ledger: Ledger) -> None:
    """The state is what a fresh replay gives, and each source's ids have no gap."""
    fresh = State()
    fresh.apply(ledger.log.rows(1))
    assert ledger.query(state_digest) == fresh.digest()
    fresh.close()


def tags(ledger: Ledger) -> set[str]:
    found: set[str] = ledger.query(lambda db: {k for (k,) in db.execute("SELECT key FROM tags")})
    return found


@pytest.mark.parametrize("spare_bytes", [0, 40_000, 200_000])
@pytest.mark.parametrize("reopened", [True, False])
def test_while_logging(disk: Path, spare_bytes: int, reopened: bool) -> None:
    ledger = Ledger(disk / "store")
    say(ledger, created("r"))
    filler = fill(disk, spare_bytes)
    acknowledged: set[str] = set()
    failures: list[str] = []
    for number in range(60):
        try:
            say(ledger, tagged("r", f"t{number}", "x" * 5000))
            acknowledged.add(f"t{number}")
        except LogUnavailable as error:
            failures.append(str(error))
        if len(failures) == 5:
            break
    assert failures
    for words in failures:
        assert "full" in words or "disk I/O" in words
        assert "Nothing was acknowledged" in words
    filler.unlink()
    if reopened:
        ledger.close()
        ledger = Ledger(disk / "store")
    assert acknowledged <= tags(ledger)
    assert len(tags(ledger)) <= len(acknowledged) + len(failures)
    say(ledger, tagged("r", "after"))
    assert "after" in tags(ledger)
    check_whole(ledger)
    assert len(ledger.files.all()) == 1
    ledger.close()


@pytest.mark.parametrize("spare_bytes", [0, 40_000, 200_000])
def test_while_spooling(disk: Path, spare_bytes: int) -> None:
    spool = Spool(disk / "spool.sqlite")
    spool.append(many(3))
    filler = fill(disk, spare_bytes)
    kept, failures = 3, 0
    while failures < 3:
        said = outgoing(kept + 1, event=tagged("r", "t", "x" * 5000))
        try:
            assert spool.append([said, *many(1, first=kept + 2)]) == kept + 2
        except LogUnavailable as error:
            assert "full" in str(error) or "disk I/O" in str(error)  # noqa: PT017  # not always raised
            assert "Nothing was acknowledged" in str(error)  # noqa: PT017
            failures += 1
        else:
            kept += 2
    filler.unlink()
    ids = [waiting.outgoing.record.envelope.id for waiting in spool.waiting()]
    assert ids == list(range(1, kept + 1))
    assert spool.append(many(1, first=kept + 1)) == kept + 1
    spool.close()


def test_a_first_write_on_a_full_disk(disk: Path) -> None:
    filler = fill(disk)
    ledger = Ledger(disk / "store")
    with pytest.raises(LogError):
        say(ledger, created("r"))
    filler.unlink()
    say(ledger, created("r"))
    check_whole(ledger)
    ledger.close()


def test_while_publishing_a_snapshot(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(disk / "store")
    say(ledger, created("r"), *(tagged("r", f"t{n}", "x" * 500) for n in range(50)))
    analytics = Analytics(ledger)
    before = analytics.digest()
    object.__setattr__(ledger.settings, "snapshot_events", 10)
    filler = fill(disk, 100_000)
    assert analytics.digest() == before  # a search has its answer all the same
    assert "cannot publish a snapshot" in caplog.text
    with pytest.raises(LogUnavailable, match="make room"):
        analytics.publish()
    assert [p for p in (ledger.folder / "snapshots").iterdir() if p.is_dir()] == []
    filler.unlink()
    say(ledger, tagged("r", "after"))
    snapshot = analytics.publish()
    assert snapshot is not None
    analytics.close()
    again = Analytics(ledger)
    ours, states = again.digest()
    assert ours == states != before[0]
    again.close()
    check_whole(ledger)
    ledger.close()


def test_while_the_private_copy_is_made(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has room, the temporary folder has none."""
    ledger = Ledger(tmp_path / "store")
    say(ledger, created("r"), *(tagged("r", f"t{n}", "x" * 500) for n in range(50)))
    first = Analytics(ledger)
    before = first.digest()
    assert first.publish() is not None
    first.close()
    (disk / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(disk / "tmp"))
    filler = fill(disk)
    analytics = Analytics(ledger)
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="set TMPDIR"):
            analytics.digest()
    assert len(list((ledger.folder / "snapshots").glob("*/manifest.json"))) == 1
    filler.unlink()
    assert analytics.digest() == before
    analytics.close()
    ledger.close()


@pytest.mark.parametrize("size_bytes", [10, 3_000_000])
def test_while_an_artifact_is_written(disk: Path, tmp_path: Path, size_bytes: int) -> None:
    ledger = Ledger(disk / "store")
    say(ledger, created("r"))
    kept, _ = ledger.blobs.put(b"kept")
    local = tmp_path / "local"
    local.write_bytes(os.urandom(size_bytes))
    filler = fill(disk)
    with pytest.raises(ArtifactError, match="Nothing was logged"):
        ledger.blobs.put_file(local)
    assert ledger.blobs.get(kept) == b"kept"
    assert [digest for digest, _ in ledger.blobs.all()] == [kept]
    filler.unlink()
    digest, _ = ledger.blobs.put_file(local)
    assert ledger.blobs.get(digest) == local.read_bytes()
    files = [p for p in (ledger.folder / "blobs").rglob("*") if p.is_file()]
    assert len(files) == 2  # nothing is left of the attempt
    ledger.close()


def test_an_artifact_that_goes_in_parts_and_is_larger_than_the_disk(
    disk: Path, tmp_path: Path
) -> None:
    ledger = Ledger(disk / "store")
    local = tmp_path / "local"
    local.write_bytes(os.urandom(9_000_000))
    with pytest.raises(ArtifactError, match="Nothing was logged"):
        ledger.blobs.put_file(local)
    assert [p for p in (ledger.folder / "blobs").rglob("*") if p.is_file()] == []
    ledger.close()


def test_collecting_makes_room_on_a_full_disk(disk: Path) -> None:
    ledger = Ledger(disk / "store")
    say(ledger, created("r"))
    ledger.blobs.put(os.urandom(2_000_000))
    collect(ledger, plan_collection(ledger, 0, 1))
    fill(disk, 100_000)
    done = collect(ledger, plan_collection(ledger, 2**62, 0))
    assert len(done.remove) == 1
    assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 1_900_000
    ledger.close()
