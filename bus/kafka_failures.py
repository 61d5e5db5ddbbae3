"""What fails at a cluster, in our words: who may not do what, who is not let in, what is away."""

from __future__ import annotations

from collections.abc import Iterable

from kafka.errors import (
    AuthorizationError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
)

from mlflow_ledger.schemas import LogDamaged, LogUnavailable

from .kafka_probe import refusal
from .kafka_settings import KafkaPlace, KafkaSettings

__all__ = ["denied", "dropped", "failure", "invalid", "oversize", "unavailable", "unheard"]

_DENIED = "AuthorizationFailedError"
_SILENT = (KafkaConnectionError, KafkaTimeoutError, SaslAuthenticationFailedError)


def failure(
    place: KafkaPlace,
    settings: KafkaSettings,
    error: KafkaError,
    operation: str,
    topics: Iterable[str] = (),
) -> LogUnavailable:
    """The error to raise for one of kafka-python, which an operation (of an ACL) has met.

    ``topics`` is what it was about, by their names on the cluster. Where nobody answered, a
    connection of its own finds out whether we are let in.
    """
    # A producer that may write to no topic at all is told so in the text of another error.
    if isinstance(error, AuthorizationError) or _DENIED in str(error):
        named = error.args[0] if error.args else ()
        return denied(place, settings, operation, named if isinstance(named, set) else topics)
    if isinstance(error, _SILENT):
        return unheard(place, settings, error)
    return unavailable(place, error)


def unheard(place: KafkaPlace, settings: KafkaSettings, error: object) -> LogUnavailable:
    """The error to raise where nobody answered: a connection of its own finds out why."""
    words = refusal(place, settings)
    return unavailable(place, error) if words is None else LogUnavailable(words)


def denied(
    place: KafkaPlace, settings: KafkaSettings, operation: str, topics: Iterable[str] = ()
) -> LogUnavailable:
    """The error to raise where an ACL is missing; ``topics`` by their names on the cluster.

    Without any it is about all of the ledger's topics.
    """
    names = sorted(topics)
    where = ", ".join(names) if names else f"the topics {place.topic('*')}"
    by_password = settings.sasl_mechanism is not None and settings.username is not None
    who = f"User:{settings.username}" if by_password else "our principal"
    return LogUnavailable(
        f"Kafka at {','.join(place.servers)} denies {who} the right {operation} on {where}. An "
        f"administrator gives it with kafka-acls.sh --add --allow-principal … --operation "
        f"{operation} --topic {place.topic('')} --resource-pattern-type prefixed; docs/kafka.md "
        "lists what each role needs"
    )


def unavailable(place: KafkaPlace, error: object) -> LogUnavailable:
    """The error to raise where the cluster does not do what it is asked."""
    what = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
    return LogUnavailable(f"Kafka at {','.join(place.servers)} did not answer ({what})")


def dropped(place: KafkaPlace, error: object) -> LogDamaged:
    """The error to raise where an offset is asked for that the log no longer has."""
    return LogDamaged(
        f"{place} no longer has all its events ({error}): a topic was truncated or "
        "made anew. Restore it from a backup, or begin a ledger under another name"
    )


def oversize(place: KafkaPlace, size_bytes: int, topic: str, why: object) -> str:
    """What to say of an event that is too large for a topic (by its name on the cluster)."""
    return (
        f"Kafka at {','.join(place.servers)} refuses an event of {size_bytes} bytes ({why}); let "
        f"an administrator raise max.message.bytes of topic {topic} to 1048588, Kafka's default, "
        "or more"
    )


def invalid(place: KafkaPlace, why: object) -> str:
    """What to say of an event that brokers take for no valid record."""
    return f"Kafka at {','.join(place.servers)} takes an event for no valid record ({why})"
