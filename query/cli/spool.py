"""``mlflow-ledger spool``: what waits on this host to be sent to a ledger, since when."""

from __future__ import annotations

import click

from .arguments import any_uri, as_json
from .output import human_bytes, print_json, print_table, safe

__all__ = ["spool"]


@click.command(
    short_help="What waits on this host to be sent, since when.",
    epilog="""\b
Examples:
  mlflow-ledger spool ledger+kafka://host:9092/team
  mlflow-ledger spool ledger+kafka://host:9092/team --json""",
)
@any_uri
@as_json("one document")
def spool(uri: str, as_json: bool) -> None:
    """Show what waits on this host to be sent to a ledger, and what the ledger would not take."""
    from mlflow_ledger.query import spooling

    waiting, log = spooling.spool_of(uri)
    try:
        found = spooling.spooled(waiting)
    finally:
        waiting.close()
        log.close()
    if as_json:
        print_json(found)
        return
    since = f", the oldest since {found.since}" if found.since else ""
    size = human_bytes(found.size_bytes)
    click.echo(safe(f"{found.path}: {found.events} events wait, {size}{since}"))
    if found.waiting:
        click.echo()
        print_table(
            ("event type", "events", "bytes", "since"),
            [(row.type, row.events, row.size_bytes, row.since) for row in found.waiting],
        )
    if found.refused:
        click.echo()
        click.echo(f"{len(found.refused)} events were not taken by the log, and are kept:")
        print_table(
            ("event type", "entity", "actor", "spooled", "refused", "error"),
            [
                (row.type, row.entity, row.actor, row.spooled, row.refused, row.error)
                for row in found.refused
            ],
        )
