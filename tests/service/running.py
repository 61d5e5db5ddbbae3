"""Query services for tests: in a thread of this process, and as a process of their own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from mlflow_ledger.bus import KafkaPlace, Settings, kafka_place
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.consumers.kafka_ledger import KafkaLedger
from mlflow_ledger.consumers.replica import find_replica
from mlflow_ledger.query.service import Leases, Reader, build_app
from tests.integration.programs import COMMAND, environment

ENDS_WITHIN_S = 60


def reading(uri: str, home: Path) -> KafkaLedger:
    """A ledger in Kafka with a replica of its own below ``home``."""
    place: KafkaPlace = kafka_place(uri)
    settings = Settings(home=home)
    return KafkaLedger(find_replica(place, home), settings)


class Threaded:
    """A service in a thread."""

    def __init__(
        self, ledger: Ledger, *, token: str | None = None, leases: Leases | None = None
    ) -> None:
        self.reader = Reader(lambda: ledger, leases)
        secret = None if token is None else SecretStr(token)
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            build_app(self.reader, secret, frozenset({"127.0.0.1"})),
            log_level="warning",
            timeout_keep_alive=75,
        )
        self._server = uvicorn.Server(config)
        # Connections wait in the socket's queue until the server has begun.
        self._thread = threading.Thread(target=self._server.run, args=([listening],))
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(ENDS_WITHIN_S)
        assert not self._thread.is_alive()


@contextmanager
def threaded(ledger: Ledger, **options: object) -> Iterator[Threaded]:
    service = Threaded(ledger, **options)  # type: ignore[arg-type]
    try:
        yield service
    finally:
        service.stop()


class Process:
    """``mlflow-ledger serve`` as a user starts it; it can be killed and started again."""

    def __init__(self, folder: Path, uri: str, *options: str, **more: str) -> None:
        self._folder, self._uri, self._options, self._more = folder, uri, options, more
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [COMMAND, "serve", self._uri, "--port", str(self.port), *self._options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
            env=environment(self._folder, **self._more),
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("answering at http://"), line
        self.url = line.split()[2].rstrip(";")
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        status = self.process.wait(ENDS_WITHIN_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status
