"""``mlflow-ledger lineage``: what an entity comes from, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .arguments import LINEAGE, as_json, ledger_at, uri, workspace
from .lineage_lines import judged_lines, lines_of, table_of
from .output import print_json, print_json_line, print_table, print_tree

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Ledger
    from mlflow_ledger.query.lineage import EntityLineage, Lineage

__all__ = ["lineage"]


@click.command(
    short_help="What a version, run, model or data set comes from, and became.",
    epilog="""\b
Examples:
  mlflow-ledger lineage ledger:./store models:/wine/2
  mlflow-ledger lineage ledger:./store models:/wine@champion --json
  mlflow-ledger lineage ledger:./store datasets:/94473cd1 --direction forward
  mlflow-ledger lineage ledger:./store models:/wine/Production --format svg > lineage.svg""",
)
@uri
@click.argument("entity", metavar="ENTITY", type=LINEAGE)
@click.option(
    "--direction",
    type=click.Choice(["back", "forward", "both"]),
    default="both",
    show_default=True,
    help="What it comes from, what it went into, or both.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "dot", "svg", "openlineage"]),
    default="text",
    show_default=True,
    help="dot is Graphviz's language; openlineage are events, one a line.",
)
@workspace
@as_json("one document")
def lineage(
    uri: str, entity: str, direction: Any, form: str, workspace: str | None, as_json: bool
) -> None:
    """Show data sets, code, runs, logged models, versions, aliases and stages around an entity.

    ENTITY is models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/latest,
    runs:/ID, logged_models:/ID, or datasets:/DIGEST (or NAME, or NAME/DIGEST).
    """
    from mlflow_ledger.query.lineage import entity_lineage
    from mlflow_ledger.query.lineage import lineage as lineage_of
    from mlflow_ledger.query.lineage_address import LineageAddress

    ledger = ledger_at(uri)
    found: Lineage | EntityLineage
    if LineageAddress.parse(entity, ledger).kind == "models":
        found = lineage_of(ledger, entity, direction, workspace)
    else:
        found = entity_lineage(ledger, entity, direction)
    _print(ledger, found, "json" if as_json else form)


def _print(ledger: Ledger, found: Lineage | EntityLineage, form: str) -> None:
    from mlflow_ledger.query.lineage import Lineage

    if form == "json":
        print_json(found)
    elif form == "dot":
        from mlflow_ledger.query.picture import dot

        click.echo(dot(found.graph), nl=False)
    elif form == "svg":
        from mlflow_ledger.query.picture import svg

        click.echo(svg(found.graph, f"Lineage of {found.uri}"), nl=False)
    elif form == "openlineage":
        from mlflow_ledger.query.openlineage import events_about

        for event in events_about(ledger, found.graph):
            print_json_line(event)
    elif isinstance(found, Lineage):
        print_tree(found.uri, lines_of(found))
    else:
        columns, rows = table_of(found.graph)
        print_table(columns, rows)
        rest = judged_lines(found.judgements, found.environment, found.notes)
        if rest:
            print_tree(found.uri, rest)
