"""What ``mlflow-ledger lineage`` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .output import Line, human_bytes, plain, said

if TYPE_CHECKING:
    from mlflow_ledger.query.environment import EnvironmentFile
    from mlflow_ledger.query.judgements import Judgement
    from mlflow_ledger.query.lineage import HistoryRow, Lineage
    from mlflow_ledger.query.lineage_graph import Graph
    from mlflow_ledger.query.provenance import Dataset, Run

__all__ = ["judged_lines", "lines_of", "table_of"]

_MOST_JUDGED = 20


def lines_of(found: Lineage) -> list[Line]:
    """A version's lineage as a tree."""
    lines = [_dataset_line(0, dataset) for dataset in found.datasets]
    if not found.datasets:
        lines.append(Line(0, "data set", "none was logged"))
    lines += _run_lines(found.run)
    for parent in found.parents:
        text = f"{parent.run.name or ''}  {parent.run.run_id}  {parent.run.status}".lstrip()
        lines.append(Line(1, "parent run", text))
        lines += [_dataset_line(2, dataset) for dataset in parent.datasets]
    if found.logged_model is not None:
        model = found.logged_model
        kind = f"  {model.model_type}" if model.model_type else ""
        lines.append(
            Line(0, "logged model", f"{model.name}  {model.model_id}  {model.status}{kind}")
        )
        if model.params:
            lines.append(Line(1, "params", said(model.params)))
    lines += _version_lines(found)
    lines += [
        Line(0, "artifact", f"{a.path}  {a.digest}  {human_bytes(a.size_bytes)}")
        for a in found.artifacts
    ]
    return lines + judged_lines(found.judgements, found.environment, found.notes)


def judged_lines(
    judgements: Sequence[Judgement], environment: Sequence[EnvironmentFile], notes: Sequence[str]
) -> list[Line]:
    """Who judged it, what it needs, and what is to be said besides."""
    lines = [_judged_line(judgement) for judgement in judgements[:_MOST_JUDGED]]
    if len(judgements) > _MOST_JUDGED:
        lines.append(Line(0, "judged by", f"{len(judgements) - _MOST_JUDGED} more"))
    for file in environment:
        name = file.path.rsplit("/", 1)[-1]
        lines.append(Line(0, "environment", f"{name}  {file.digest}"))
        if name == "requirements.txt" and file.text is not None:
            lines += [Line(1, "needs", line) for line in file.text.splitlines() if line.strip()]
        elif file.note is not None:
            lines.append(Line(1, "note", file.note))
    return lines + [Line(0, "note", note) for note in notes]


def table_of(graph: Graph) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The entities of a graph, a row for each link: what led to it, or else where it went.

    What is so comes before what was so once.
    """
    links: dict[str, list[str]] = {node.uri: [] for node in graph.nodes}
    edges = sorted(graph.edges, key=lambda edge: bool(edge.detail.get("past")))
    for edge in edges:
        links[edge.target].append(f"{edge.relation}: from {edge.source}")
    began = [uri for uri, found in links.items() if not found and uri not in graph.roots]
    for edge in edges:
        if edge.source in began:
            links[edge.source].append(f"{edge.relation}: into {edge.target}")
    rows: list[tuple[str, ...]] = []
    for node in graph.nodes:
        asked = ["asked for"] if node.uri in graph.roots else []
        for number, link in enumerate([*asked, *links[node.uri]] or [""]):
            said = ("", "") if number else (node.name or "", node.state or "")
            rows.append((node.kind, node.uri, *said, link))
    return ("kind", "entity", "name", "state", "link"), rows


def _dataset_line(depth: int, dataset: Dataset) -> Line:
    tags = " ".join(f"{key}={value}" for key, value in dataset.tags.items())
    text = f"{dataset.name}  digest {dataset.digest}  source {dataset.source_type}  {tags}"
    return Line(depth, "data set", text.rstrip())


def _judged_line(judgement: Judgement) -> Line:
    text = f"{judgement.by}  {judgement.name or ''}".rstrip()
    if judgement.dataset is not None:
        text += f"  on {judgement.dataset}"
    if judgement.metrics:
        text += f"  {said(judgement.metrics)}"
    for assessment in judgement.assessments:
        text += f"  {assessment['name']}={plain(assessment['value'])}"
    return Line(0, "judged by", text)


def _run_lines(run: Run | None) -> list[Line]:
    if run is None:
        return [Line(0, "run", "not in this ledger")]
    experiment = run.experiment or run.experiment_id
    lines = [
        Line(0, "run", f"{run.name or ''}  {run.run_id}  {run.status}  in {experiment}".lstrip()),
        Line(1, "started", f"{run.started or 'unknown'}, ended {run.ended or 'not yet'}"),
        Line(1, "user", run.user or "unknown"),
        Line(1, "source", f"{run.source or 'unknown'}, commit {run.commit or 'unknown'}"),
    ]
    if run.params:
        lines.append(Line(1, "params", said(run.params)))
    if run.metrics:
        lines.append(Line(1, "metrics", said(run.metrics)))
    return lines


def _version_lines(found: Lineage) -> list[Line]:
    version = found.version
    state = "deleted" if version.deleted else f"stage {version.stage}"
    names = "".join(f" @{alias}" for alias in version.aliases)
    lines = [
        Line(0, "version", f"{version.number}  {state}{names}  uid {version.uid}"),
    ]
    if version.description:
        lines.append(Line(1, "description", version.description))
    if version.tags:
        lines.append(Line(1, "tags", said(version.tags)))
    lines += [Line(1, row.time, f"{_told(row)}, by {_by(row)}") for row in found.history]
    return lines


def _told(row: HistoryRow) -> str:
    if row.what == "created":
        return "created"
    if row.what == "deleted":
        return "deleted"
    if row.what == "alias":
        before, after = (f"version {v}" if v else "nothing" for v in (row.before, row.after))
        return f"alias {row.alias}: {before} → {after}"
    return f"{row.what} {row.before} → {row.after}"


def _by(row: HistoryRow) -> str:
    return row.actor if row.actorkind == "os" else f"{row.actor} ({row.actorkind})"
