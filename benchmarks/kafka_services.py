"""Rows about the services that stand before a ledger in Kafka."""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .bench import Bench
from .brokers import HOME, client_environment
from .rows import KAFKA, Bound, Row

__all__ = ["starts"]

_COMMAND = Path(sys.executable).with_name("mlflow-ledger")
_PATIENCE_S = 60.0
_POLL_S = 0.005
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def starts(bench: Bench) -> list[Row]:
    """How soon the query service answers after its process was started."""
    figures, notes = {}, []
    for kind, store in bench.stores.make("serve", KAFKA).items():
        bench.say(f"starting the query service, {kind}")
        store.new_run()
        store.settle()
        home = {HOME: str(bench.stores.folder / "hosts" / f"serve-{kind.replace(' ', '-')}")}
        settings = client_environment(kind) | home
        times = [_first_answers_s(store.uri, settings) for _ in range(bench.sizes.repetitions + 1)]
        del times[0]  # it compiles what was never imported, as an installer does
        figures[kind] = statistics.median(alive for alive, _ in times) * 1000
        knows = statistics.median(knows for _, knows in times) * 1000
        notes.append(f"serve, {kind}: after {knows:.0f} ms it says how far its state has come")
    return [
        Row(
            "kafka_serve_start", "`mlflow-ledger serve`, start to first answer", "ms",
            "From the start of the process until `/health` is answered; the median start.",
            figures, (Bound("below 1 s", most=1000),), notes=notes,
        )
    ]  # fmt: skip


def _first_answers_s(uri: str, settings: dict[str, str]) -> tuple[float, float]:
    """How long after its start it answers that it is alive, and how far its state has come."""
    port = _free_port()
    began = time.perf_counter()
    with _serving(uri, port, settings) as process:
        while not _answers(port, "/health"):
            assert process.poll() is None, "the query service has ended"
            assert time.perf_counter() - began < _PATIENCE_S, "the query service does not answer"
            time.sleep(_POLL_S)
        alive_s = time.perf_counter() - began
        assert _answers(port, "/v1/position")
        return alive_s, time.perf_counter() - began


@contextmanager
def _serving(uri: str, port: int, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {k: v for k, v in (os.environ | settings).items() if k != _NO_BYTECODE}
    process = subprocess.Popen(
        [_COMMAND, "serve", uri, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
