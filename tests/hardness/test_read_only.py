"""A folder that may only be read: everything can be asked in place, and nothing is left there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.consumers import FOLD_VERSION, Analytics, Ledger
from mlflow_ledger.schemas import ModelVersionCreated, RegisteredModelCreated
from tests.bus.programs import created, say, tagged

from . import works
from .others import Other, Told, as_root

RUNS = [f"r{number}" for number in range(20)]
COUNT = "SELECT count(*) FROM runs_latest"

pytestmark = as_root


@pytest.fixture
def folder(open_path: Path) -> Path:
    """A closed ledger, of which others may only read."""
    ledger = Ledger(open_path / "store")
    for run in RUNS:
        say(ledger, created(run), tagged(run, "t", run))
    say(
        ledger,
        RegisteredModelCreated(model_uid="u", name="m"),
        ModelVersionCreated(model_uid="u", name="m", version_uid="v"),
    )
    analytics = Analytics(ledger)
    analytics.publish()
    analytics.close()
    ledger.blobs.put(b"blob")
    ledger.close()
    return ledger.folder


@pytest.fixture
def other(open_path: Path) -> Iterator[Other]:
    made = Other(open_path / "scratch")
    yield made
    made.end()


def test_a_closed_ledger_is_read_in_place(folder: Path, other: Other) -> None:
    before = works.listing(folder)
    assert other.does(works.runs, folder) == RUNS
    assert other.does(works.searched, folder) == 20
    assert other.does(works.sql, folder, COUNT) == [(20,)]
    uri = f"ledger://{folder}"
    for command in ("log", "audit", "verify", "stats"):
        status, text = other.does(works.command, command, uri)
        assert status == 0, text
    status, text = other.does(works.command, "lineage", uri, "models:/m/1")
    assert status == 0, text
    assert works.listing(folder) == before


def test_the_past_is_folded_elsewhere(folder: Path, other: Other) -> None:
    log = Ledger(folder).log
    moment = f"v1~{log.ledger_id}~{1 + 1 + 2 * 5}"  # the beginning, then two events a run
    log.close()
    before = works.listing(folder)
    assert other.does(works.runs_as_of, folder, moment) == (RUNS[:5], 5)
    assert other.does(works.runs_as_of, folder, moment) == (RUNS[:5], 5)
    assert other.does(works.overwritten, folder) == 20
    assert works.listing(folder) == before


@pytest.mark.parametrize("work", [works.write, works.rebuild, works.publish, works.put])
def test_a_write_names_the_way_out(folder: Path, other: Other, work: object) -> None:
    before = works.listing(folder)
    arguments = {works.write: ("x",), works.put: (b"x",)}.get(work, ())  # type: ignore[call-overload]
    assert other.does(works.runs, folder) == RUNS
    with pytest.raises(Told) as told:
        other.does(work, folder, *arguments)
    assert told.value.kind in ("LogUnavailable", "ArtifactError")
    assert str(folder) in told.value.text
    if work is not works.put:
        assert "read-only" in told.value.text
        assert "copy the folder" in told.value.text
    assert works.listing(folder) == before


def test_a_reader_follows_a_writer(folder: Path, other: Other) -> None:
    """Who may write opens, writes, check-points and closes, over and over."""
    ledger = Ledger(folder)
    expected = list(RUNS)
    assert other.does(works.runs, folder) == expected
    for round_ in range(6):
        for number in range(3):
            say(ledger, created(f"n{round_}-{number}"))
            expected.append(f"n{round_}-{number}")
            assert other.does(works.runs, folder) == expected
        assert other.does(works.searched, folder) == len(expected)
        if round_ % 2:
            ledger.close()
        if round_ == 4:
            ledger.rebuild()
    ledger.close()


def test_reading_while_somebody_writes_all_the_time(folder: Path, other: Other) -> None:
    """Each answer holds all that was acknowledged before it was asked for, once and whole."""
    ledger = Ledger(folder)
    written = len(RUNS)
    for round_ in range(30):
        other.start(works.runs, folder)
        for number in range(10):
            say(ledger, created(f"n{round_}-{number}"))
        if round_ % 3 == 0:
            ledger.close()
        found = other.result()
        assert found[:20] == RUNS
        assert written <= len(found) == len(set(found)) <= written + 10
        written += 10
    ledger.close()


def test_a_writer_that_was_killed_left_files_beside(folder: Path, open_path: Path) -> None:
    writer = Other(open_path / "theirs", uid=0, gid=0)
    writer.does(works.write, folder, "last")
    writer.kill()
    assert (folder / "log.sqlite-wal").stat().st_size > 0
    reader = Other(open_path / "scratch")
    before = works.listing(folder)
    assert reader.does(works.runs, folder) == [*RUNS, "last"]
    assert reader.does(works.searched, folder) == 21
    assert works.listing(folder) == before
    for path in folder.glob("*-shm"):  # as a copy may look that left them out
        path.unlink()
    assert reader.does(works.runs, folder) == [*RUNS, "last"]
    reader.end()
    again = Other(open_path / "again")
    assert again.does(works.runs, folder) == [*RUNS, "last"]
    again.end()
    assert not list(folder.glob("*-shm"))


STATES = {
    "missing": lambda folder: [p.unlink() for p in folder.glob("state-*")],
    "of another version": lambda folder: (folder / f"CURRENT-{FOLD_VERSION}").rename(
        folder / "CURRENT-99"
    ),
    "garbled": lambda folder: [p.write_bytes(os.urandom(50_000)) for p in folder.glob("state-*")],
}


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_cannot_be_used_is_folded_apart(
    folder: Path, other: Other, state: str
) -> None:
    STATES[state](folder)
    before = works.listing(folder)
    assert other.does(works.runs, folder) == RUNS
    assert other.does(works.searched, folder) == 20
    assert works.listing(folder) == before
    ledger = Ledger(folder)
    say(ledger, created("more"))
    assert other.does(works.runs, folder) == [*RUNS, "more"]
    ledger.close()


def test_a_state_behind_the_log_is_caught_up_apart(folder: Path, other: Other) -> None:
    """As a writer leaves it that is killed between the two commits."""
    state = folder / (folder / f"CURRENT-{FOLD_VERSION}").read_text().strip()
    shutil.copy(state, folder / "old")
    ledger = Ledger(folder)
    say(ledger, created("more"))
    ledger.close()
    (folder / "old").replace(state)
    assert other.does(works.runs, folder) == [*RUNS, "more"]


MLFLOW = """
import sys
import mlflow
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1], sys.argv[1])
mlflow.set_tracking_uri(sys.argv[1])
assert len(client.search_runs(["0"])) == 20
assert client.get_run("r1").data.tags["t"] == "r1"
assert mlflow.search_runs(["0"], "tags.t = 'r3'").run_id.tolist() == ["r3"]
assert [m.name for m in client.search_registered_models()] == ["m"]
try:
    client.set_tag("r1", "a", "b")
except mlflow.MlflowException as error:
    assert "read-only" in str(error), error
else:
    raise AssertionError("written")
"""


@pytest.mark.brokers
def test_mlflow_reads_a_read_only_mount(folder: Path, open_path: Path) -> None:
    """In a mount name space of its own, so that nothing else sees it; a writer stays outside."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("NOT TESTED: this machine permits no mounts")
    script = open_path / "script.py"
    script.write_text(MLFLOW)
    mounted = open_path / "mounted"
    mounted.mkdir()
    ledger = Ledger(folder)
    shell = (
        f"mount --bind {folder} {mounted} && mount -o remount,bind,ro {mounted} && "
        f"{sys.executable} {script} ledger://{mounted} && "
        f"{Path(sys.executable).parent}/mlflow-ledger verify ledger://{mounted}"
    )
    for opened in (False, True):
        if opened:
            say(ledger, tagged("r2", "live", "x"))
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", shell],
            capture_output=True, text=True, check=False,
            env={**os.environ, "TMPDIR": str(open_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    ledger.close()
