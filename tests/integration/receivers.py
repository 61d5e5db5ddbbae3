"""Receivers of webhooks: small HTTP servers that keep what they are sent, and refuse on demand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from .programs import wait_until


class Request(NamedTuple):
    """One request as it came; ``status`` is how it was answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def told(self) -> tuple[str, Any]:
        """The event's name and its payload: what does not depend on the moment."""
        document = self.document
        return f"{document['entity']}.{document['action']}", document["data"]

    @property
    def delivery_id(self) -> str:
        return self.headers["x-mlflow-delivery-id"]

    def is_signed(self, secret: str) -> bool:
        """Whether it bears the signature that MLflow's documentation has receivers check."""
        moment = self.headers["x-mlflow-timestamp"]
        signed = f"{self.delivery_id}.{moment}.{self.body.decode()}"
        wanted = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        return self.headers["x-mlflow-signature"] == f"v1,{base64.b64encode(wanted).decode()}"


class Receiver:
    """``answer`` gives the status for a request, 200 if it is left alone."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], int] = lambda _: 200
        self.headers: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def taken(self, path: str = "/") -> list[Request]:
        """What was sent to a path and answered with success."""
        return [r for r in self.requests if r.path == path and r.status < 300]

    def wait(self, count: int, path: str = "/") -> list[Request]:
        wait_until(lambda: len(self.taken(path)) >= count, 60, f"{count} at {path}")
        return self.taken(path)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # self is the handler
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size_bytes = int(self.headers["Content-Length"])
                body = self.rfile.read(size_bytes)
                if len(body) < size_bytes:
                    return  # the sender has died
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.path, headers, body, 0)
                status = receiver.answer(request)
                receiver.requests.append(request._replace(status=status))
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited
                """Say nothing of requests."""

        return Handler


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()
