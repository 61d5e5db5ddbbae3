"""The lineage of an entity as a graph: what it comes from, and what it went into."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .lineage_links import WAYS, Ask, Key, Link
from .lineage_nodes import ABSENT, Node, nodes_of

__all__ = ["Direction", "Edge", "Graph", "Node", "dataset_keys", "graph_of"]

Direction = Literal["back", "forward", "both"]

MOST_NODES = 5000
"""How many entities a graph may have; beyond it is cut, and says so."""

_BATCH = 500
_FOLLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "back": {"dataset": (), "run": ("up",), "logged model": ("origin",), "version": ("origin",)},
    "forward": dict.fromkeys(("dataset", "run", "logged model", "version"), ("down",)),
}

_STRONGER = {"measured by": ("evaluated by", "model input"), "model input": ("evaluated by",)}
"""What says more of two entities than a relation does."""


@dataclass(frozen=True, slots=True)
class Edge:
    """``source`` went into ``target``, both by their uris; ``detail`` says what else is known."""

    source: str
    target: str
    relation: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """Entities and what leads from one to the other, in the direction in which data went.

    ``roots`` are the uris of what was asked about. ``notes`` say what is left out.
    """

    roots: list[str]
    nodes: list[Node]
    edges: list[Edge]
    notes: list[str]


def graph_of(
    db: sqlite3.Connection,
    roots: Iterable[Key],
    direction: Direction = "both",
    also: Iterable[Link] = (),
    gone: Mapping[Key, Node] | None = None,
) -> Graph:
    """The graph around some entities.

    ``also`` are links, ``gone`` entities that the log tells of, should the state not hold them any
    more.
    """
    walk = _Walk(db, list(roots))
    if direction != "forward":
        walk.follow(_FOLLOWED["back"])
        walk.begin(also)
    if direction != "back":
        walk.follow(_FOLLOWED["forward"])
    return walk.graph(gone or {})


class _Walk:
    """From entity to entity, level by level, each once for what is followed there."""

    def __init__(self, db: sqlite3.Connection, roots: list[Key]) -> None:
        self._db = db
        self._roots = roots
        self._keys: dict[Key, None] = dict.fromkeys(roots)
        self._links: dict[tuple[Key, Key, str], Link] = {}
        self._done: set[tuple[str, Key]] = set()
        self._notes: list[str] = []

    def follow(self, followed: Mapping[str, tuple[str, ...]]) -> None:
        """Go on from what was asked about."""
        self._onward({(way, root): None for root in self._roots for way in followed[root.kind]})

    def begin(self, links: Iterable[Link]) -> None:
        """Go back from where these links come from."""
        for link in links:
            self._onward(dict.fromkeys(self._take(link, link.target, "origin")))

    def _onward(self, level: dict[tuple[str, Key], None]) -> None:
        while level:
            self._done |= level.keys()
            following: dict[tuple[str, Key], None] = {}
            for way, kind in dict.fromkeys((way, key.kind) for way, key in level):
                ids = [key.id for w, key in level if w == way and key.kind == kind]
                for ask, then in WAYS[way].get(kind, ()):
                    following |= dict.fromkeys(self._step(ask, kind, ids, then))
            level = {step: None for step in following if step not in self._done}

    def _step(
        self, ask: Ask, kind: str, ids: list[str], then: str | None
    ) -> Iterable[tuple[str, Key]]:
        for first in range(0, len(ids), _BATCH):
            some = ids[first : first + _BATCH]
            here = {Key(kind, one) for one in some}
            for link in ask(self._db, some):
                near = link.source if link.source in here else link.target
                yield from self._take(link, near, then)

    def _take(self, link: Link, near: Key, then: str | None) -> Iterable[tuple[str, Key]]:
        """Keep a link; what stands at its far end is gone on from."""
        far = link.target if near == link.source else link.source
        if far not in self._keys and len(self._keys) >= MOST_NODES:
            note = f"the graph is cut: it has more than {MOST_NODES} entities"
            if note not in self._notes:
                self._notes.append(note)
            return
        if "of" in link.detail:
            self._notes.append(f"{link.source.id} has {link.detail['of']} traces; some are shown")
        self._keys.setdefault(far)
        self._links.setdefault((link.source, link.target, link.relation), link)
        if then is not None:
            yield then, far

    def graph(self, gone: Mapping[Key, Node]) -> Graph:
        """What was found; every entity by its own address."""
        nodes = nodes_of(self._db, list(self._keys))
        nodes |= {key: node for key, node in gone.items() if nodes[key].state == ABSENT}
        for link in self._links.values():
            if link.relation == "needs":
                name = link.detail["path"].rsplit("/", 1)[-1]
                nodes[link.source] = replace(nodes[link.source], name=name)
        edges = [
            Edge(nodes[link.source].uri, nodes[link.target].uri, link.relation, link.detail)
            for link in self._simple()
        ]
        return Graph(
            [nodes[root].uri for root in self._roots],
            sorted(nodes.values(), key=lambda node: (node.rank, node.uri)),
            sorted(edges, key=lambda e: (e.source, e.target, e.relation)),
            self._notes,
        )

    def _simple(self) -> Iterable[Link]:
        """The links, without those that say less of a pair than another one does."""
        for (source, target, relation), link in self._links.items():
            stronger = _STRONGER.get(relation, ())
            if not any((source, target, other) in self._links for other in stronger):
                yield link


def dataset_keys(db: sqlite3.Connection, name: str) -> list[Key]:
    """The data sets that a digest, a name, or name/digest names."""
    of_name, _, digest = name.rpartition("/")
    rows = db.execute(
        "SELECT DISTINCT name, digest FROM run_inputs WHERE digest = ? OR name = ? "
        "OR (name = ? AND digest = ?) UNION SELECT dataset_name, dataset_digest "
        "FROM live_model_metrics WHERE dataset_digest = ? OR dataset_name = ? "
        "ORDER BY 1, 2 LIMIT ?",
        (name, name, of_name, digest, name, name, MOST_NODES),
    ).fetchall()
    return [
        Key("dataset", json.dumps([name, digest], ensure_ascii=False))
        for name, digest in rows
        if name is not None and digest is not None
    ]
