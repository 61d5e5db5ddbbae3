"""How librdkafka is told to reach a cluster."""

from __future__ import annotations

from typing import Any

from .kafka_settings import KafkaPlace, KafkaSettings

__all__ = ["connection", "socket_timeout_ms"]

_LEAST_SOCKET_TIMEOUT_MS = 2_000  # it has to be longer than a fetch waits, by a second
_MOST_SOCKET_TIMEOUT_MS = 300_000
_CRITICAL = 2


def connection(place: KafkaPlace, settings: KafkaSettings) -> dict[str, Any]:
    """What every client of librdkafka is told, in its names."""
    secret = settings.password.get_secret_value() if settings.password else None
    said = {
        "bootstrap.servers": ",".join(place.servers),
        "client.id": "mlflow-ledger",
        "security.protocol": settings.security_protocol,
        "sasl.mechanisms": settings.sasl_mechanism,
        "sasl.username": settings.username,
        "sasl.password": secret,
        # Built with an OpenSSL of its own, it knows no certificates but those it looks for.
        "ssl.ca.location": settings.ssl_cafile or "probe",
        "ssl.certificate.location": settings.ssl_certfile,
        "ssl.key.location": settings.ssl_keyfile,
        "allow.auto.create.topics": False,
        "socket.nagle.disable": True,
        "socket.timeout.ms": socket_timeout_ms(settings),
        "socket.connection.setup.timeout.ms": max(int(settings.timeout_s * 1000), 1_000),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": _CRITICAL,  # what else it has to say comes as an error of ours
    }
    return {name: value for name, value in said.items() if value is not None}


def socket_timeout_ms(settings: KafkaSettings) -> int:
    """How long a request may take, within librdkafka's bounds."""
    wished_ms = int(settings.timeout_s * 1000)
    return min(max(wished_ms, _LEAST_SOCKET_TIMEOUT_MS), _MOST_SOCKET_TIMEOUT_MS)
