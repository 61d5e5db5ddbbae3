"""Progress as people see it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mlflow_ledger.query import progress
from mlflow_ledger.query.progress import ProgressShown


def test_elsewhere_than_on_a_terminal_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = ProgressShown()
    for done in range(0, 30_001, 100):
        shown("copying events", done, 30_000)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 11
    assert said[0] == "mlflow-ledger: copying events: 0 of 30,000 (0%)"
    assert said[-1] == "mlflow-ledger: copying events: 30,000 of 30,000 (100%)"
    shown.stop()
    for now[0] in range(100, 112):
        shown("folding events", 1, 10**9)
    assert len(capsys.readouterr().err.splitlines()) == 3  # at once, and each 5 s


def test_a_terminal_gets_a_bar_that_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    drawn: list[Any] = []
    make = progress._bars

    def bars() -> Any:
        drawn.append(make())
        return drawn[-1]

    monkeypatch.setattr(progress, "_bars", bars)
    shown = ProgressShown()
    shown("copying events", 1000, 30_000)
    shown("copying events", 2000, 30_000)
    [bar] = drawn
    [task] = bar.tasks
    assert (task.completed, task.total) == (2000, 30_000)
    assert bar.live.is_started
    shown.stop()
    assert not bar.live.is_started
    assert "copying events" in capsys.readouterr().err
    shown.stop()  # nothing is left to stop
