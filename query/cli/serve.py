"""``mlflow-ledger serve``: the query service."""

from __future__ import annotations

import logging

import click

from .arguments import ledger_at, uri

__all__ = ["serve"]


@click.command(
    short_help="Answer clients that keep no replica, over HTTP.",
    epilog="""\b
Examples:
  mlflow-ledger serve ledger+kafka://broker:9092/team
  MLFLOW_LEDGER_QUERY_TOKEN=… mlflow-ledger serve ledger+kafka://broker:9092/team --host 0.0.0.0
  MLFLOW_TRACKING_URI="ledger+kafka://broker:9092/team?query=http://host:8080" python train.py""",
)
@uri
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to answer at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The port; 0 takes one that is free.",
)
@click.option(
    "--without-token",
    is_flag=True,
    help="Answer other machines without a token: whoever reaches the port reads everything.",
)
def serve(uri: str, host: str, port: int, without_token: bool) -> None:
    """Answer reads, searches and verdicts over HTTP until SIGTERM or Ctrl-C.

    Clients name it in their URI (`?query=http://host:8080`), keep nothing on their host, and
    publish to Kafka themselves. Its interface is described at `/docs`. With
    MLFLOW_LEDGER_QUERY_TOKEN set, every request but `/health` has to bring that token; without, it
    answers this machine alone.
    """
    from mlflow_ledger.bus import KAFKA_SCHEME, Settings, options_of
    from mlflow_ledger.query.service import is_local
    from mlflow_ledger.query.service import serve as answer

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    settings = Settings.read(**options_of(uri))
    if uri.startswith(f"{KAFKA_SCHEME}:") and settings.query is not None:
        msg = (
            "a query service needs a replica of its own: leave query= out of the URI, and "
            "MLFLOW_LEDGER_QUERY out of its environment"
        )
        raise click.UsageError(msg)
    token = settings.query_token
    if token is None and not is_local(host) and not without_token:
        msg = (
            f"at {host} other machines could read everything: set MLFLOW_LEDGER_QUERY_TOKEN, or "
            "say --without-token"
        )
        raise click.UsageError(msg)

    def begun(address: str) -> None:
        click.echo(f"answering at {address}; its interface: {address}/docs")

    answer(lambda: ledger_at(uri, present=True), host, port, token, begun)
