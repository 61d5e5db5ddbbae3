"""One connection, tried by itself: why a cluster does not let us in.

kafka-python tries again and again and then says that time is up; what the broker or TLS had
answered is lost by then.
"""

from __future__ import annotations

import ssl
import time
from enum import IntEnum
from typing import NamedTuple

from kafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from mlflow_ledger.schemas import LedgerError

from .kafka_settings import KafkaPlace, KafkaSettings

__all__ = ["refusal"]

_MOST_S = 5.0
_TIMES = 3
"""A broker that closes a connection may take its answer along, or be about to stop."""

_PREFIX = "MLFLOW_LEDGER_KAFKA_"
_SASL = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)


class _Step(IntEnum):
    """How far a connection came."""

    NOWHERE = 0
    CONNECTED = 1
    GREETED = 2
    LET_IN = 3


class _Stopped(NamedTuple):
    """How far a connection came, and what stopped it there."""

    step: _Step
    error: Exception


def refusal(place: KafkaPlace, settings: KafkaSettings) -> str | None:
    """Why no server lets us in, with the way out; None where one does, or none can be reached.

    It takes a few milliseconds where one does, and never longer than a request may.

    Raises:
        SettingsError: a file is not what its setting says.
    """
    deadline = time.monotonic() + min(settings.timeout_s, _MOST_S)
    words = None
    for server in place.servers:
        for _ in range(_TIMES):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return words
            stopped = _try(KafkaPlace((server,), place.name), settings, remaining_s)
            if stopped is None:
                return None
            answer = _answer(stopped, server, settings)
            if answer is not None:
                return answer
            words = _silence(stopped, server, settings) or words
            if stopped.step is _Step.NOWHERE and _tls_error(stopped.error) is None:
                break
    return words


def _try(place: KafkaPlace, settings: KafkaSettings, timeout_s: float) -> _Stopped | None:
    """Connect to the only server of a place, and ask it for its cluster."""
    arguments = settings.connection(place)
    net = NetworkSelector(client_id=arguments["client_id"])
    manager = KafkaConnectionManager(net, **arguments)
    step = _Step.NOWHERE

    async def come_in() -> None:
        nonlocal step
        [node] = manager.cluster.bootstrap_brokers()
        connection = manager.get_connection(
            node.node_id, timeout_ms=timeout_s * 1000, refresh_metadata_on_err=False
        )
        try:
            await manager.wait_for(connection.init_future, timeout_s * 1000)
        finally:
            if connection.parser is not None:
                step = _Step.CONNECTED
            if connection.broker_version_data is not None:
                step = _Step.GREETED
        step = _Step.LET_IN
        asked = manager.send(manager.cluster.metadata_request(), node_id=node.node_id)
        await manager.wait_for(asked, timeout_s * 1000)

    try:
        net.run(come_in)
    except (KafkaError, LedgerError, OSError) as error:
        return _Stopped(step, error)
    finally:
        manager.close()
        net.close()
    return None


def _answer(stopped: _Stopped, server: str, settings: KafkaSettings) -> str | None:
    """What someone said: we ourselves, TLS, or the broker."""
    error = stopped.error
    if isinstance(error, LedgerError):
        return str(error)
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return _certificate(tls.verify_message, server, settings)
    if tls is not None and "ALERT" in str(tls.reason):
        shown = settings.ssl_certfile or "no certificate"
        return (
            f"{server} refuses our side of TLS ({tls.reason}), having seen {shown}: the client's "
            f"certificate is {_PREFIX}SSL_CERTFILE"
        )
    if isinstance(error, _SASL):
        said = str(error.args[0]).rpartition("Error: ")[2] if error.args else type(error).__name__
        return _user(said, server, settings)
    return None


def _silence(stopped: _Stopped, server: str, settings: KafkaSettings) -> str | None:
    """What a connection that was closed without a word most likely means."""
    protocol = f"{_PREFIX}SECURITY_PROTOCOL={settings.security_protocol}"
    tls = _tls_error(stopped.error)
    if tls is not None:
        return (
            f"{server} does not speak TLS ({tls.reason or tls}), as {protocol} asks for: name its "
            "port for TLS, or another protocol"
        )
    if stopped.step is _Step.NOWHERE or not isinstance(stopped.error, KafkaConnectionError):
        return None
    if stopped.step is _Step.GREETED and settings.sasl_mechanism is not None:
        return _user("it closed the connection without a word", server, settings)
    wants = "TLS (SSL or SASL_SSL)" if stopped.step is _Step.CONNECTED else "a user (SASL_SSL)"
    return f"{server} closes connections of {protocol}: perhaps it wants {wants}"


def _tls_error(error: Exception) -> ssl.SSLError | None:
    for found in (error.__context__, error.__cause__, *error.args):
        if isinstance(found, ssl.SSLError):
            return found
    return None


def _certificate(why: str, server: str, settings: KafkaSettings) -> str:
    """A broker's certificate that is not good."""
    if "mismatch" in why:
        way = (
            "name the server as its certificate does, or do without that check: "
            f"{_PREFIX}SSL_CHECK_HOSTNAME=false"
        )
    else:
        trusted = settings.ssl_cafile or "the system's certificates"
        way = f"whom to trust is in {trusted}, see {_PREFIX}SSL_CAFILE"
    return f"the certificate of {server} is not good ({why}): {way}"


def _user(why: str, server: str, settings: KafkaSettings) -> str:
    """A user, or a bearer of a token, who is not let in."""
    mechanism = settings.sasl_mechanism
    if mechanism == "OAUTHBEARER":
        who, where = "the bearer of our token", "its expiry, audience and issuer"
    else:
        who = f"the user {settings.username!r}"
        where = f"{_PREFIX}USERNAME and {_PREFIX}PASSWORD"
    return (
        f"{server} does not let {who} in by {mechanism} ({why}): check {where}, and that this "
        f"listener has the mechanism enabled ({_PREFIX}SASL_MECHANISM)"
    )
