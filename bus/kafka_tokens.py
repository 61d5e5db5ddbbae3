"""Tokens for OAUTHBEARER: from a file that someone renews, or from an identity provider."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import ssl
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mlflow_ledger.schemas import LogUnavailable

from .fork import forkable

__all__ = ["ClientTokens", "FileTokens", "Token", "Tokens"]

_MOST_BYTES = 64 * 1024
_TIMEOUT_S = 10.0
_NEVER_S = 1e11  # the year 5138: what is beyond is no moment
_FRESH = 0.8
"""After this part of its life a token is replaced: before brokers ask for a new one (85 %)."""

_log = logging.getLogger(__name__)


class Token(NamedTuple):
    """What a client shows to the brokers."""

    value: str
    expires_s: float | None
    """When it ends, in seconds since 1970; None where that cannot be told."""

    def __repr__(self) -> str:
        """Nothing secret."""
        return f"Token(<{len(self.value)} characters>, expires_s={self.expires_s})"


class Tokens(Protocol):
    """Where tokens come from. Threads may share it, and a fork."""

    def token(self) -> Token:
        """A token that is good now, as far as can be told here; takes seconds at most.

        Raises:
            LogUnavailable: there is none to be had.
        """


class FileTokens:
    """The token that a file holds whenever it is asked for, as Kubernetes projects one."""

    def __init__(self, path: Path) -> None:
        """Read from ``path``, which is renewed by someone else."""
        self._path = path

    def token(self) -> Token:
        """Read the file."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise self._unfit(f"cannot be read ({error.strerror})") from error
        value = text.decode("ascii", "replace").strip()
        if not value:
            raise self._unfit("is empty")
        if len(text) > _MOST_BYTES or not _is_token(value):
            raise self._unfit(f"holds no token: one is a line of at most {_MOST_BYTES} bytes")
        expires_s = _expiry_s(value)
        if expires_s is not None and expires_s < time.time():
            ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_s))
            _log.warning("the token in %s has expired at %s: who renews it?", self._path, ended)
        return Token(value, expires_s)

    def _unfit(self, why: str) -> LogUnavailable:
        return LogUnavailable(
            f"the token file {self._path} {why}; it is named by "
            "MLFLOW_LEDGER_KAFKA_OAUTH_TOKEN_FILE and has to hold the token for Kafka"
        )


class ClientTokens:
    """Tokens that an identity provider gives for a client's id and secret, kept while fresh."""

    fork_order = 9

    def __init__(
        self, url: str, client_id: str, secret: str, scope: str | None, cafile: str | None
    ) -> None:
        """Ask at ``url``, the token endpoint; ``cafile`` tells who may sign for it."""
        self._url = url
        self._client = (client_id, secret)
        self._scope = scope
        self._cafile = cafile
        self._asking = threading.Lock()
        self._token: Token | None = None
        self._fresh_until_s = 0.0
        forkable(self)

    def token(self) -> Token:
        """The token that is kept, or another one where most of its life is over."""
        with self._asking:
            kept = self._token
            if kept is not None and time.monotonic() < self._fresh_until_s:
                return kept
            try:
                token, lifetime_s = self._ask()
            except LogUnavailable as error:
                if kept is None or kept.expires_s is None or kept.expires_s <= time.time():
                    raise
                _log.warning("goes on with the token it has: %s", error)
                return kept
            self._token = token
            self._fresh_until_s = time.monotonic() + _FRESH * lifetime_s
            return token

    def before_fork(self) -> None:
        """Nothing: no connection stays open, and whoever is asking may go on."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """The lock may be held by a thread that is not here."""
        self._asking = threading.Lock()

    def _ask(self) -> tuple[Token, float]:
        """A new token, and how many seconds it lives."""
        status, body = self._post()
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise self._failed(f"HTTP {status} without a JSON object")
        value = said.get("access_token")
        if not isinstance(value, str) or not _is_token(value):
            what = ": ".join(str(said[k]) for k in ("error", "error_description") if k in said)
            raise self._failed(f"HTTP {status}: {what or 'no access_token'}")
        expires_s, lifetime_s = _expiry_s(value), _seconds(said.get("expires_in"))
        if lifetime_s is None:
            lifetime_s = 0.0 if expires_s is None else expires_s - time.time()
        if expires_s is None and lifetime_s:
            expires_s = time.time() + lifetime_s
        return Token(value, expires_s), max(lifetime_s, 0.0)

    def _post(self) -> tuple[int, bytes]:
        import httpx

        form = {"grant_type": "client_credentials"}
        if self._scope is not None:
            form["scope"] = self._scope
        deadline, body = time.monotonic() + _TIMEOUT_S, b""
        try:
            trusted = ssl.create_default_context(cafile=self._cafile)
            with (
                httpx.Client(verify=trusted, timeout=_TIMEOUT_S / 2) as client,
                client.stream("POST", self._url, data=form, auth=self._client) as answer,
            ):
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > _MOST_BYTES or time.monotonic() > deadline:
                        raise self._failed(f"more than {_MOST_BYTES} bytes or {_TIMEOUT_S:g} s")
                return answer.status_code, body
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from error

    def _failed(self, why: str) -> LogUnavailable:
        told = why.replace(self._client[1], "…")[:500]
        return LogUnavailable(
            f"no token for Kafka from {self._url} ({told}); see "
            "MLFLOW_LEDGER_KAFKA_OAUTH_TOKEN_URL, _CLIENT_ID, _CLIENT_SECRET and _SCOPE"
        )


def _is_token(value: str) -> bool:
    """Whether this can be shown to a broker: one line, and no control characters."""
    return bool(value) and value.isascii() and value.isprintable()


def _expiry_s(token: str) -> float | None:
    """When a token ends, where it is a JSON Web Token that says so; nothing is verified here."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return _seconds(claims.get("exp")) if isinstance(claims, dict) else None


def _seconds(said: object) -> float | None:
    """A number of seconds; some providers say it as text."""
    try:
        seconds = float(said) if isinstance(said, str | int | float) else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < _NEVER_S else None
