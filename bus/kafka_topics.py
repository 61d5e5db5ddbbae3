"""A ledger's topics on a Kafka cluster: made where they are missing, checked where they are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from mlflow_ledger.schemas import LogForeign, LogMissing, LogUnavailable

from .kafka_failures import denied, failure, unavailable
from .kafka_probe import refusal
from .kafka_python import connected
from .kafka_settings import KafkaPlace, KafkaSettings, TopicsMissing
from .log import TOPICS

__all__ = [
    "COMPACTED",
    "FACTS",
    "FORGETTING",
    "KEYS",
    "SCHEMAS",
    "Topics",
    "check_keys",
    "create_topics",
    "is_there",
    "look_at_topics",
    "spelt",
]

_COPIES = 3
_MEND = "Set it right with kafka-configs.sh"
_LOOK_S = 0.05
_SEE = "DESCRIBE_CONFIGS"
_HIDDEN = TopicAuthorizationFailedError.errno
FACTS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
}
"""What topics of facts must be set to: nothing in them is ever dropped, times are the broker's."""


SCHEMAS = "schemas"
"""The topic of the schemas, which holds no facts: it can be made again at any time."""

KEYS = "keys"
"""The topic of the keys, of a ledger whose contents can be erased."""

COMPACTED = {"cleanup.policy": "compact"}

FORGETTING = {
    **COMPACTED,
    "segment.ms": "3600000",
    "max.compaction.lag.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.01",
}
"""What the topic of the keys is set to: what is taken out of it is gone from disks in hours."""


@dataclass(frozen=True, slots=True)
class Topics:
    """What the cluster says of a ledger's topics: their ids tell a re-created one from the old.

    ``most_bytes`` is the largest message that each takes.
    """

    cluster_id: str
    partitions: Mapping[str, int]
    ids: Mapping[str, str]
    most_bytes: Mapping[str, int]


def create_topics(place: KafkaPlace, settings: KafkaSettings, *, erasable: bool = False) -> Topics:
    """Make the topics that are missing; those that are there stay as they are, and are checked.

    One of keys is among them where contents are to be ``erasable``.

    Raises:
        LogUnavailable: the cluster cannot be reached, or forbids it.
        LogForeign: a topic is there, and is set to forget.
    """
    admin = _admin(place, settings)
    try:
        brokers = len(admin.describe_cluster()["brokers"])
        copies = settings.replication or min(brokers, _COPIES)
        wanted = {
            place.topic(topic): {
                "num_partitions": 1 if topic == "catalog" else settings.partitions,
                "replication_factor": copies,
                "configs": {**FACTS, "min.insync.replicas": str(2 if copies >= _COPIES else 1)},
            }
            for topic in TOPICS
        }
        wanted[place.topic(SCHEMAS)] = {
            "num_partitions": 1,
            "replication_factor": copies,
            "configs": COMPACTED,
        }
        if erasable:
            insync = {"min.insync.replicas": str(2 if copies >= _COPIES else 1)}
            wanted[place.topic(KEYS)] = {
                "num_partitions": 1,
                "replication_factor": copies,
                "configs": FORGETTING | insync,
            }
        described = _described(admin, place, settings, (*TOPICS, SCHEMAS, *([KEYS] * erasable)))
        there = {topic["name"] for topic in described if _is_there(topic)}
        missing = {name: how for name, how in wanted.items() if name not in there}
        if missing:
            _create(admin, place, settings, missing)
            admin.wait_for_topics(list(missing), timeout_ms=int(settings.timeout_s * 1000))
        return _look(admin, place, settings)
    except KafkaError as error:
        raise failure(place, settings, error, "Describe") from error
    finally:
        admin.close()


def look_at_topics(place: KafkaPlace, settings: KafkaSettings) -> Topics:
    """What the cluster says of the topics.

    Raises:
        TopicsMissing: one of them is not there.
        LogUnavailable: the cluster cannot be reached.
        LogForeign: a topic is set to forget.
    """
    admin = _admin(place, settings)
    try:
        return _look(admin, place, settings)
    except KafkaError as error:
        raise failure(place, settings, error, "Describe") from error
    finally:
        admin.close()


def is_there(place: KafkaPlace, settings: KafkaSettings, topic: str) -> bool:
    """Whether the cluster has one of the topics.

    Raises:
        LogUnavailable: the cluster cannot be reached, or does not say.
    """
    admin = _admin(place, settings)
    try:
        return any(map(_is_there, _described(admin, place, settings, (topic,))))
    except KafkaError as error:
        raise failure(place, settings, error, "Describe") from error
    finally:
        admin.close()


def check_keys(place: KafkaPlace, settings: KafkaSettings) -> None:
    """Do nothing where the topic of the keys is there, and keeps what nobody takes out of it.

    Raises:
        LogMissing: it is not there.
        LogForeign: it is set otherwise.
        LogUnavailable: the cluster cannot be reached, or does not say.
    """
    topic = place.topic(KEYS)
    if not is_there(place, settings, KEYS):
        msg = (
            f"the topic {topic} is missing, without which nothing that is sealed in {place} can be "
            "read: somebody deleted it. Restore it from a backup"
        )
        raise LogMissing(msg)
    admin = _admin(place, settings)
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = admin.describe_configs([resource], config_filter="all")["topic"].get(topic) or {}
    except KafkaError as error:
        raise failure(place, settings, error, "DescribeConfigs", [topic]) from error
    finally:
        admin.close()
    policy = found.get("cleanup.policy", {}).get("value")
    if policy not in (None, "compact"):
        msg = f"{topic} has cleanup.policy={policy} instead of compact: it forgets keys. {_MEND}"
        raise LogForeign(msg)


def spelt(settings: Mapping[str, str]) -> str:
    """Settings of a topic as Kafka's own programs take them."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _admin(place: KafkaPlace, settings: KafkaSettings) -> Any:
    words = refusal(place, settings)
    if words is not None:
        raise LogUnavailable(words)
    try:
        return connected(KafkaAdminClient, **settings.connection(place))
    except KafkaError as error:
        raise failure(place, settings, error, "Describe") from error


def _create(
    admin: Any, place: KafkaPlace, settings: KafkaSettings, missing: Mapping[str, Any]
) -> None:
    try:
        admin.create_topics(missing)
    except TopicAlreadyExistsError:
        return  # another process was quicker
    except AuthorizationError as error:
        raise denied(place, settings, "Create", missing) from error
    except KafkaError as error:
        msg = (
            f"cannot create the topics {', '.join(sorted(missing))} at {','.join(place.servers)} "
            f"({type(error).__name__}: {error}); let an administrator create them, with "
            f"{spelt(FACTS)}"
        )
        raise LogUnavailable(msg) from error


def _described(
    admin: Any, place: KafkaPlace, settings: KafkaSettings, topics: Iterable[str] = TOPICS
) -> list[dict[str, Any]]:
    """What there is to be told of the topics; those that are not there come with an error."""
    described: list[dict[str, Any]] = admin.describe_topics([place.topic(t) for t in topics])
    hidden = [topic["name"] for topic in described if topic["error_code"] == _HIDDEN]
    if hidden:
        raise denied(place, settings, "Describe", hidden)
    return described


def _is_there(topic: Mapping[str, Any]) -> bool:
    return topic["error_code"] == 0 and bool(topic["partitions"])


def _look(admin: Any, place: KafkaPlace, settings: KafkaSettings) -> Topics:
    described = {topic["name"]: topic for topic in _described(admin, place, settings)}
    missing = [
        place.topic(topic)
        for topic in TOPICS
        if not _is_there(described.get(place.topic(topic), {"error_code": 3}))
    ]
    if missing:
        raise TopicsMissing(place, missing, str(admin.describe_cluster()["cluster_id"]))
    found = _settings(admin, place, settings, described)
    _check_settings(place, found)
    return Topics(
        cluster_id=str(admin.describe_cluster()["cluster_id"]),
        partitions={topic: len(described[place.topic(topic)]["partitions"]) for topic in TOPICS},
        ids={topic: str(described[place.topic(topic)]["topic_id"]) for topic in TOPICS},
        most_bytes={
            topic: int(found[place.topic(topic)]["max.message.bytes"]["value"]) for topic in TOPICS
        },
    )


def _settings(
    admin: Any,
    place: KafkaPlace,
    settings: KafkaSettings,
    described: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What the topics are set to, by name.

    Whoever may not see how a topic is set is refused: its events may be gone tomorrow.
    """
    names = [place.topic(topic) for topic in TOPICS]
    # What a broker does not tell at all (an empty list) it does not deny.
    rights = {name: described[name].get("authorized_operations") or [_SEE] for name in names}
    hidden = [name for name in names if _SEE not in rights[name]]
    if hidden:
        raise denied(place, settings, "DescribeConfigs", hidden)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    deadline = time.monotonic() + settings.timeout_s
    while True:
        found: dict[str, Any] = admin.describe_configs(resources, config_filter="all")["topic"]
        untold = [name for name in names if not found.get(name)]
        if not untold:
            return found
        if time.monotonic() > deadline:
            why = TimeoutError(f"it tells nothing of how {', '.join(untold)} are set")
            raise unavailable(place, why)
        time.sleep(_LOOK_S)  # a broker takes a moment to know a topic that was just made


def _check_settings(place: KafkaPlace, found: Mapping[str, Any]) -> None:
    """Refuse topics that drop, compact or date events otherwise than a ledger needs."""
    wrong = [
        f"{name} has {key}={found[name][key]['value']} instead of {value}"
        for name in map(place.topic, TOPICS)
        for key, value in FACTS.items()
        if key in found[name] and found[name][key]["value"] != value
    ]
    if wrong:
        msg = (
            f"{place} cannot be used as a log: {'; '.join(wrong)}. Set it right with "
            "kafka-configs.sh; what was dropped is only in a backup"
        )
        raise LogForeign(msg)
