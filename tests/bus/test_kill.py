"""kill -9 at every step: what was acknowledged is there exactly once, and others carry on."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from mlflow_ledger.bus import FAILPOINTS
from mlflow_ledger.consumers import Ledger, state_digest
from mlflow_ledger.schemas import RunDataLogged, decode
from tests.consumers.folding import State

from .programs import created, finished, say, sources, start, tagged, write_marks

ELSEWHERE = (
    "snapshot.",
    "collect.",
    "spool.",
    "forward.",
    "carry.",
    "deliver.",
    "bundle.",
    "cold.",
    "mirror.",
    "archive.",
    "past.",
    "backup.",
    "restore.",
    "redact.",
    "erase.",
)
STEPS = [step for step in FAILPOINTS if not step.startswith(ELSEWHERE)]
"""The steps of append, fold, catch-up and rebuild; other tests kill at the others."""


def marks(ledger: Ledger) -> Counter[str]:
    """How often each mark stands in the log."""
    found: Counter[str] = Counter()
    for stored in ledger.log.rows(1):
        record = stored.record
        if record.envelope.type == "RunDataLogged":
            event = decode(record.envelope.type, record.head, record.content)
            assert isinstance(event, RunDataLogged)
            assert event.content is not None
            found.update(f"{event.run_id} {tag.key}" for tag in event.content.tags)
    return found


def state_marks(ledger: Ledger) -> set[str]:
    """The marks that the state holds."""
    return ledger.query(
        lambda db: {
            f"{run} {key}"
            for run, key in db.execute("SELECT run_id, key FROM tags JOIN runs USING (run_no)")
        }
    )


def replayed(ledger: Ledger) -> str:
    """The digest of a fresh fold of the whole log."""
    fresh = State()
    fresh.apply(ledger.log.rows(1))
    digest = fresh.digest()
    fresh.close()
    return digest


def notes(path: Path) -> set[str]:
    """The marks that were acknowledged."""
    return set(path.read_text("utf-8").splitlines()) if path.exists() else set()


def check(ledger: Ledger, acknowledged: set[str], kills: int) -> None:
    """Two events went with each write: both or none, and once; state and log agree."""
    said = marks(ledger)
    assert acknowledged <= said.keys()
    assert set(said.values()) == {2}
    assert len(said.keys() - acknowledged) <= kills  # in flight when their writer was killed
    assert state_marks(ledger) == set(said)
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())
    with ledger.read() as db:
        assert state_digest(db) == replayed(ledger)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_a_step_loses_and_doubles_nothing(
    step: str, count: int, tmp_path: Path
) -> None:
    living = Ledger(tmp_path / "store")
    if count > 1:  # somebody else has the ledger open and will have to notice
        say(living, created("living"))
    arguments = (tmp_path / "store", tmp_path / "notes", 40, 4)
    process = start(write_marks, *arguments, failpoint=f"{step}:{count}")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if count == 1:
        say(living, created("living"))
    say(living, tagged("living", "after"), tagged("living", "after"))
    check(living, notes(tmp_path / "notes") | {"living after"}, kills=1)
    living.close()


def test_the_environment_names_the_step(tmp_path: Path) -> None:
    done = finished("write_one", tmp_path / "store", MLFLOW_LEDGER_FAILPOINT="append.committed:2")
    assert done.returncode == -signal.SIGKILL, done.stderr
    ledger = Ledger(tmp_path / "store")
    assert ledger.log.last_offset() == 2  # the beginning, and what was not acknowledged
    assert ledger.query(lambda db: db.execute("SELECT run_id FROM runs").fetchall()) == [("r",)]
    ledger.close()


def test_processes_killed_in_turn_leave_one_ledger(tmp_path: Path) -> None:
    arguments = (tmp_path / "store", tmp_path / "notes", 40, 4)
    for number, step in enumerate(STEPS, start=1):
        process = start(write_marks, *arguments, failpoint=f"{step}:{1 + number % 3}")
        process.join()
        assert process.exitcode == -signal.SIGKILL
    last = start(write_marks, tmp_path / "store", tmp_path / "notes", 5, 5)
    last.join()
    assert last.exitcode == 0
    ledger = Ledger(tmp_path / "store")
    check(ledger, notes(tmp_path / "notes"), kills=len(STEPS))
    assert len(ledger.files.all()) == 1  # whoever writes next removes what the dead left half-built
    ledger.close()


def test_writers_killed_at_random_moments(tmp_path: Path) -> None:
    """Not at steps that we chose: of three writers at a time, one is killed after some marks."""
    written = tmp_path / "notes"
    for number in range(6):
        victim = start(write_marks, tmp_path / "store", tmp_path / "victim", 10**6, 0)
        others = [start(write_marks, tmp_path / "store", written, 30, 9) for _ in range(2)]
        wanted = len(notes(tmp_path / "victim")) + 1 + 7 * number
        while len(notes(tmp_path / "victim")) < wanted:
            os.sched_yield()
        victim.kill()
        for process in (victim, *others):
            process.join()
        assert [process.exitcode for process in others] == [0, 0]
    ledger = Ledger(tmp_path / "store")
    check(ledger, notes(written) | notes(tmp_path / "victim"), kills=6)
    ledger.close()
