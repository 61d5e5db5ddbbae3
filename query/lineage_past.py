"""Aliases and stages that versions had once: the log knows them, the state has only today's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mlflow_ledger.consumers import Ledger

from .lineage_graph import Edge, Graph
from .lineage_nodes import Node
from .model_history import Change, ModelHistory

__all__ = ["EARLIER", "with_past"]

EARLIER = "earlier"
"""The state of an alias or a stage that none of the versions shown has now."""

_MOST_MODELS = 100


def with_past(ledger: Ledger, graph: Graph) -> Graph:
    """A graph with the aliases and stages that its versions had before.

    Where it has versions of very many models, the histories of the first are read; a note says so.
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
    edges = list(graph.edges)
    known = {(edge.source, edge.target) for edge in edges}
    for change in _changes(ledger, names[:_MOST_MODELS]):
        version = versions.get((change.uid, str(change.version)))
        had = None if version is None else _had(version, change)
        if version is not None and had is not None and (version.uri, had.uri) not in known:
            known.add((version.uri, had.uri))
            nodes.setdefault(had.uri, had)
            edges.append(Edge(version.uri, had.uri, f"{had.kind}, {EARLIER}", {}))
    return replace(
        graph,
        nodes=sorted(nodes.values(), key=lambda node: (node.rank, node.uri)),
        edges=sorted(edges, key=lambda e: (e.source, e.target, e.relation)),
        notes=notes,
    )


def _changes(ledger: Ledger, names: list[str]) -> Iterator[Change]:
    for name in names:
        for told in ModelHistory(ledger, name).told():
            yield from told.changes


def _had(version: Node, change: Change) -> Node | None:
    """The alias or stage that a change has given to a version."""
    if change.what == "alias" and change.after == str(change.version):
        return Node("alias", f"models:/{version.name}@{change.alias}", None, EARLIER, {})
    if change.what == "stage" and change.after not in (None, "None"):
        return Node("stage", f"models:/{version.name}/{change.after}", None, EARLIER, {})
    return None
