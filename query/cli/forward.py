"""``mlflow-ledger forward``: what waits on this host is sent to its ledger."""

from __future__ import annotations

import click

from .arguments import any_uri, as_json
from .output import print_json, progress_bar, safe

__all__ = ["forward"]


@click.command(
    short_help="Send what waits on this host.",
    epilog="""\b
Examples:
  mlflow-ledger forward ledger+kafka://host:9092/team
  mlflow-ledger forward ledger+kafka://host:9092/team --patience-s 600""",
)
@any_uri
@click.option(
    "--patience-s",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Give up when nothing could be sent for so long.",
)
@click.option("--refused", is_flag=True, help="Send once more what the ledger would not take.")
@as_json("one document")
def forward(uri: str, patience_s: float, refused: bool, as_json: bool) -> None:
    """Send what waits on this host to the ledger: what a dead process left, or one that gave up.

    Processes that log to the ledger do so by themselves, and may meanwhile. Status 1 where
    something is left.
    """
    from mlflow_ledger.bus import Forwarder
    from mlflow_ledger.query import spooling

    spool, log = spooling.spool_of(uri, patience_s)
    try:
        if refused:
            spool.retry_refused()
        before, aside = spool.depth().events, spool.count_refused()
        forwarder = Forwarder(spool, log, uri)
        with progress_bar() as progress:
            left = forwarder.run(
                patience_s, lambda left: progress("forward", max(before - left, 0), before)
            )
        status = forwarder.status()
    finally:
        spool.close()
        log.close()
    aside = status.refused - aside
    sent = forwarder.sent
    if as_json:
        print_json({"sent": sent, "left": left, "refused": aside, "error": status.error})
    else:
        click.echo(f"{sent} events sent, {left} wait")
        if aside:
            click.echo(f"{aside} were not taken, and are kept: mlflow-ledger spool {safe(uri)}")
        if left and status.error:
            click.echo(f"Error: {safe(status.error)}", err=True)
    if left or aside:
        raise click.exceptions.Exit(1)
