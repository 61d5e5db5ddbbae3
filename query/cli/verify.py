"""``mlflow-ledger verify``: whether everything still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .arguments import as_json, ledger_at, uri
from .output import human_bytes, plain, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from mlflow_ledger.query.verify import Report

__all__ = ["verify"]


@click.command(
    short_help="Whether everything still holds.",
    epilog="""\b
Example:
  mlflow-ledger verify ledger:./store && echo all is well""",
)
@uri
@as_json("one document")
def verify(uri: str, as_json: bool) -> None:
    """Replay the log, compare the state, read every artifact; status 1 where it does not hold.

    Nothing is changed. A place that does not hold is named: an event by its offset, a row by its
    table and key, an artifact by its path. A state or analytics that differ from the log can be
    made anew by `rebuild`; a log that is damaged comes from a backup only.
    """
    from mlflow_ledger.query.verify import verify as report_of

    ledger = ledger_at(uri, present=True)
    with progress_bar() as progress:
        report = report_of(ledger, progress)
    if as_json:
        print_json({"holds": report.holds} | plain(report))
    else:
        _print(report)
    if not report.holds:
        raise click.exceptions.Exit(1)


def _print(report: Report) -> None:
    failed = {finding.part for finding in report.findings}
    size = human_bytes(report.artifact_bytes)
    state = "there is none yet: it is folded when it is needed"
    if report.state is not None:
        count = sum(report.tables.values())
        state = f"{report.state}: {len(report.tables)} tables, {count} rows"
    analytics = "a copy of them, brought up to date, beside the state"
    if report.analytics is None:
        analytics = "not compared: they follow from the state"
    checked = {
        "log": f"{report.events} events of {report.sources} sources, up to {report.position}",
        "state": state,
        "analytics": analytics,
        "artifacts": f"{report.artifacts} blobs, {size}",
    }
    rows = []
    for part, what in checked.items():
        verdict = "DOES NOT HOLD" if part in failed else "holds"
        skipped = part == "analytics" and report.analytics is None
        rows.append((part, "skipped" if skipped else verdict, what))
    print_table(("part", "verdict", "what was checked"), rows)
    for finding in report.findings:
        click.echo(f"{finding.part}: {finding.place}: {finding.message}")
