"""A day of use in fast motion: many runs and points, searches, deletions, garbage collected."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mlflow_ledger.consumers import Ledger

from .memory import Sample, Samples, disk_bytes, open_files, sample
from .process import Life, Started, prepare, start
from .work import TENTHS, Progress, clear_up, closing, log_runs, look

__all__ = ["Day", "Folder", "Outcome", "findings_of_a_day", "run"]

_LOOK_EVERY_S = 0.25
_EXPLAINED = 0.05
_WAL_BYTES = 64 * 1024 * 1024
_SNAPSHOTS = 2


@dataclass(frozen=True)
class Day:
    """How much is logged, by how many processes."""

    runs: int = 50_000
    points: int = 5_000_000
    loggers: int = 2
    growth: float = 1.1
    seed: int = 1


@dataclass(frozen=True)
class Folder:
    """The ledger's folder at the end of a tenth; sizes in bytes."""

    seconds: float
    disk: int
    log: int
    wal: int
    snapshots: int
    changes: int
    unfolded: int
    clones: int


@dataclass
class Outcome:
    """What was seen: processes and folder, tenth by tenth, and what does not hold."""

    seconds: float
    typical: dict[str, dict[int, Sample]]
    peaks: dict[str, dict[int, Sample]]
    folders: list[Folder]
    explained: list[tuple[int, int]]
    failures: list[str] = field(default_factory=list)


class _Running:
    """The processes of a day, and what is seen of them."""

    def __init__(self, plan: Day, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._uri = f"ledger:{folder}/store"
        self._progress = Progress(folder)
        self._samples = Samples()
        self._began = time.monotonic()
        self._up = {name: self._start(n, name) for n, name in enumerate(self._names())}
        self._folders: list[Folder] = []
        self._open: dict[str, dict[int, Counter[str]]] = defaultdict(dict)
        self._wal = 0

    def run(self) -> Outcome:
        """Look at the processes until all is logged, then let them end."""
        plan, tenth = self._plan, 0
        while tenth < TENTHS:
            time.sleep(_LOOK_EVERY_S)  # between two looks
            for name, started in self._up.items():
                if not started.alive:
                    return self._outcome([self._said(started)])
                self._samples.add(name, tenth + 1, sample(started.pid))
                self._open[name][tenth + 1] = open_files(started.pid)
            self._wal = max(self._wal, *(p.stat().st_size for p in self._wals()), 0)
            if self._progress.done(plan.loggers) * TENTHS >= plan.runs * (tenth + 1):
                tenth += 1
                self._folders.append(self._look_at_folder())
        explained = [self._explained()]
        failures = [self._said(started) for started in self._up.values() if not started.end()]
        explained.append(self._explained())
        outcome = self._outcome(failures)
        outcome.explained = explained
        outcome.failures += findings_of_a_day(outcome, self._plan.growth)
        for name, tenths in self._open.items():
            if any(failure.startswith(f"{name}: files") for failure in outcome.failures):
                more = tenths[TENTHS] - tenths[2]
                outcome.failures.append(f"{name}: open at the end and not before: {dict(more)}")
        return outcome

    def _names(self) -> list[str]:
        return [*(f"logger {n + 1}" for n in range(self._plan.loggers)), "searcher", "sweeper"]

    def _start(self, slot: int, name: str) -> Started:
        plan = self._plan
        share = plan.runs // plan.loggers + (slot < plan.runs % plan.loggers)
        work = {
            "searcher": look,
            "sweeper": partial(clear_up, plan.loggers, plan.runs),
        }.get(name, partial(log_runs, share, plan.points // plan.runs))
        life = Life(slot, 0, self._uri, self._folder, 0, plan.seed)
        return start(partial(closing, work), life)

    def _wals(self) -> list[Path]:
        return sorted((self._folder / "store").glob("*-wal"))

    def _look_at_folder(self) -> Folder:
        store = self._folder / "store"
        ledger = Ledger(store)
        with ledger.read() as db:
            ((changes,),) = db.execute("SELECT count(*) FROM changes")
            ((folded,),) = db.execute("SELECT max(seq) FROM progress")
        floor = min(
            (int(p.name.rsplit("-", 2)[1]) for p in store.glob("snapshots/state-*")), default=0
        )
        ledger.close()
        wal, self._wal = self._wal, 0
        return Folder(
            seconds=time.monotonic() - self._began,
            disk=disk_bytes(store),
            log=(store / "log.sqlite").stat().st_size,
            wal=wal,
            snapshots=len(list(store.glob("snapshots/state-*"))),
            changes=changes,
            unfolded=folded - floor,
            clones=len(list((self._folder / "temporary").glob("mlflow-ledger-*/*/used"))),
        )

    def _explained(self) -> tuple[int, int]:
        """What ``mlflow-ledger stats`` says the folder takes, and what ``du`` says."""
        command = Path(sys.executable).with_name("mlflow-ledger")
        done = subprocess.run(
            [command, "stats", self._uri, "--json"], check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)["size_bytes"], disk_bytes(self._folder / "store")

    def _said(self, started: Started) -> str:
        errors = started.life.errors
        return errors.read_text("utf-8") if errors.exists() else "a process ended without a word"

    def _outcome(self, failures: list[str]) -> Outcome:
        return Outcome(
            seconds=time.monotonic() - self._began,
            typical=self._samples.typical(),
            peaks=self._samples.peaks(),
            folders=self._folders,
            explained=[],
            failures=failures,
        )


def run(plan: Day, folder: Path) -> Outcome:
    """Do it in an empty folder."""
    with prepare(folder):
        return _Running(plan, folder).run()


def findings_of_a_day(outcome: Outcome, growth: float) -> list[str]:
    """What does not hold; ``growth`` is how many times what it was a process may take."""
    found = []
    for name, tenths in outcome.typical.items():
        for kind in ("rss", "files"):
            before, after = getattr(tenths[2], kind), getattr(tenths[TENTHS], kind)
            if after > before * growth:
                found.append(f"{name}: {kind} grew from {before} to {after}")
    for said, measured in outcome.explained:
        if abs(said - measured) > measured * _EXPLAINED:
            found.append(f"stats explains {said} bytes of {measured}, which is more than 5 % off")
    for number, folder in enumerate(outcome.folders, start=1):
        if folder.wal > _WAL_BYTES:
            found.append(f"tenth {number}: a write-ahead log took {folder.wal} bytes")
        if folder.snapshots > _SNAPSHOTS:
            found.append(f"tenth {number}: {folder.snapshots} snapshots are kept")
        if folder.changes > folder.unfolded:
            found.append(f"tenth {number}: {folder.changes} changes are listed, more than needed")
    return found
