"""A small HTTP server for ``/metrics`` and ``/health`` of a service."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from mlflow_ledger.schemas import SettingsError

__all__ = ["serving"]

_TIMEOUT_S = 10.0


@contextmanager
def serving(
    host: str,
    port: int,
    registry: CollectorRegistry,
    health: Callable[[], tuple[bool, dict[str, Any]]],
) -> Iterator[str]:
    """Serve while inside; gives the URL. Port 0 takes any that is free.

    Raises:
        SettingsError: the address cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            if self.path.partition("?")[0] == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, content_type, encode(registry))
            elif self.path.partition("?")[0] == "/health":
                healthy, said = health()
                data = json.dumps(said).encode()
                self._answer(200 if healthy else 503, "application/json", data)
            else:
                self._answer(404, "text/plain", b"there are /metrics and /health\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as inherited
            """Say nothing of requests."""

        def _answer(self, status: int, content_type: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        msg = f"cannot serve metrics at {host}:{port}: {error.strerror}; take another port, or 0"
        raise SettingsError(msg) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_TIMEOUT_S)
