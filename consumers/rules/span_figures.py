"""What the spans of a trace come to, in tokens and in costs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mlflow_ledger.schemas import TRACE_COSTS

__all__ = ["SpanFigures", "finite", "total", "whole_number"]

_ALWAYS = ("input_tokens", "output_tokens", "total_tokens", *TRACE_COSTS)
_MOST = 2**63


class SpanFigures(NamedTuple):
    """A span, and its tokens or costs; None where it says nothing of them."""

    span_id: str
    parent_id: str | None
    figures: Mapping[str, float] | None


def total(spans: Iterable[SpanFigures], keys: tuple[str, ...]) -> dict[str, float] | None:
    """The sum over a tree of spans: what stands below a span that says something is part of it.

    Returns:
        Nothing where no span says anything.
    """
    spans = list(spans)
    ids = {span.span_id for span in spans}
    children: defaultdict[str, list[SpanFigures]] = defaultdict(list)
    tops = []
    for span in spans:
        if span.parent_id and span.parent_id in ids:
            children[span.parent_id].append(span)
        else:
            tops.append(span)
    totals: dict[str, float] = {key: 0 for key in keys if key in _ALWAYS}
    said = False
    # MLflow's order of adding: the last bits of a sum depend on it.
    # An id that is given twice may stand below itself: such a circle is walked once.
    repeated = len(ids) < len(spans)
    stack = [(span, frozenset[str]()) for span in tops]
    while stack:
        span, above = stack.pop()
        if span.figures is None:
            path = above | {span.span_id} if repeated else above
            stack.extend(
                (child, path) for child in children[span.span_id] if child.span_id not in path
            )
            continue
        said = True
        for key in keys:
            if key in span.figures:
                totals[key] = totals.get(key, 0) + span.figures[key]
    return totals if said else None


def whole_number(value: float) -> int | None:
    """A count of tokens, or None where it is none."""
    if not math.isfinite(value) or value != int(value) or not -_MOST <= value < _MOST:
        return None
    return int(value)


def finite(value: float | None) -> float | None:
    """A cost, or None where it is none."""
    return None if value is None or not math.isfinite(value) else float(value)
