"""``mlflow-ledger verify``: whether everything still holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import as_json, ledger_at, uri
from .files import read_text
from .output import human_bytes, plain, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from mlflow_ledger.query.verify import Report

__all__ = ["verify"]


@click.command(
    short_help="Whether everything still holds.",
    epilog="""\b
Examples:
  mlflow-ledger verify ledger:./store && echo all is well
  mlflow-ledger verify ledger:./store --key signing.pem.pub --checkpoint kept-elsewhere.note""",
)
@uri
@click.option(
    "--key",
    metavar="PUBLIC",
    help="Believe checkpoints of this key only: a file with the public key, or the key itself.",
)
@click.option(
    "--checkpoint",
    "held",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Compare the log with a checkpoint that was kept elsewhere; may be given several times.",
)
@as_json("one document")
def verify(uri: str, key: str | None, held: tuple[Path, ...], as_json: bool) -> None:
    """Replay the log, compare state and what was signed, read every artifact; status 1 if not so.

    Nothing is changed. A place that does not hold is named: an event by its offset, a row by its
    table and key, an artifact by its path. A state or analytics that differ from the log can be
    made anew by `rebuild`; a log that is damaged comes from a backup only.
    """
    from mlflow_ledger.consumers import public_keys
    from mlflow_ledger.query.verify import verify as report_of

    ledger = ledger_at(uri, present=True)
    keys = public_keys(ledger, key)
    notes = {
        str(path) if not at else f"{path} ({at + 1})": note
        for path in held
        for at, note in enumerate(_notes(read_text(path, "the checkpoint")))
    }
    with progress_bar() as progress:
        report = report_of(ledger, progress, keys, notes)
    if as_json:
        print_json({"holds": report.holds} | plain(report))
    else:
        _print(report)
    if not report.holds:
        raise click.exceptions.Exit(1)


def _notes(text: str) -> list[str]:
    """The checkpoints of a file: one, or several as `checkpoint --show` prints them."""
    return [f"{note}\n" for note in re.split("\n\n(?!\N{EM DASH})", text.strip())]


def _trees(report: Report) -> str:
    signed = [tree for tree in report.trees if tree.checkpoints]
    if not signed:
        return _unsigned(report)
    count = sum(tree.signed for tree in signed)
    newest = max(tree.time for tree in signed)
    by = signed[0].signed_by or "nobody knows: no key was given (--key)"
    return (
        f"{sum(tree.checkpoints for tree in signed)} checkpoints of {len(signed)} trees: {count} "
        f"of {report.events} events, the newest at {newest}, signed by {by}"
    )


def _unsigned(report: Report) -> str:
    """Why there was nothing to compare the log with."""
    if not all(tree.readable for tree in report.trees):
        return "nothing is known of checkpoints: where they are kept cannot be read"
    if refused := sum(tree.refused for tree in report.trees):
        by = next((tree.signed_by for tree in report.trees if tree.signed_by), None)
        believed = f", as only those of {by} do" if by else ""
        return f"{refused} checkpoints, and none that counts{believed}"
    return "nothing was signed yet: `checkpoint` does it"


def _print(report: Report) -> None:
    failed = {finding.part for finding in report.findings}
    size = human_bytes(report.artifact_bytes)
    state = "there is none yet: it is folded when it is needed"
    if report.state is not None:
        count = sum(report.tables.values())
        state = f"{report.state}: {len(report.tables)} tables, {count} rows"
    if report.unreadable:
        state = "not compared: it follows from a log of which not all can be read"
    analytics = "a copy of them, brought up to date, beside the state"
    if report.analytics is None:
        analytics = "not compared: they follow from the state"
    checked = {
        "log": f"{report.events} events of {report.sources} sources, up to {report.position}"
        + (f"; {report.unreadable} cannot be read" if report.unreadable else ""),
        "trees": _trees(report),
        "state": state,
        "analytics": analytics,
        "artifacts": f"{report.artifacts} blobs, {size}",
    }
    rows = []
    for part, what in checked.items():
        verdict = "DOES NOT HOLD" if part in failed else "holds"
        skipped = part == "analytics" and report.analytics is None
        skipped |= part == "state" and verdict == "holds" and report.unreadable > 0
        skipped |= part == "trees" and verdict == "holds" and not report.signed
        rows.append((part, "skipped" if skipped else verdict, what))
    print_table(("part", "verdict", "what was checked"), rows)
    for finding in report.findings:
        click.echo(f"{finding.part}: {finding.place}: {finding.message}")
