"""``mlflow-ledger history``: every value that an entity's fields ever had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .arguments import ENTITY, as_json, ledger_at, uri, workspace
from .output import print_json_line, print_table, said

if TYPE_CHECKING:
    from mlflow_ledger.query.history import HistoryRow

__all__ = ["history"]

_COLUMNS = ("field", "value", "actor", "from", "to", "event")


@click.command(
    short_help="Every value that an entity's fields ever had.",
    epilog="""\b
Examples:
  mlflow-ledger history ledger:./store models:/wine/2
  mlflow-ledger history ledger:./store models:/wine@champion
  mlflow-ledger history ledger:./store runs:/0a1b2c3d --json

ENTITY is models:/NAME, models:/NAME/VERSION, models:/NAME@ALIAS, runs:/ID, experiments:/ID,
logged_models:/ID, traces:/ID, webhooks:/ID or another kind's ID. A model is followed through its
names.""",
)
@uri
@click.argument("entity", type=ENTITY)
@workspace
@as_json("one document a line")
def history(uri: str, entity: str, workspace: str | None, as_json: bool) -> None:
    """Show each value of each field: who gave it, from when to when it stood, by which event.

    Tags, descriptions, aliases, stages, status, names, deleted and restored: whatever was
    overwritten since. What was refused had no effect, and is in the audit.
    """
    from mlflow_ledger.query.history import history as rows_of

    rows = rows_of(ledger_at(uri), entity, workspace)
    if as_json:
        for row in rows:
            print_json_line(row)
        return
    several = len({row.entity for row in rows}) > 1
    columns = ("entity", *_COLUMNS) if several else _COLUMNS
    print_table(columns, [(row.entity, *_cells(row))[not several :] for row in rows])


def _cells(row: HistoryRow) -> tuple[str, ...]:
    actor = row.actor if row.actorkind == "os" else f"{row.actor} ({row.actorkind})"
    return (row.field, said_value(row.value), actor, row.since, row.until or "", row.event)


def said_value(value: object) -> str:
    """A value in a cell of a table."""
    from mlflow_ledger.query.detail import shortened

    if value is None:
        return ""
    return said(value) if isinstance(value, dict) else shortened(str(value))
