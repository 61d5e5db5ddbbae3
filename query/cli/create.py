"""``mlflow-ledger create``: a ledger begins before anything is logged to it."""

from __future__ import annotations

import click

from .arguments import any_uri, as_json
from .output import print_json

__all__ = ["create"]


@click.command(
    short_help="Begin a ledger.",
    epilog="""\b
Examples:
  mlflow-ledger create ledger+kafka://host:9092/team --erasable
  mlflow-ledger create ledger:./store""",
)
@any_uri
@click.option(
    "--erasable",
    is_flag=True,
    help="Seal what is said with a key for each subject, so that `redact` can erase it.",
)
@as_json("one document")
def create(uri: str, erasable: bool, as_json: bool) -> None:
    """Begin the ledger of URI, which else begins with the first thing that is logged to it.

    Whether contents can be erased from a ledger in Kafka is decided here, and for ever. From one in
    a folder they always can.
    """
    from mlflow_ledger.consumers import begin_ledger

    ledger = begin_ledger(uri, erasable=erasable)
    if as_json:
        print_json({"ledger_id": ledger.ledger_id, "erasable": erasable})
        return
    click.echo(f"ledger {ledger.ledger_id} begins")
