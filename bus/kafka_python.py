"""What clients of kafka-python are told: our settings in its words, and nothing secret in its logs.

Another library gets a module of its own beside this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from kafka.net.compat import KafkaNetClient
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslBytesRequest

from .kafka_security import KafkaSecurity
from .kafka_tokens import Tokens

__all__ = ["arguments", "connected"]

_CLIENT_ID = "mlflow-ledger"
_RECONNECT_MS = 1000  # brokers that come back are soon seen
_SECRET = (SaslAuthenticateRequest, SaslBytesRequest)


def arguments(servers: Sequence[str], security: KafkaSecurity, timeout_s: float) -> dict[str, Any]:
    """The arguments of a client: where the brokers are, and how they let it in.

    Raises:
        SettingsError: a file is not what its setting says.
    """
    _hush()
    timeout_ms = int(timeout_s * 1000)
    told: dict[str, Any] = {
        "bootstrap_servers": list(servers),
        "client_id": _CLIENT_ID,
        "request_timeout_ms": timeout_ms,
        "bootstrap_timeout_ms": timeout_ms,
        "reconnect_backoff_max_ms": _RECONNECT_MS,
        "security_protocol": security.security_protocol,
        "sasl_mechanism": security.sasl_mechanism,
    }
    if security.ssl_context() is not None:
        # The files, not the context: each connection reads them, for they are renewed.
        secret = security.ssl_key_password
        told |= {
            "ssl_cafile": security.ssl_cafile,
            "ssl_check_hostname": security.ssl_check_hostname,
            "ssl_certfile": security.ssl_certfile,
            "ssl_keyfile": security.ssl_keyfile,
            "ssl_password": _Hidden(secret.get_secret_value() if secret else ""),
        }
    if security.tokens is not None:
        told["sasl_oauth_token_provider"] = _Provider(security.tokens)
    elif security.sasl_mechanism is not None:
        assert security.username is not None
        assert security.password is not None
        told["sasl_plain_username"] = _sasl_name(security.sasl_mechanism, security.username)
        told["sasl_plain_password"] = _Hidden(security.password.get_secret_value())
    return told


def connected(kind: Callable[..., Any], **told: Any) -> Any:
    """A client of that kind; one that fails to connect leaves no thread and no socket behind."""
    opened: list[Any] = []

    def client(**configs: Any) -> Any:
        opened.append(KafkaNetClient(**configs))
        return opened[-1]

    try:
        return kind(kafka_client=client, **told)
    except BaseException:
        for left in opened:
            left.close()
        raise


def _sasl_name(mechanism: str, name: str) -> str:
    """A user's name as the client has to send it: it leaves to us what SCRAM reserves."""
    if mechanism == "PLAIN":
        return name
    return name.replace("=", "=3D").replace(",", "=2C")


class _Provider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Our tokens, as kafka-python asks for them."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def token(self) -> str:
        return self._tokens.token().value


class _Hidden(str):
    """A secret that shows itself to who joins or encodes it, but not to who prints it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"

    __str__ = __repr__


class _Hush(logging.Filter):
    """Keeps the bytes of requests, and what they say of secrets, out of debugging output."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_told, record.args))
        return True


def _told(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return type(value).__name__ if isinstance(value, _SECRET) else value


_HUSH = _Hush()


def _hush() -> None:
    """Filter what the client's connections log; a filter that is there already stays one.

    Of its own accord the client complains in dozens of lines of each broker that goes away; what
    it comes to is told once, by our errors and warnings. Whoever wants to read those lines gives
    the logger ``kafka`` a level: only where nobody has given it one is it set here.
    """
    client = logging.getLogger("kafka")
    if client.level == logging.NOTSET:
        client.setLevel(logging.CRITICAL)
    for name in ("kafka.net.connection", "kafka.protocol.parser"):
        logging.getLogger(name).addFilter(_HUSH)
