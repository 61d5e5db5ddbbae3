"""Taking times: stores in turn, the first call of each kind discarded."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .rows import Kind

__all__ = ["Action", "interleaved", "latencies", "medians", "percentile"]

Action = Callable[[], Any]
_AT_LEAST = 3


def interleaved(
    actions: Mapping[Kind, Action], repetitions: int, budget_seconds: float = math.inf
) -> tuple[dict[Kind, list[float]], dict[Kind, Any]]:
    """The times of an action on each store, in seconds, and what each answered first.

    The stores take turns (A B A B); a first call to each is not counted. A store that has used up
    its budget is left alone once it was asked three times.
    """
    answers = {kind: action() for kind, action in actions.items()}
    times: dict[Kind, list[float]] = {kind: [] for kind in actions}
    for _ in range(repetitions):
        for kind, action in actions.items():
            if len(times[kind]) >= _AT_LEAST and sum(times[kind]) > budget_seconds:
                continue
            times[kind].append(_timed(action))
    return times, answers


def latencies(
    operations: Mapping[Kind, Sequence[Action]],
) -> dict[Kind, list[float]]:
    """The times of one round: each store's operations, one after the other."""
    return {kind: [_timed(action) for action in actions] for kind, actions in operations.items()}


def medians(times: Mapping[Kind, Sequence[float]]) -> dict[Kind, float]:
    """The median of each store's times."""
    return {kind: statistics.median(values) for kind, values in times.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def _timed(action: Action) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
