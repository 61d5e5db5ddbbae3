"""Rows about earlier moments: the first question as of one, and the second beside a live one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from mlflow_ledger.bus import with_as_of

from .bench import Bench
from .load import Shape
from .load_past import load_with_moments, run_id_of
from .rows import Bound, Kind, Row, Times
from .searches import ordered
from .stores import Store
from .timing import interleaved, medians

__all__ = ["large_past", "past"]

_ASKED = 7
_FIRST_MS, _FIRST_LARGE_MS = 2000, 10_000
_LIKE_LIVE = Times(0.8, (Kind.NOW,), "what the live answer takes, and a quarter")
_SHAPE = {"params": 5, "tags": 3, "metrics": 5, "history_every": 100, "history_steps": 100}

Question = Callable[[Store], Any]


def past(bench: Bench) -> list[Row]:
    """Questions as of moments in a ledger of 10 k runs."""
    return _rows(bench, "past", bench.sizes.past_runs, _FIRST_MS)


def large_past(bench: Bench) -> list[Row]:
    """The same in a ledger of a million runs."""
    return _rows(bench, "past_large", bench.sizes.large_past_runs, _FIRST_LARGE_MS)


def _rows(bench: Bench, name: str, runs: int, first_ms: int) -> list[Row]:
    """The first question is the worst of those as of several moments."""
    now = bench.stores.make(name, (Kind.LEDGER,), keep=True)[Kind.LEDGER]
    bench.say(f"loading {runs} runs, with a look at them now and then")
    moments = load_with_moments(now, Shape(runs, **_SHAPE), bench.sizes.moments)
    bench.say(f"as of {len(moments)} moments of {runs} runs")
    questions = {"run": _run, "search": partial(ordered, runs)}
    firsts: dict[str, list[float]] = {asked: [] for asked in questions}
    seconds: dict[str, dict[Kind, float]] = {}
    for position in moments:
        for asked, question in questions.items():
            shutil.rmtree(bench.stores.ledger_folder(name) / "as-of", ignore_errors=True)
            began = perf_counter()
            then = Store(Kind.LEDGER, name, with_as_of(now.uri, position))
            question(then)
            firsts[asked].append((perf_counter() - began) * 1000)
            if position == moments[-1]:
                seconds[asked] = _seconds(bench, question, then, now)
            then.close()
    goal = Bound(f"{first_ms // 1000} s", most=first_ms)
    rows = []
    for asked, work in (("run", "a run"), ("search", "order by a metric, first 100,")):
        rows += [
            Row(
                f"{name}_{asked}_first", f"{work} as of a moment, asked first; {runs:,} runs", "ms",
                "From opening the store on: the state is folded from the nearest one that is kept, "
                f"for a search analytics too. The worst of {len(moments)} moments.",
                {Kind.LEDGER: max(firsts[asked])}, (goal,),
            ),
            Row(
                f"{name}_{asked}", f"{work} as of a moment, asked again; {runs:,} runs", "ms",
                "The same question to the ledger as it is stands beside it.",
                seconds[asked], (_LIKE_LIVE,),
            ),
        ]  # fmt: skip
    return rows


def _seconds(bench: Bench, question: Question, then: Store, now: Store) -> dict[Kind, float]:
    actions = {Kind.LEDGER: partial(question, then), Kind.NOW: partial(question, now)}
    sizes = bench.sizes
    times, _ = interleaved(actions, max(sizes.repetitions, 3), sizes.budget_seconds)
    return {kind: seconds * 1000 for kind, seconds in medians(times).items()}


def _run(store: Store) -> str:
    """One of the first runs."""
    name: str = store.client.get_run(run_id_of(_ASKED)).info.run_name
    return name
