"""The folder's size is explained to within 5 % of what du says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_ledger.consumers import Analytics, Ledger
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.stats import Stats, stats
from tests.bus.programs import created, run, say, tagged


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "store")
    yield made
    made.close()


def du(folder: Path) -> int:
    done = subprocess.run(["du", "-s", "-k", str(folder)], capture_output=True, check=True)
    return int(done.stdout.split()[0]) * 1024


def close_to(found: int, expected: int) -> bool:
    return abs(found - expected) <= expected * 0.05


def part(found: Stats, name: str) -> int:
    return next(part.size_bytes for part in found.parts if part.name == name)


def test_a_closed_ledger_with_one_run(tmp_path: Path) -> None:
    run("write_one", tmp_path / "store")
    expected = du(tmp_path / "store")
    answer = CliRunner().invoke(program, ["stats", f"ledger:{tmp_path}/store", "--json"])
    assert close_to(json.loads(answer.stdout)["size_bytes"], expected)


def test_an_empty_ledger(ledger: Ledger) -> None:
    ledger.catch_up()
    expected = du(ledger.folder)  # with files that SQLite keeps beside those that are open
    assert close_to(stats(Ledger(ledger.folder)).size_bytes, expected)


def test_a_ledger_with_snapshots_blobs_and_files_being_written(ledger: Ledger) -> None:
    say(ledger, created("r"), *(tagged("r", f"t{n}", "x" * 4000) for n in range(400)))
    analytics = Analytics(ledger)
    analytics.publish()
    for number in range(60):  # small ones, whose blocks and folders weigh more than their bytes
        ledger.blobs.put(b"%d" % number)
    ledger.blobs.put(bytes(3_000_000))
    (ledger.folder / "sparse").write_bytes(b"")
    with (ledger.folder / "sparse").open("r+b") as file:
        file.truncate(50_000_000)  # apparent bytes only
    found, expected = stats(Ledger(ledger.folder)), du(ledger.folder)
    analytics.close()
    assert close_to(found.size_bytes, expected)
    for name in ("snapshots", "blobs"):
        assert close_to(part(found, name), du(ledger.folder / name))
    assert ledger.log.path.with_name("log.sqlite-wal").stat().st_size > 0


def test_a_file_of_two_names_takes_its_room_once(ledger: Ledger) -> None:
    ledger.blobs.put(bytes(2_000_000))
    say(ledger, created("r"))
    blob = next(path for path in (ledger.folder / "blobs").rglob("*") if path.is_file())
    (ledger.folder / "again").hardlink_to(blob)
    assert close_to(stats(ledger).size_bytes, du(ledger.folder))


def test_a_ledger_that_was_left_in_mid_flight(ledger: Ledger, tmp_path: Path) -> None:
    say(ledger, created("r"), *(tagged("r", f"t{n}", "x" * 4000) for n in range(1000)))
    shutil.copytree(ledger.folder, tmp_path / "left")
    assert (tmp_path / "left" / "log.sqlite-wal").stat().st_size > 1_000_000
    found = stats(Ledger(tmp_path / "left"))
    assert close_to(found.size_bytes, du(tmp_path / "left"))
