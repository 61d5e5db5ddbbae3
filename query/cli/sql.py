"""``mlflow-ledger sql``: a question in SQL."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

import click

from .arguments import as_json as json_option
from .arguments import ledger_at, uri
from .output import plain, print_json, print_table

__all__ = ["sql"]


@click.command(
    short_help="Answer one SELECT statement.",
    epilog="""\b
Examples:
  mlflow-ledger sql ledger:./store "SELECT run_name, status FROM runs_latest"
  mlflow-ledger sql ledger:./store "SELECT * FROM metrics WHERE key = 'loss'" --format csv
  mlflow-ledger sql ledger:./store - < question.sql""",
)
@uri
@click.argument("statement")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the rows.",
)
@json_option("the same as --format json, a list of rows")
def sql(uri: str, statement: str, form: str, as_json: bool) -> None:
    """Answer one SELECT statement (DuckDB's SQL); `-` reads it from standard input.

    The views are experiments_latest, runs_latest, live_runs, run_metrics_history, params, metrics,
    tags, model_versions and audit. Of every value that anything ever had: history,
    run_tags_history, run_status_history, experiment_tags_history, lifecycle_history,
    logged_model_tags_history, registered_model_tags_history, model_aliases_history,
    model_version_stages_history, model_version_tags_history, descriptions_history and
    trace_tags_history. docs/sql.md tells their columns. Nothing can be changed.
    """
    ledger = ledger_at(uri)
    if statement == "-":
        statement = sys.stdin.read()
    from mlflow_ledger.query.sql import run_sql

    columns, rows = run_sql(ledger, statement)
    if as_json or form == "json":
        names = _distinct(columns)
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif form == "csv":
        click.echo(_csv(columns, rows), nl=False)
    else:
        print_table(columns, rows)


def _distinct(columns: list[str]) -> list[str]:
    """The names of columns, those that came before with a number behind them."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def _csv(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(value) for value in row] for row in rows)
    return out.getvalue()
