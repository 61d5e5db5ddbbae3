"""``mlflow-ledger consume``: the service that keeps a replica up with its log."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from .arguments import ledger_at, uri

if TYPE_CHECKING:
    from mlflow_ledger.bus import Spool
    from mlflow_ledger.consumers import Checkpointing, Ledger, Publishing, Service, Storing
    from mlflow_ledger.query.service_metrics import Counts

__all__ = ["consume"]


@click.command(
    short_help="Follow the log, publish snapshots, store artifacts.",
    epilog="""\b
Example:
  mlflow-ledger consume ledger+kafka://host:9092/team --metrics-port 9464""",
)
@uri
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /metrics (Prometheus) and /health there; 0 takes any free port and prints it.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="The address to serve them at; 0.0.0.0 lets other hosts ask.",
)
@click.option("--create", is_flag=True, help="Begin the ledger where there is none.")
@click.option("--once", is_flag=True, help="Catch up, publish what is due, and end.")
@click.option(
    "--snapshot-every",
    type=click.IntRange(min=1),
    metavar="EVENTS",
    help="Publish a snapshot after so many events, and at least a tenth of all.",
)
@click.option(
    "--archive", is_flag=True, help="Seal the log into segments in the blob store, hour by hour."
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long the end may take after SIGTERM or SIGINT; a second signal ends at once.",
)
def consume(
    uri: str,
    metrics_port: int | None,
    metrics_host: str,
    create: bool,
    once: bool,
    snapshot_every: int | None,
    archive: bool,
    drain_seconds: float,
) -> None:
    """Keep this host's replica up with the log, until a signal ends it.

    Publishes snapshots for searches, and, with a blob store that hosts share, for hosts that have
    no replica yet; writes artifacts that came over the bus to that store. With a key
    (MLFLOW_LEDGER_SIGNING_KEY) it signs checkpoints of the log. While the brokers are away it waits
    for them. Any number may run, on any number of hosts.
    """
    from mlflow_ledger.consumers import Service

    duties = _Duties(snapshot_every, archive=archive)
    service = Service(lambda: ledger_at(uri, create=create, present=True), duties.of)
    with _ending(service, drain_seconds), _serving(service, duties, metrics_host, metrics_port):
        click.echo(f"following {uri}", err=True)
        try:
            service.once() if once else service.run()
            duties.finish(service.status.seq)
        finally:
            duties.close()
            if service.ledger is not None:
                service.ledger.close()
        where = service.status.position
        click.echo(f"ended at {where}" if where else "ended; nothing was read", err=True)


class _Duties:
    """What the service does besides folding, and what is said of that."""

    def __init__(self, snapshot_every: int | None, *, archive: bool) -> None:
        self._every = snapshot_every
        self._archive = archive
        self._publishing: Publishing | None = None
        self._storing: Storing | None = None
        self._checkpointing: Checkpointing | None = None
        self._spool: Spool | None = None

    def of(self, ledger: Ledger) -> Sequence[Any]:
        from mlflow_ledger.consumers import (
            Checkpointing,
            KafkaLedger,
            Publishing,
            SchemaPublishing,
            Sealing,
            Storing,
            signing_key,
        )

        self._publishing = Publishing(ledger, ledger.bundles(), self._every)
        duties: list[Any] = [self._publishing]
        if ledger.shared and ledger.settings.blobs is not None:
            self._storing = Storing(ledger)
            duties.append(self._storing)
        key = signing_key(ledger)
        if key is not None:
            self._checkpointing = Checkpointing(ledger, key)
            duties.append(self._checkpointing)
        if isinstance(ledger, KafkaLedger):
            self._spool = ledger.spool
            duties.append(SchemaPublishing(ledger))
        if self._archive:
            duties.append(Sealing(ledger))
        return duties

    def counts(self) -> Counts:
        from mlflow_ledger.query.service_metrics import Counts

        publishing, storing, signing = self._publishing, self._storing, self._checkpointing
        return Counts(
            snapshots_published=publishing.published if publishing else 0,
            snapshots_shared=publishing.shared if publishing else 0,
            blobs_stored=storing.stored if storing else 0,
            blob_failures=storing.failures if storing else 0,
            blobs_waiting=storing.waiting if storing else 0,
            checkpoints_signed=signing.signed if signing else 0,
            spool_depth=self._spool.depth().events if self._spool else 0,
        )

    def finish(self, seq: int) -> None:
        """Before the end of its own will: sign what was not due yet."""
        if self._checkpointing is not None:
            self._checkpointing.finish(seq)

    def close(self) -> None:
        if self._publishing is not None:
            self._publishing.close()


@contextlib.contextmanager
def _serving(service: Service, duties: _Duties, host: str, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    from mlflow_ledger.query.metrics_server import serving
    from mlflow_ledger.query.service_metrics import health, registry_of

    def asked() -> tuple[bool, dict[str, Any]]:
        healthy = service.healthy()
        return healthy, health(service.status, healthy=healthy)

    with serving(host, port, registry_of(service.status, duties.counts), asked) as url:
        click.echo(f"metrics at {url}/metrics, health at {url}/health", err=True)
        yield


@contextlib.contextmanager
def _ending(service: Service, drain_s: float) -> Iterator[None]:
    """On a first signal let the service end in its own way, for a while; on a second end at once.

    Whatever is under way then is either done as a whole or was never begun, for all others.
    """

    def end(number: int, _frame: object) -> None:
        if service.stopping:
            os._exit(128 + number)
        service.stop()
        late.start()
        name = signal.Signals(number).name
        # Whoever was just writing to the error stream may not be interrupted by a second write.
        os.write(2, f"{name}: ending within {drain_s:g} s; once more ends at once\n".encode())

    late = threading.Timer(drain_s, lambda: os._exit(0))
    late.daemon = True
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        late.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
