"""``mlflow-ledger webhooks``: the bridge that tells webhooks from the log."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import as_json, ledger_at, since, uri
from .output import print_json, print_json_line, print_table, safe

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Ledger
    from mlflow_ledger.producers.webhook_bridge import Attempt, Bridge
    from mlflow_ledger.query.deliveries import Deliveries

__all__ = ["webhooks"]

_FILE = "webhooks.sqlite"
_STALLED_S = 60.0


@click.command(
    short_help="Tell webhooks from the log, and lose no event.",
    epilog="""\b
Examples:
  mlflow-ledger webhooks ledger:./store
  mlflow-ledger webhooks ledger:./store --since 2026-03-03T12:00:00Z --webhook ID --once
  mlflow-ledger webhooks ledger:./store --status""",
)
@uri
@click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Where it is kept how far each webhook has got; {_FILE} in the ledger's folder.",
)
@since
@click.option(
    "--webhook",
    "only",
    multiple=True,
    metavar="ID",
    help="With --since: replay to this webhook only; may be given again.",
)
@click.option("--once", is_flag=True, help="Deliver what stands in the log now, and end.")
@click.option(
    "--give-up-after",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Put a delivery aside that was not taken for so long; without it nothing is given up.",
)
@click.option("--retry-given-up", is_flag=True, help="Deliver again what was put aside.")
@click.option("--status", is_flag=True, help="Say how far each webhook has got; deliver nothing.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /metrics (Prometheus) and /health there; 0 takes any free port and prints it.",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, metavar="HOST")
@as_json("one document a line for each attempt; one document for --status")
def webhooks(
    uri: str,
    cursor: Path | None,
    since: str | None,
    only: tuple[str, ...],
    once: bool,
    give_up_after: float | None,
    retry_given_up: bool,
    status: bool,
    metrics_port: int | None,
    metrics_host: str,
    as_json: bool,
) -> None:
    """Deliver webhooks from the log: at least once, each in the log's order, until they take it.

    Payloads, headers and signatures are MLflow's. Servers on the ledger must not tell webhooks as
    well: set MLFLOW_LEDGER_WEBHOOKS=bridge for them. --since replays what webhooks listen for
    now. Status 1 where --once leaves something.
    """
    from mlflow_ledger.producers.webhook_bridge import Bridge
    from mlflow_ledger.query.deliveries import Deliveries

    if only and since is None:
        msg = "--webhook says whom to replay to; say from when by --since"
        raise click.UsageError(msg)
    ledger = ledger_at(uri, present=True)
    path = cursor or ledger.folder / _FILE
    deliveries = Deliveries(path, ledger.ledger_id, looking=status)
    try:
        if status:
            _print_status(ledger, deliveries, as_json=as_json)
            return
        if retry_given_up:
            click.echo(f"{deliveries.take_up_again()} deliveries are due again", err=True)
        bridge = Bridge(ledger, deliveries, _Telling(as_json), give_up_after_s=give_up_after)
        if since is not None:
            bridge.feed.begin_at(since, _chosen(bridge, only))
        with _serving(bridge, metrics_host, metrics_port):
            click.echo(f"telling webhooks from {safe(uri)}", err=True)
            complete = asyncio.run(_run(bridge, once=once))
    finally:
        deliveries.close()
        ledger.close()
    if not complete:
        raise click.exceptions.Exit(1)


def _chosen(bridge: Bridge, only: tuple[str, ...]) -> dict[str, set[str]]:
    active = bridge.active()
    unknown = sorted(set(only) - active.keys())
    if unknown:
        msg = f"there is no active webhook {', '.join(unknown)}; active are {', '.join(active)}"
        raise click.UsageError(msg)
    return {webhook_id: active[webhook_id] for webhook_id in only or active}


async def _run(bridge: Bridge, *, once: bool) -> bool:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, bridge.stop)
    if once:
        return await bridge.once()
    await bridge.run()
    return True


class _Telling:
    """Prints attempts: what was taken to the output, what was not to the error stream."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, attempt: Attempt) -> None:
        taken = attempt.outcome == "delivered"
        if self._as_json:
            print_json_line(attempt._asdict())
        if self._as_json and taken:
            return
        what = f"{attempt.event} {attempt.entity}, delivery {attempt.delivery_id}"
        text = f"{attempt.outcome}  {attempt.name} ({attempt.webhook_id})  {what}"
        if attempt.outcome == "failed":
            text += f"  attempt {attempt.attempts}: {attempt.error}"
            text += f"; again in {attempt.again_in_s:.0f} s, and what comes after it waits"
        elif not taken:
            text += f"  {attempt.error}"
        click.echo(safe(text), err=not taken)


def _print_status(ledger: Ledger, deliveries: Deliveries, *, as_json: bool) -> None:
    from mlflow_ledger.query import all_webhooks
    from mlflow_ledger.schemas import format_time

    known = {row.webhook_id: row for row in ledger.query(all_webhooks)}
    rows: list[dict[str, Any]] = []
    counts = deliveries.counts()
    for webhook_id in dict.fromkeys([*known, *counts]):
        due, since_ms, given_up = counts.get(webhook_id, (0, 0, 0))
        failing = deliveries.failing(webhook_id)
        webhook = known.get(webhook_id)
        rows.append(
            {
                "webhook_id": webhook_id,
                "name": webhook.name if webhook else None,
                "status": webhook.status if webhook else "DELETED",
                "due": due,
                "oldest": format_time(since_ms) if due else None,
                "attempts": failing.attempts if failing else 0,
                "error": failing.error if failing else None,
                "given_up": given_up,
            }
        )
    if as_json:
        print_json({"cursor": str(deliveries.path), "webhooks": rows})
    elif rows:
        print_table(list(rows[0]), [list(row.values()) for row in rows])


@contextlib.contextmanager
def _serving(bridge: Bridge, host: str, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    from mlflow_ledger.query.metrics_server import serving
    from mlflow_ledger.query.webhook_metrics import webhook_registry

    figures = bridge.figures

    def done() -> dict[str, float]:
        return {
            "mlflow_ledger_webhook_deliveries_total": figures.delivered,
            "mlflow_ledger_webhook_failures_total": figures.failed,
            "mlflow_ledger_webhook_given_up_total": figures.given_up,
            "mlflow_ledger_webhook_log_up": float(figures.log_answers),
        }

    def health() -> tuple[bool, dict[str, Any]]:
        healthy = figures.log_answers and time.monotonic() - figures.alive_s < _STALLED_S
        due = sum(count for count, _, _ in bridge.deliveries.counts().values())
        return healthy, {"status": "ok" if healthy else "degraded", "due": due}

    with serving(host, port, webhook_registry(bridge.deliveries, done), health) as url:
        click.echo(f"metrics at {url}/metrics, health at {url}/health", err=True)
        yield
