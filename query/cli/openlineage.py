"""``mlflow-ledger openlineage``: tells a lineage service what happens in a ledger."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import ledger_at, since, uri, workspace

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Ledger

__all__ = ["openlineage"]


@click.command(
    short_help="Send events of OpenLineage to a service, file or topic.",
    epilog="""\b
Examples:
  mlflow-ledger openlineage ledger:./store --to http://marquez:5000/api/v1/lineage --follow
  mlflow-ledger openlineage ledger:./store --to events.jsonl --since 2026-03-03T12:00:00Z
  mlflow-ledger openlineage ledger+kafka://host:9092/team --to kafka://host:9092/lineage""",
)
@uri
@click.option(
    "--to",
    "target",
    required=True,
    metavar="TARGET",
    help="http(s)://…, kafka://host:9092/topic, or a file to append to.",
)
@since
@click.option("--follow", is_flag=True, help="Go on as events are appended, until a signal.")
@click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where it is kept how far this target has got; a file in the ledger's folder.",
)
@workspace
def openlineage(
    uri: str,
    target: str,
    since: str | None,
    follow: bool,
    cursor: Path | None,
    workspace: str | None,
) -> None:
    """Tell of runs, data sets, logged models and versions, at least once and in the log's order.

    It goes on where it ended the last time; --since begins at a moment instead. What a target does
    not take ends the command with status 1, with --follow it is tried again.
    """
    from mlflow_ledger.consumers import Service
    from mlflow_ledger.query.emitting import Emitting
    from mlflow_ledger.query.emitting_targets import target_at

    to = target_at(target)

    def emitting(ledger: Ledger) -> Emitting:
        kept = cursor or _cursor(ledger, target, workspace)
        return Emitting(ledger, to, kept, since, workspace)

    try:
        if not follow:
            ledger = ledger_at(uri)
            done = emitting(ledger)
            done.drain()
            click.echo(f"{done.delivered} events went to {target}", err=True)
            return
        service = Service(lambda: ledger_at(uri), lambda ledger: [emitting(ledger)])

        def end(number: int, _frame: object) -> None:
            if service.stopping:
                os._exit(128 + number)
            service.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        click.echo(f"telling {target} what happens in {uri}", err=True)
        service.run()
    finally:
        to.close()


def _cursor(ledger: Ledger, target: str, workspace: str | None) -> Path:
    of = target if workspace is None else f"{target}\n{workspace}"
    name = hashlib.sha256(of.encode()).hexdigest()[:12]
    return ledger.folder / f"openlineage-{name}.json"
