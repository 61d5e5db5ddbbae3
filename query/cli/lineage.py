"""``mlflow-ledger lineage``: where a model version comes from and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .arguments import ENTITY, as_json, ledger_at, uri
from .output import Line, human_bytes, print_json, print_tree, said

if TYPE_CHECKING:
    from mlflow_ledger.query.lineage import HistoryRow, Lineage
    from mlflow_ledger.query.provenance import Run

__all__ = ["lineage"]


@click.command(
    short_help="A model version's data, run, promotions and files.",
    epilog="""\b
Examples:
  mlflow-ledger lineage ledger:./store models:/wine/2
  mlflow-ledger lineage ledger:./store models:/wine@champion --json""",
)
@uri
@click.argument("model_uri", metavar="MODEL_URI", type=ENTITY)
@as_json("one document")
def lineage(uri: str, model_uri: str, as_json: bool) -> None:
    """Show a version's data sets, run, logged model, promotions and files with their digests.

    MODEL_URI is models:/NAME/VERSION or models:/NAME@ALIAS.
    """
    from mlflow_ledger.query.lineage import lineage as lineage_of

    found = lineage_of(ledger_at(uri), model_uri)
    if as_json:
        print_json(found)
        return
    print_tree(found.uri, list(_lines(found)))


def _lines(found: Lineage) -> list[Line]:
    lines = []
    for dataset in found.datasets:
        tags = " ".join(f"{key}={value}" for key, value in dataset.tags.items())
        text = f"{dataset.name}  digest {dataset.digest}  source {dataset.source_type}  {tags}"
        lines.append(Line(0, "data set", text.rstrip()))
    if not found.datasets:
        lines.append(Line(0, "data set", "none was logged"))
    lines += _run_lines(found.run)
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
    return lines + [Line(0, "note", note) for note in found.notes]


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
    if run.parent_run_id:
        lines.append(
            Line(1, "parent run", f"{run.parent_name or ''}  {run.parent_run_id}".lstrip())
        )
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
