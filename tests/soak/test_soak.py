"""Short forms of the long runs, and that they notice what does not hold."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger

from .day import Folder, Outcome, findings_of_a_day
from .evidence import findings
from .kills import begin
from .log import BATCH_PAIRS, BATCH_POINTS, Logger
from .memory import Sample, disk_bytes, open_files, sample
from .notes import Call, Notes, calls, recent
from .process import Life
from .watch import Took, Watch
from .work import TENTHS

ROOT = Path(__file__).parents[2]
KINDS = (
    "log_metric", "log_param", "set_tag", "log_batch", "create_model_version", "log_artifact",
    "create_run", "log_metric",
)  # fmt: skip


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.soak", *arguments],
        cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_processes_killed_at_any_moment() -> None:
    done = soak("kills", "--seconds=5", "--kills=16", "--longest=2", "--forgive-starving")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all holds" in done.stdout


@pytest.mark.brokers
def test_a_short_day() -> None:
    """Too short to say anything of memory; the rest of what a day promises holds."""
    done = soak("day", "--runs=200", "--points=10000", "--growth=100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all holds" in done.stdout


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Call]]:
    """A ledger to which one process has made a call of each kind, and its notes."""
    folder = tmp_path_factory.mktemp("logged")
    uri = f"ledger:{folder}/store"
    begin(uri)
    logger = Logger(Life(0, 0, uri, folder, 0, 1))
    logger.open()
    for kind in KINDS:
        logger.make(kind)
    return folder, calls([folder / "notes-0.jsonl"])


@pytest.fixture
def spoilt(logged: tuple[Path, dict[int, Call]], tmp_path: Path) -> tuple[Path, dict[int, Call]]:
    """A copy to be spoilt: another folder, and notes that may say something else."""
    folder, begun = logged
    ledger = Ledger(folder / "store")
    ledger.close()
    subprocess.run(["cp", "-r", folder / "store", tmp_path / "store"], check=True)
    return tmp_path, dict(begun)


def test_nothing_is_found_where_all_is_well(spoilt: tuple[Path, dict[int, Call]]) -> None:
    folder, begun = spoilt
    assert len(begun) == len(KINDS) + 1
    assert all(call.acknowledged for call in begun.values())
    in_flight = Call(77_700, "log_metric", "r")
    assert list(findings(folder, begun | {77_700: in_flight})) == []


def test_an_acknowledged_call_that_is_missing_is_found(
    spoilt: tuple[Path, dict[int, Call]],
) -> None:
    folder, begun = spoilt
    lost = Call(77_700, "log_metric", next(iter(begun.values())).answer or "", "", Took(0, 0, 0))
    found = list(findings(folder, begun | {lost.mark: lost}))
    assert len(found) == 1
    assert "0 of its 1 values stand in the log" in found[0]


def test_a_call_that_nobody_began_and_a_torn_one_are_found(
    spoilt: tuple[Path, dict[int, Call]],
) -> None:
    folder, begun = spoilt
    stranger = begun.pop(next(m for m, call in begun.items() if call.kind == "set_tag"))
    torn = next(m for m, call in begun.items() if call.kind == "log_param")
    begun[torn] = begun[torn]._replace(kind="log_batch", answer=None, took=None)
    found = "\n".join(findings(folder, begun))
    assert f"mark {stranger.mark} stands in the log" in found
    assert f"1 of its {BATCH_POINTS + 2 * BATCH_PAIRS} values stand in the log" in found


def test_a_state_that_is_not_the_fold_is_found(spoilt: tuple[Path, dict[int, Call]]) -> None:
    folder, begun = spoilt
    [state] = (folder / "store").glob("state-*.sqlite")
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("DELETE FROM params")
    found = "\n".join(findings(folder, begun))
    assert "has other params than were logged" in found
    assert "that of a fresh fold" in found
    assert "mlflow-ledger verify ends with 1" in found


def test_notes_outlive_their_writer_and_half_a_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    notes = Notes(path)
    first, second = Call(100, "log_metric", "r"), Call(200, "set_tag", "r")
    notes.begin(first)
    notes.acknowledge(first, "", Took(1, 0.5, 0.25))
    notes.begin(second)
    with path.open("a") as file:
        file.write('["done", 200')
    assert calls([path]) == {100: first._replace(answer="", took=Took(1, 0.5, 0.25)), 200: second}
    assert [call.mark for call in recent([path])] == [100]
    assert recent([path])[0].took is not None
    assert recent([path])[0].took.rest == 0.25  # type: ignore[union-attr]  # just looked at


def test_time_is_told_apart() -> None:
    with Watch() as watch:
        total = sum(range(300_000))
    assert total
    assert 0 < watch.took.cpu <= watch.took.wall + 0.001  # two clocks


def day(**changed: object) -> list[str]:
    """What is found in a day that went well but for what is changed."""
    flat = {tenth: Sample(100, 80, 20) for tenth in range(1, TENTHS + 1)}
    folder = Folder(1, 1000, 500, 100, 2, 10, 20, 2)
    outcome = Outcome(1, {"logger": flat}, {}, [folder] * TENTHS, [(1000, 1000)])
    return findings_of_a_day(replace(outcome, **changed), 1.1)  # type: ignore[arg-type]  # by name


def test_a_day_that_went_well_has_no_findings() -> None:
    assert day() == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"typical": {"x": {2: Sample(100, 80, 20), TENTHS: Sample(111, 80, 20)}}}, "x: rss grew"),
        ({"typical": {"x": {2: Sample(100, 80, 20), TENTHS: Sample(100, 80, 23)}}}, "files grew"),
        ({"explained": [(940, 1000)]}, "stats explains 940"),
        ({"folders": [Folder(1, 9, 5, 99_000_000, 2, 1, 2, 2)]}, "write-ahead log"),
        ({"folders": [Folder(1, 9, 5, 1, 3, 1, 2, 2)]}, "3 snapshots"),
        ({"folders": [Folder(1, 9, 5, 1, 2, 3, 2, 2)]}, "3 changes"),
    ],
)  # fmt: skip
def test_what_a_day_must_not_do_is_found(changed: dict[str, object], words: str) -> None:
    [found] = day(**changed)
    assert words in found


def test_a_process_is_looked_at_as_the_system_sees_it(tmp_path: Path) -> None:
    before = sample(os.getpid())
    assert before.own <= before.rss
    with (tmp_path / "held").open("w") as held:
        assert open_files(os.getpid())["held"] == 1
        assert held.writable()
        (tmp_path / "some").write_text("x" * 100_000)
        assert disk_bytes(tmp_path) >= 100_000
    assert json.loads(json.dumps(before)) == list(before)
