"""``mlflow-ledger changes``: what changed between two moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from .arguments import MOMENT, as_json, ledger_at, uri, workspace
from .history import said_value
from .output import print_json_line, print_table, progress_bar

if TYPE_CHECKING:
    from mlflow_ledger.query.changes import Changed

__all__ = ["changes"]


@click.command(
    short_help="What changed between two moments, entity by entity.",
    epilog="""\b
Examples:
  mlflow-ledger changes ledger:./store --since 2026-03-03T12:00:00Z
  mlflow-ledger changes ledger:./store --since 2026-03-03T12:00:00Z --until 2026-03-04T12:00:00Z
  mlflow-ledger changes ledger:./store --since 2026-03-03T12:00:00Z --json""",
)
@uri
@click.option(
    "--since",
    type=MOMENT,
    metavar="TIME|POSITION",
    required=True,
    help="The earlier moment: a time (RFC 3339, with Z or an offset) or a position.",
)
@click.option(
    "--until",
    type=MOMENT,
    metavar="TIME|POSITION",
    help="The later moment; without it, now.",
)
@workspace
@as_json("one document a line")
def changes(uri: str, since: str, until: str | None, workspace: str | None, as_json: bool) -> None:
    """Show what was created, changed from what to what, deleted or restored between two moments.

    What came and went between is not shown: `history` and `audit` tell that.
    """
    from mlflow_ledger.query.changes import changes as changes_of

    ledger = ledger_at(uri)
    with progress_bar() as progress:
        found = changes_of(
            ledger, since, until, lambda done, of: progress("events", done, of), workspace
        )
    if as_json:
        for changed in found:
            print_json_line(changed)
        return
    print_table(
        ("entity", "change", "field", "from", "to"), [row for c in found for row in _rows(c)]
    )


def _rows(changed: Changed) -> Iterator[tuple[str, ...]]:
    for field in changed.fields:
        before, after = said_value(field.before), said_value(field.after)
        yield (changed.entity, changed.change, field.field, before, after)
