"""A query service as its clients reach it: one connection a thread, kept open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import urllib3
from pydantic import SecretStr

from mlflow_ledger.bus import forkable
from mlflow_ledger.schemas import DecodeError, LogUnavailable, SettingsError

from .wire import dump, error_from, load

__all__ = ["QueryService"]

_CONNECT_S, _ANSWER_S = 2.0, 60.0
_MOST_AWAY_S = 10.0
_FIRST_REST_S, _MOST_REST_S = 0.02, 0.5
_CONNECTIONS = 32
_PIECE_BYTES = 1024 * 1024
_OK, _NO_CONTENT, _UNAUTHORIZED, _BUSY = 200, 204, 401, 503


class QueryService:
    """Sends documents and gets documents. All that is asked may be asked twice.

    Where the service is away or busy, it is asked again for some seconds: it may be starting.
    """

    fork_order = 4

    def __init__(self, url: str, token: SecretStr | None = None) -> None:
        """Nothing is connected before the first request."""
        self.url = url
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._pool = self._new_pool()
        forkable(self)

    def get(self, path: str) -> Any:
        """What stands at a path."""
        return self._ask("GET", path, None)

    def pieces(self, path: str) -> Iterator[bytes]:
        """The bytes at a path, in pieces."""
        try:
            answer = self._pool.request(
                "GET", self.url + path, headers=self._headers, redirect=False, preload_content=False
            )
            if answer.status != _OK:
                answer.read(cache_content=True)
                raise self._error(answer)
            yield from answer.stream(_PIECE_BYTES)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise self._away(error) from error

    def post(self, path: str, document: Any) -> Any:
        """The answer to a document.

        Raises:
            LogUnavailable: the service is away, or takes no more requests.
            SettingsError: it does not take our token, or is no query service.
            Exception: what was raised over there, as itself.
        """
        return self._ask("POST", path, dump(document))

    def delete(self, path: str) -> None:
        """Let go of something over there; whether it is still there does not matter."""
        try:
            self._request("DELETE", path, None)
        except urllib3.exceptions.HTTPError:
            return  # it has a limited life anyhow

    def close(self) -> None:
        """Disconnect; the next request connects again."""
        self._pool.clear()

    def before_fork(self) -> None:
        """Nothing is shared but the connections, which the child leaves alone."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Connect anew: on an inherited connection two processes would mix up their answers."""
        self._pool = self._new_pool()

    @staticmethod
    def _new_pool() -> urllib3.PoolManager:
        return urllib3.PoolManager(
            num_pools=1,
            maxsize=_CONNECTIONS,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_ANSWER_S),
        )

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        deadline = time.monotonic() + _MOST_AWAY_S
        rest_s = _FIRST_REST_S
        while True:
            try:
                answer = self._request(method, path, body)
                if answer.status != _BUSY:
                    return self._document(answer)
                error: Exception = self._error(answer)
            except urllib3.exceptions.HTTPError as failure:
                error = failure
            if time.monotonic() + rest_s > deadline:
                raise self._away(error) from error
            time.sleep(rest_s)
            rest_s = min(2 * rest_s, _MOST_REST_S)

    def _request(
        self, method: str, path: str, body: bytes | None
    ) -> urllib3.response.BaseHTTPResponse:
        return self._pool.request(
            method, self.url + path, body=body, headers=self._headers, redirect=False
        )

    def _document(self, answer: urllib3.response.BaseHTTPResponse) -> Any:
        if answer.status == _OK:
            return load(answer.data)
        raise self._error(answer)

    def _error(self, answer: urllib3.response.BaseHTTPResponse) -> Exception:
        if answer.status == _UNAUTHORIZED:
            return SettingsError(
                f"the query service at {self.url} does not take this token; set "
                "MLFLOW_LEDGER_QUERY_TOKEN to the one it was started with"
            )
        try:
            return error_from(load(answer.data)["error"])
        except (DecodeError, KeyError, TypeError, ValueError):
            return SettingsError(
                f"{self.url} is no query service of a ledger: it answers with status "
                f"{answer.status}; one is started with `mlflow-ledger serve`"
            )

    def _away(self, error: Exception) -> LogUnavailable:
        if isinstance(error, LogUnavailable):
            return error
        return LogUnavailable(
            f"the query service at {self.url} does not answer ({error}); start it again with "
            "`mlflow-ledger serve`, or leave query= out of the URI to keep a replica on this host"
        )
