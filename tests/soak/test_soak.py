"""Short forms of the long runs, and that they would notice if something did not hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger

from .evidence import findings
from .kills import Killing, begin
from .log import BATCH_PAIRS, BATCH_POINTS, STRIDE, Logger
from .memory import Sample, disk_bytes, sample
from .notes import Call, Notes, calls, recent
from .process import Life, Orders
from .watch import Took, Watch

ROOT = Path(__file__).parents[2]


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.soak", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_processes_killed_at_any_moment() -> None:
    done = soak("kills", "--seconds=8", "--kills=30", "--longest=1", "--forgive-starving")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 kills" in done.stdout
    assert "all holds" in done.stdout


def test_a_very_short_day() -> None:
    done = soak("day", "--runs=600", "--points=30000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stats explains" in done.stdout
