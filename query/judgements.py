"""What judged a logged model: metrics that name it, runs that evaluated it, traces of it."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .lineage_graph import Graph

__all__ = ["Judgement", "judgements_of"]

_MOST_METRICS = 1000


@dataclass(slots=True)
class Judgement:
    """``by`` is the run or the trace that judged ``model_id``.

    ``dataset`` is what it was measured on, as ``name/digest``, where that is known; ``metrics``
    hold the last value of each.
    """

    model_id: str
    by: str
    name: str | None
    dataset: str | None
    metrics: dict[str, float] = field(default_factory=dict)
    assessments: list[dict[str, Any]] = field(default_factory=list)


def judgements_of(
    db: sqlite3.Connection, model_ids: Iterable[str], graph: Graph
) -> list[Judgement]:
    """The judgements of some logged models: measured ones, then those of the graph around them."""
    ids = list(model_ids)
    found = _measured(db, ids)
    known = {(j.model_id, j.by) for j in found}
    nodes = {node.uri: node for node in graph.nodes}
    for edge in graph.edges:
        model_id = edge.source.removeprefix("logged_models:/")
        judging = edge.relation in ("evaluated by", "traced")
        if judging and model_id in ids and (model_id, edge.target) not in known:
            node = nodes[edge.target]
            told = node.detail.get("assessments", [])
            found.append(Judgement(model_id, edge.target, node.name, None, {}, list(told)))
    return found


def _measured(db: sqlite3.Connection, ids: list[str]) -> list[Judgement]:
    rows = db.execute(
        "SELECT m.model_id, m.run_id, r.name, m.dataset_name, m.dataset_digest, m.key, m.value "
        "FROM live_model_metrics m JOIN runs r USING (run_id) "
        "WHERE m.model_id IN (SELECT value FROM json_each(?)) "
        "ORDER BY m.model_id, m.run_id, m.dataset_name, m.dataset_digest, m.key, m.step DESC, "
        "m.timestamp_ms DESC LIMIT ?",
        (json.dumps(ids), _MOST_METRICS),
    ).fetchall()
    found: dict[tuple[Any, ...], Judgement] = {}
    for model_id, run_id, name, dataset, digest, key, value in rows:
        of = (model_id, run_id, dataset, digest)
        measured_on = None if dataset is None else f"{dataset}/{digest}"
        judgement = found.setdefault(of, Judgement(model_id, f"runs:/{run_id}", name, measured_on))
        judgement.metrics.setdefault(key, math.nan if value is None else value)
    return list(found.values())
