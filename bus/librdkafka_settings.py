"""How librdkafka is told to reach a cluster: our settings in its words."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from .kafka_settings import KafkaPlace, KafkaSettings
from .kafka_tokens import Tokens

__all__ = ["connection", "making", "socket_timeout_ms"]

_LEAST_SOCKET_TIMEOUT_MS = 2_000  # it has to be longer than a fetch waits, by a second
_MOST_SOCKET_TIMEOUT_MS = 300_000
_CRITICAL = 2  # of its numbers, as syslog has them
_LEAST_LIFE_S, _UNKNOWN_LIFE_S = 2.0, 300.0

making = threading.Lock()
"""Held while a client is made: librdkafka then holds locks that a forked child would inherit."""

os.register_at_fork(
    before=making.acquire, after_in_parent=making.release, after_in_child=making.release
)


def connection(place: KafkaPlace, settings: KafkaSettings) -> dict[str, Any]:
    """What every client of librdkafka is told, in its names.

    Raises:
        SettingsError: a file is not what its setting says.
        LogUnavailable: there is no token to be had.
    """
    said = {
        "logger": _hushed(),
        "bootstrap.servers": ",".join(place.servers),
        "client.id": "mlflow-ledger",
        "security.protocol": settings.security_protocol,
        **_tls(settings),
        **_sasl(settings),
        "allow.auto.create.topics": False,
        "socket.nagle.disable": True,
        "socket.timeout.ms": socket_timeout_ms(settings),
        "socket.connection.setup.timeout.ms": max(int(settings.timeout_s * 1000), 1_000),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": _CRITICAL,
    }
    return {name: value for name, value in said.items() if value is not None}


def socket_timeout_ms(settings: KafkaSettings) -> int:
    """How long a request may take, within librdkafka's bounds."""
    wished_ms = int(settings.timeout_s * 1000)
    return min(max(wished_ms, _LEAST_SOCKET_TIMEOUT_MS), _MOST_SOCKET_TIMEOUT_MS)


def _hushed() -> logging.Logger:
    """Where librdkafka logs to: what it has to say comes as an error of ours.

    Whoever wants to read it too gives the logger ``librdkafka`` a level.
    """
    logger = logging.getLogger("librdkafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL + 1)
    return logger


def _tls(settings: KafkaSettings) -> dict[str, Any]:
    if settings.ssl_context() is None:  # which has looked into the files
        return {}
    system = ssl.get_default_verify_paths()
    secret = settings.ssl_key_password
    return {
        # Built with an OpenSSL of its own, it looks for the system's certificates elsewhere.
        "ssl.ca.location": settings.ssl_cafile or system.cafile or system.capath or "probe",
        "ssl.endpoint.identification.algorithm": "https" if settings.ssl_check_hostname else "none",
        "ssl.certificate.location": settings.ssl_certfile,
        "ssl.key.location": settings.ssl_keyfile or settings.ssl_certfile,
        "ssl.key.password": secret.get_secret_value() if secret else None,
    }


def _sasl(settings: KafkaSettings) -> dict[str, Any]:
    if settings.tokens is not None:
        settings.tokens.token()  # a client that is made waits for one, and says less where it fails
        return {"sasl.mechanisms": "OAUTHBEARER", "oauth_cb": _shown(settings.tokens)}
    return {
        "sasl.mechanisms": settings.sasl_mechanism,
        "sasl.username": settings.username,
        "sasl.password": settings.password.get_secret_value() if settings.password else None,
    }


def _shown(tokens: Tokens) -> Callable[[str], tuple[str, float]]:
    """Our tokens, as librdkafka asks for them: when most of the life of the last one is over."""

    def token(_: str) -> tuple[str, float]:
        value, expires_s = tokens.token()
        now_s = time.time()
        if expires_s is None:
            return value, now_s + _UNKNOWN_LIFE_S
        # One that has expired is shown, so that the brokers say so, and soon asked for again.
        return value, max(expires_s, now_s + _LEAST_LIFE_S)

    return token
