"""The query service as a process: one address, a pool of threads, an end within a bound."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn
from pydantic import SecretStr

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import LedgerError, SettingsError

from .app import build_app
from .reader import Reader

__all__ = ["is_local", "serve"]

_MOST_CONNECTIONS = 512
_WAITING = 256
_KEEP_ALIVE_S = 75
_END_S = 10


_log = logging.getLogger(__name__)


def serve(
    opening: Callable[[], Ledger],
    host: str,
    port: int,
    token: SecretStr | None,
    begun: Callable[[str], None],
) -> None:
    """Answer until the process is told to end; ``begun`` is told the address.

    The ledger is opened once the address is had: until then `/health` is answered, and whoever
    asks for more waits.

    Raises:
        SettingsError: the address cannot be had.
        LedgerError: the ledger cannot be opened.
    """
    hosts = None
    if token is None and is_local(host):
        hosts = frozenset({"localhost", "127.0.0.1", "[::1]", host})
    listening = _listen(host, port)
    reader = Reader(opening)
    config = uvicorn.Config(
        build_app(reader, token, hosts),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_END_S,
    )
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, _end)
    server = _Opening(config, reader, lambda: begun(address))
    server.run(sockets=[listening])
    server.check()


class _Opening(uvicorn.Server):
    """A server that opens its ledger while it listens, and says when it has."""

    def __init__(self, config: uvicorn.Config, reader: Reader, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._reader = reader
        self._begun = begun
        self._opened: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._opened = asyncio.create_task(self._open())
        self._opened.add_done_callback(self._heed)

    def check(self) -> None:
        """Raise what kept the ledger from being opened."""
        if self._opened is not None and self._opened.done() and not self._opened.cancelled():
            self._opened.result()

    async def _open(self) -> None:
        await asyncio.to_thread(lambda: self._reader.ledger)
        self._begun()
        try:
            await asyncio.to_thread(self._reader.warm_up)
        except LedgerError as error:
            _log.warning("%s; the first who asks will be told again", error)

    def _heed(self, opened: asyncio.Task[None]) -> None:
        if opened.cancelled() or opened.exception() is not None:
            self.should_exit = True


def _end(*_: object) -> None:
    """End well: uvicorn sends itself the signal again once all is answered."""
    raise SystemExit(0)


def is_local(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_WAITING)
    except OSError as error:
        msg = f"cannot listen at {host} port {port}: {error}; name another with --host and --port"
        raise SettingsError(msg) from error
    return listening
