"""``mlflow-ledger audit``: who did what, when, from where, with what verdict."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import click

from .arguments import ENTITY, as_json, ledger_at, limit, since, uri, workspace
from .output import print_json_line, print_table, safe, said

if TYPE_CHECKING:
    from mlflow_ledger.query.audit import AuditRow

__all__ = ["audit"]

_TABLE_ROWS = 1000
_COLUMNS = ("time", "verdict", "actor", "host", "action", "entity", "detail")


@click.command(
    short_help="Who did what, when, from where, with what verdict.",
    epilog="""\b
Examples:
  mlflow-ledger audit ledger:./store
  mlflow-ledger audit ledger:./store models:/wine/2
  mlflow-ledger audit ledger:./store runs:/0a1b2c3d --since 2026-03-03T12:00:00Z --json

ENTITY is models:/NAME, models:/NAME/VERSION, runs:/ID, experiments:/ID, logged_models:/ID or
webhooks:/ID; without it everything is shown. A model is followed through its names.""",
)
@uri
@click.argument("entity", required=False, type=ENTITY)
@since
@limit
@workspace
@as_json("one document a line")
def audit(
    uri: str,
    entity: str | None,
    since: str | None,
    limit: int | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Show who did what, when, from where, to what, with what verdict; refused attempts too."""
    from mlflow_ledger.query.audit import audit as rows_of

    rows = rows_of(ledger_at(uri), entity, since, limit, workspace)
    if as_json:
        for row in rows:
            print_json_line(row)
        return
    head = list(itertools.islice(rows, _TABLE_ROWS))
    further = next(rows, None)
    if further is None:
        _print_table(head)
        return
    # Too many for a table that has to be measured first: a line each, as they come.
    for row in itertools.chain(head, [further], rows):
        click.echo("  ".join(safe(cell) for cell in _cells(row)).rstrip())


def _print_table(rows: list[AuditRow]) -> None:
    """Print rows; where there are several models of one name, or workspaces, with these."""
    columns: tuple[str, ...] = _COLUMNS
    cells = [_cells(row) for row in rows]
    if any(row.workspace != "default" for row in rows):
        columns = (*columns[:-1], "workspace", "detail")
        cells = [(*c[:-1], row.workspace, c[-1]) for c, row in zip(cells, rows, strict=True)]
    if len({row.uid for row in rows if row.uid}) > 1:
        columns = (*columns[:-1], "uid", "detail")
        cells = [(*c[:-1], row.uid or "", c[-1]) for c, row in zip(cells, rows, strict=True)]
    print_table(columns, cells)


def _cells(row: AuditRow) -> tuple[str, ...]:
    detail = {name: v for name, v in row.detail.items() if name not in ("model_uid", "version_uid")}
    told = [f"{row.code}: {row.message}"] if row.verdict != "accepted" else []
    told += [said(detail)] if detail else []
    actor = row.actor if row.actorkind == "os" else f"{row.actor} ({row.actorkind})"
    return (row.time, row.verdict, actor, row.host, row.action, row.entity, "; ".join(told))
