"""The layout of a graph in layers: columns by distance from the sources, few crossings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Layout", "Point", "laid_out"]

_SWEEPS = 8


class Point(NamedTuple):
    """A column, and how far down it; rows may lie between whole numbers."""

    column: int
    row: float


class Layout(NamedTuple):
    """Where everything stands; ``bends`` are the points at which an edge passes other columns."""

    points: Mapping[str, Point]
    bends: Mapping[tuple[str, str], list[Point]]
    columns: int
    rows: int


def laid_out(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay a graph out; edges that would close a circle do not count for the columns.

    After Sugiyama, Tagawa and Toda (1981): layers by longest path, a dummy node wherever an edge
    passes a layer, each layer ordered by the mean place of its neighbours, to and fro.
    """
    onward = _without_circles(nodes, edges)
    column = _columns(nodes, onward)
    layers: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for node in nodes:
        layers[column[node]].append(node)
    steps: list[tuple[str, str]] = []
    passed: dict[tuple[str, str], list[str]] = {}
    for number, edge in enumerate(edges):
        passed[edge] = []
        source, target = edge
        last = source
        for between in range(column[source] + 1, column[target]):
            dummy = f"\0{number}/{between}"
            layers[between].append(dummy)
            passed[edge].append(dummy)
            steps.append((last, dummy))
            last = dummy
        if column[target] > column[source]:
            steps.append((last, target))
    _order(layers, steps)
    rows = max(map(len, layers), default=0)
    points = {
        node: Point(number, place + (rows - len(layer)) / 2)
        for number, layer in enumerate(layers)
        for place, node in enumerate(layer)
    }
    bends = {edge: [points[dummy] for dummy in dummies] for edge, dummies in passed.items()}
    return Layout(points, bends, len(layers), rows)


def _without_circles(
    nodes: Sequence[str], edges: Sequence[tuple[str, str]]
) -> dict[str, list[str]]:
    """The successors of each node, without edges that lead back to where one came from."""
    successors: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        successors[source].append(target)
    kept: dict[str, list[str]] = {node: [] for node in nodes}
    state: dict[str, int] = {}
    for first in nodes:
        if first in state:
            continue
        state[first] = 1
        stack = [(first, iter(successors[first]))]
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                stack.pop()
            elif state.get(following) != 1:
                kept[node].append(following)
                if following not in state:
                    state[following] = 1
                    stack.append((following, iter(successors[following])))
    return kept


def _columns(nodes: Sequence[str], onward: Mapping[str, list[str]]) -> dict[str, int]:
    """The longest way from any source; a source stands right before what it leads to."""
    waiting = dict.fromkeys(nodes, 0)
    for targets in onward.values():
        for target in targets:
            waiting[target] += 1
    column = dict.fromkeys(nodes, 0)
    sources = [node for node in nodes if not waiting[node]]
    ready = list(sources)
    while ready:
        node = ready.pop()
        for target in onward[node]:
            column[target] = max(column[target], column[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for node in sources:
        if onward[node]:
            column[node] = min(column[target] for target in onward[node]) - 1
    return column


def _order(layers: list[list[str]], steps: Sequence[tuple[str, str]]) -> None:
    before: dict[str, list[str]] = {}
    behind: dict[str, list[str]] = {}
    for source, target in steps:
        before.setdefault(target, []).append(source)
        behind.setdefault(source, []).append(target)
    for sweep in range(_SWEEPS):
        neighbours = behind if sweep % 2 else before
        place = {node: i / len(layer) for layer in layers for i, node in enumerate(layer)}
        for layer in reversed(layers) if sweep % 2 else layers:
            mean = {
                node: sum(place[n] for n in near) / len(near)
                for node in layer
                if (near := neighbours.get(node))
            }
            layer.sort(key=lambda node, mean=mean: mean.get(node, place[node]))  # type: ignore[misc]  # mypy: lambda default
            place |= {node: i / len(layer) for i, node in enumerate(layer)}
