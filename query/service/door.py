"""Who may ask the query service, and how much at once: looked at before anything is read."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_ledger.consumers.wire import dump

__all__ = ["MOST_REQUEST_BYTES", "Door"]

MOST_REQUEST_BYTES = 32 * 1024 * 1024
_TOO_LARGE = f"a request takes at most {MOST_REQUEST_BYTES} bytes"
_OPEN = "/health"


class Door:
    """Asks for the token, and takes no request that is too large."""

    def __init__(self, app: ASGIApp, token: SecretStr | None, hosts: frozenset[str] | None) -> None:
        """Stand before ``app``; ``hosts`` None takes requests by any name."""
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http" or scope["path"] == _OPEN:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self._knows(headers.get(b"authorization", b"")):
            await _refuse(
                send, 401, "this query service asks for `Authorization: Bearer <token>`, with what "
                "MLFLOW_LEDGER_QUERY_TOKEN says where it was started",
                [(b"www-authenticate", b"Bearer")],
            )  # fmt: skip
        elif self._hosts is not None and _host(headers.get(b"host", b"")) not in self._hosts:
            # A web page could have its own name lead here, and read what a browser fetches for it.
            await _refuse(send, 403, "this query service has no token, and answers to local names")
        elif _too_large(headers.get(b"content-length", b"0")):
            await _refuse(send, 413, _TOO_LARGE)
        else:
            await self._app(scope, _bounded(receive), send)

    def _knows(self, given: bytes) -> bool:
        if self._token is None:
            return True
        scheme, _, token = given.partition(b" ")
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"


def _bounded(receive: Receive) -> Receive:
    left = MOST_REQUEST_BYTES

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return bounded


async def _refuse(
    send: Send, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    body = dump({"error": {"kind": "SettingsError", "message": message}})
    plain = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*plain, *headers]})
    await send({"type": "http.response.body", "body": body})


def _too_large(announced: bytes) -> bool:
    return announced.isdigit() and int(announced) > MOST_REQUEST_BYTES


def _host(header: bytes) -> str:
    """A host's name without its port."""
    name = header.decode("latin-1")
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
