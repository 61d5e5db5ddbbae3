"""``mlflow-ledger asyncapi``: the topics described for those who read them without us."""

from __future__ import annotations

import click

from .output import print_json

__all__ = ["asyncapi"]


@click.command(
    short_help="The topics of a ledger in Kafka, as an AsyncAPI document.",
    epilog="""\b
Example:
  mlflow-ledger asyncapi > asyncapi.json""",
)
def asyncapi() -> None:
    """Print the AsyncAPI 3 document, in JSON: topics, keys, headers, every event's Avro schema."""
    from mlflow_ledger.bus import asyncapi as document

    print_json(document())
