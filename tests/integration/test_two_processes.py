"""Processes that write and processes that search, all at once, on one ledger."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import Analytics, Ledger, Snapshots

from .conftest import Once
from .programs import SCRIPTS, environment, wait_until

RUNS, ROUNDS = 8, 450
SNAPSHOT_EVENTS = "60"


class Writing:
    """A process that writes, and what it has acknowledged so far: which number, of which run."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.acknowledged: list[tuple[int, str]] = []
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "write.py"), name, str(RUNS), str(ROUNDS)],
            cwd=folder,
            env=environment(folder, MLFLOW_TRACKING_URI="ledger:./store"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            number, run_id = line.split()
            self.acknowledged.append((int(number), run_id))

    @property
    def done(self) -> bool:
        return self.process.poll() is not None and not self._thread.is_alive()

    def end(self) -> None:
        """Wait for its end, which must be a good one."""
        _, errors = self.process.communicate()
        self._thread.join()
        assert (self.process.returncode, errors) == (0, "")
        assert len(self.acknowledged) == ROUNDS


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    ledger = Ledger(folder)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture(scope="module")
def written(once: Once) -> Path:
    """A store that two processes wrote while this one and another were searching it."""
    return once("processes", write_and_search)[0] / "store"


def write_and_search(folder: Path) -> None:
    """What each search finds is checked as it goes; snapshots are published all the while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_LEDGER_SNAPSHOT_EVENTS", SNAPSHOT_EVENTS)
        assert Settings.read().snapshot_events == int(SNAPSHOT_EVENTS)
        client = MlflowClient(f"ledger://{folder / 'store'}")
        other = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "search.py")],
            cwd=folder,
            env=environment(
                folder,
                MLFLOW_TRACKING_URI="ledger:./store",
                MLFLOW_LEDGER_SNAPSHOT_EVENTS=SNAPSHOT_EVENTS,
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        writing = [Writing(folder, name) for name in ("anna", "bert")]
        try:
            searches = search_while(client, writing)
            for writer in writing:
                writer.end()
            found, errors = other.communicate("end\n")
            assert (other.returncode, errors) == (0, "")
        finally:
            for process in (other, *(writer.process for writer in writing)):
                process.kill()
                process.wait()
    assert searches >= 10
    assert int(found) >= 10


def search_while(client: MlflowClient, writing: list[Writing]) -> int:
    """Search as long as anybody writes; each search sees all that was acknowledged before it."""
    searches = 0
    wait_until(lambda: any(writer.acknowledged for writer in writing), 60, "somebody writes")
    while not all(writer.done for writer in writing):
        for writer in writing:
            if not writer.acknowledged:
                continue
            number, run_id = writer.acknowledged[-1]
            name = writer.name
            [run] = client.search_runs(
                ["0"], f"tags.`{name}-{number}` = 'there' AND tags.writer = '{name}'"
            )
            assert run.info.run_id == run_id
            assert int(run.data.tags["last"]) >= number
            earlier = number - number % 3
            assert client.search_runs(
                ["0"], f"metrics.number >= {earlier} AND params.p{earlier} = 'x'"
            )
            searches += 2
    return searches


def looked_at(folder: Path) -> str:
    """The digest of analytics, as a new process has it, which must be what the state says."""
    with opened(folder) as ledger:
        analytics = Analytics(ledger)
        ours, of_state = analytics.digest()
        analytics.close()
        assert ours == of_state
        return ours


def test_every_search_saw_every_acknowledged_write(written: Path) -> None:
    client = MlflowClient(f"ledger://{written}")
    for name in ("anna", "bert"):
        found = client.search_runs(["0"], f"tags.writer = '{name}'")
        assert len(found) == RUNS
        assert sum(len(run.data.params) for run in found) == ROUNDS / 3


def test_snapshots_were_published_all_the_while(written: Path) -> None:
    with opened(written) as ledger:
        kept = Snapshots(ledger).all()
        assert len(kept) == 2
        assert kept[-1].seq > ROUNDS
        (trimmed,) = ledger.query(
            lambda db: db.execute("SELECT value FROM meta WHERE key = 'changes_floor'").fetchone()
        )
        assert int(trimmed) >= int(SNAPSHOT_EVENTS)


def test_analytics_hold_what_the_state_says_however_they_are_built(
    written: Path, tmp_path: Path
) -> None:
    live = looked_at(written)
    copy = Path(shutil.copytree(written, tmp_path / "store"))
    assert looked_at(copy) == live  # from the copied snapshot

    shutil.rmtree(copy / "snapshots")
    assert looked_at(copy) == live  # from the state

    for path in [*copy.glob("state-*"), *copy.glob("CURRENT-*")]:
        path.unlink()
    assert looked_at(copy) == live  # from the log
    client = MlflowClient(f"ledger://{copy}")
    [run] = client.search_runs(["0"], f"tags.`anna-{ROUNDS - 1}` = 'there'")
    assert run.data.tags["last"] == str(ROUNDS - 1)
