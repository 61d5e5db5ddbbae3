"""Aliases and stages that versions had once: the log knows them, the state has only today's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import format_time

from .lineage_graph import Edge, Graph
from .lineage_nodes import Node
from .model_history import Change, ModelHistory

__all__ = ["EARLIER", "with_past"]

EARLIER = "earlier"
"""The state of an alias or a stage that none of the versions shown has now."""

_MOST_MODELS = 100


def with_past(ledger: Ledger, graph: Graph) -> Graph:
    """A graph with the aliases and stages that its versions had before.

    Such an edge says so (``past``), and from when to when (``since``, ``until``, by the log) it was
    so the last time. Where there are versions of very many models, the histories of the first are
    read; a note says so.
    """
    versions = {
        (node.detail["model_uid"], node.uri.rpartition("/")[2]): node
        for node in graph.nodes
        if node.kind == "version" and node.detail.get("model_uid")
    }
    names = sorted({node.name for node in versions.values() if node.name})
    notes = list(graph.notes)
    if len(names) > _MOST_MODELS:
        notes.append(f"earlier aliases and stages are those of {_MOST_MODELS} models")
    nodes = {node.uri: node for node in graph.nodes}
    known = {(edge.source, edge.target) for edge in graph.edges}
    past: dict[tuple[str, str], Edge] = {}
    for time, change in _changes(ledger, names[:_MOST_MODELS]):
        version = versions.get((change.uid, str(change.version)))
        if version is None:
            continue
        for had in _places(version, change, change.before):
            edge = past.get((version.uri, had.uri))
            if edge is not None:
                past[version.uri, had.uri] = replace(edge, detail={**edge.detail, "until": time})
        for had in _places(version, change, change.after):
            if (version.uri, had.uri) not in known:
                nodes.setdefault(had.uri, had)
                detail: dict[str, Any] = {"past": True, "since": time, "until": None}
                relation = f"{had.kind}, {EARLIER}"
                past[version.uri, had.uri] = Edge(version.uri, had.uri, relation, detail)
    return replace(
        graph,
        nodes=sorted(nodes.values(), key=lambda node: (node.rank, node.uri)),
        edges=sorted(
            (*graph.edges, *past.values()), key=lambda e: (e.source, e.target, e.relation)
        ),
        notes=notes,
    )


def _changes(ledger: Ledger, names: list[str]) -> Iterator[tuple[str, Change]]:
    for name in names:
        for told in ModelHistory(ledger, name).told():
            time = format_time(told.judged.stored.append_ms)
            yield from ((time, change) for change in told.changes)


def _places(version: Node, change: Change, value: str | None) -> Iterator[Node]:
    """The alias or stage that a version had where a change began, or ended, with ``value``."""
    if change.what == "alias" and value == str(change.version):
        yield Node("alias", f"models:/{version.name}@{change.alias}", None, EARLIER, {})
    if change.what in ("stage", "deleted") and value not in (None, "None"):
        yield Node("stage", f"models:/{version.name}/{value}", None, EARLIER, {})
