"""``mlflow-ledger rebuild``: the state and analytics thrown away and folded again."""

from __future__ import annotations

import time

import click

from .arguments import as_json, ledger_at, uri
from .output import print_json, progress_bar

__all__ = ["rebuild"]


@click.command(
    short_help="Throw state and analytics away and fold again.",
    epilog="""\b
Example:
  mlflow-ledger rebuild ledger:./store""",
)
@uri
@as_json("one document")
def rebuild(uri: str, as_json: bool) -> None:
    """Throw the state and analytics away and fold the log again; the log stays as it is.

    Whoever writes meanwhile waits; readers go on with the old state until the new one is there.
    """
    from mlflow_ledger.consumers import Analytics

    ledger = ledger_at(uri, present=True)
    began = time.monotonic()
    with progress_bar() as progress:
        position = ledger.rebuild(lambda done, of: progress("state", done, of))
        progress("analytics", 0, 1)
        analytics = Analytics(ledger)
        try:
            analytics.publish()
        finally:
            analytics.close()
        progress("analytics", 1, 1)
    seconds = time.monotonic() - began
    events = ledger.log.last_offset()
    if as_json:
        print_json({"position": str(position), "events": events, "seconds": round(seconds, 3)})
        return
    click.echo(f"folded {events} events in {seconds:.2f} s, up to {position}")
