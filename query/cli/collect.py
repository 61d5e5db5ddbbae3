"""``mlflow-ledger collect``: blobs that nothing names any more, removed after a grace."""

from __future__ import annotations

import time

import click

from .arguments import as_json, ledger_at, uri
from .output import human_bytes, print_json

__all__ = ["collect"]

_DAY_MS = 24 * 60 * 60 * 1000


@click.command(
    short_help="Remove blobs that nothing names any more.",
    epilog="""\b
Examples:
  mlflow-ledger collect ledger:./store
  mlflow-ledger collect ledger:./store --yes --grace-days 30""",
)
@uri
@click.option(
    "--grace-days",
    type=click.FloatRange(min=0),
    default=7,
    show_default=True,
    help="How long a blob stays condemned before it is removed.",
)
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@as_json("one document")
def collect(uri: str, grace_days: float, yes: bool, as_json: bool) -> None:
    """Condemn blobs that no artifact names any more, and remove those condemned long enough.

    Artifacts leave the ledger by ``mlflow gc``; their bytes stay until they are collected here. A
    blob that is logged again meanwhile is rescued. Both steps are events in the log.
    """
    from mlflow_ledger import consumers

    ledger = ledger_at(uri, present=True)
    now_ms = time.time_ns() // 1_000_000
    plan = consumers.plan_collection(ledger, now_ms, round(grace_days * _DAY_MS))
    done = consumers.collect(ledger, plan) if yes else plan
    parts = {"condemned": done.condemn, "waiting": done.wait, "removed": done.remove}
    if as_json:
        print_json(
            {"done": yes}
            | {
                name: [{"digest": d, "size_bytes": n} for d, n in blobs]
                for name, blobs in parts.items()
            }
        )
        return
    for name, blobs in parts.items():
        size = human_bytes(sum(size_bytes for _, size_bytes in blobs))
        verb = name if yes or name == "waiting" else f"to be {name}"
        click.echo(f"{verb}: {len(blobs)} blobs, {size}")
    if not yes:
        click.echo("nothing was done; --yes does it")
