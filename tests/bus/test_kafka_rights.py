"""The rights that the documentation gives each role: enough for its work, and no more."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ACL, ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError

from mlflow_ledger.bus import TOPICS, KafkaLog, KafkaPlace, KafkaSettings, Position, kafka_place
from mlflow_ledger.schemas import LogError, LogMissing, LogUnavailable
from tests.kafka.acls import Right, rights, topics
from tests.kafka.secure import PASSWORD, Secure, secure

from .records import outgoing

pytestmark = pytest.mark.brokers

LEDGER_ID = "0123456789abcdef"
PAGE = (Path(__file__).parents[2] / "docs" / "kafka.md").read_text("utf-8")
RIGHTS = rights(PAGE)
ROLES = ("producer", "consumer", "query", "founder")
WRITES = {
    "producer": TOPICS,
    "consumer": ("catalog", "artifacts"),
    "query": (),
    "founder": TOPICS,
}


@pytest.fixture
def broker() -> Secure:
    return secure()


@pytest.fixture
def place(broker: Secure) -> KafkaPlace:
    return kafka_place(f"ledger+kafka://{broker.servers('SASL')}/t{uuid.uuid4().hex}")


@pytest.fixture
def made(broker: Secure, place: KafkaPlace) -> KafkaPlace:
    """A ledger that is there."""
    log = KafkaLog(
        KafkaPlace((broker.servers(),), place.name), KafkaSettings(partitions=1), LEDGER_ID
    )
    log.create()
    for number, topic in enumerate(TOPICS, start=1):
        log.append([outgoing(number, partition=(topic, 0))])
    log.close()
    return place


def user_with(broker: Secure, place: KafkaPlace, given: Iterable[Right]) -> KafkaSettings:
    """A new user with rights on the ledger at a place."""
    user = f"u{uuid.uuid4().hex}"
    broker.add_user(user)
    broker.allow(at(place, user, right) for right in given)
    return KafkaSettings(
        security_protocol="SASL_SSL",
        ssl_cafile=broker.cafile,
        sasl_mechanism="SCRAM-SHA-256",
        username=user,
        password=PASSWORD,  # type: ignore[arg-type]
        partitions=1,
        timeout_s=10,
    )


def at(place: KafkaPlace, user: str, right: Right) -> ACL:
    topic = right.topic.replace("team.", f"{place.name}.")
    return right._replace(user=user, topic=topic).acl()


def of(role: str) -> list[Right]:
    return [right for right in RIGHTS if right.user == role]


def work(place: KafkaPlace, settings: KafkaSettings, role: str) -> None:
    """What the role has to be able to do."""
    log = KafkaLog(place, settings, LEDGER_ID)
    try:
        if role == "founder":
            log.create()
        for topic in WRITES[role]:
            log.append([outgoing(99, partition=(topic, 0))])
        if role in ("consumer", "founder"):
            assert log.publish_schemas() > 0
        seen = {stored.partition for stored in log.read(log.start())}
        assert seen == {(topic, 0) for topic in TOPICS}
        assert log.position_at(0).offsets == log.start().offsets
    finally:
        log.close()


def test_the_page_gives_rights_to_these_roles() -> None:
    assert {right.user for right in RIGHTS} == set(ROLES)
    assert len(RIGHTS) == len(set(RIGHTS))


def test_topics_made_by_the_page_are_those_of_a_ledger(broker: Secure, place: KafkaPlace) -> None:
    wanted = {name.replace("team.", f"{place.name}."): how for name, how in topics(PAGE).items()}
    admin = broker.admin()
    admin.create_topics(wanted)
    admin.wait_for_topics(list(wanted))
    admin.close()
    made = KafkaLog(KafkaPlace((broker.servers(),), f"{place.name}-made"), KafkaSettings())
    assert KafkaLog(KafkaPlace((broker.servers(),), place.name)).partitions() == (
        made.create().partitions
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_its_work(broker: Secure, request: pytest.FixtureRequest, role: str) -> None:
    place = request.getfixturevalue("place" if role == "founder" else "made")
    work(place, user_with(broker, place, of(role)), role)


@pytest.mark.parametrize("right", RIGHTS, ids=lambda r: f"{r.user}-{r.operation}-{r.topic}")
def test_no_right_can_be_left_out(
    broker: Secure, request: pytest.FixtureRequest, right: Right
) -> None:
    place = request.getfixturevalue("place" if right.user == "founder" else "made")
    settings = user_with(broker, place, set(of(right.user)) - {right})
    # Describe goes with the last right that it came with.
    missed = f"({right.operation}|Describe)" if right.operation == "Read" else right.operation
    with pytest.raises(LogUnavailable, match=f"denies User:.* the right {missed} on "):
        work(place, settings, right.user)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_can_write_what_is_not_its_own(broker: Secure, made: KafkaPlace, role: str) -> None:
    settings = user_with(broker, made, of(role))
    log = KafkaLog(made, settings, LEDGER_ID)
    for topic in set(TOPICS) - set(WRITES[role]):
        with pytest.raises(LogUnavailable, match="the right Write on ") as raised:
            log.append([outgoing(99, partition=(topic, 0))])
        assert f"the right Write on {made.topic(topic)}." in str(raised.value)
    log.close()


def delete_topics(admin: KafkaAdminClient, topic: str) -> None:
    admin.delete_topics([topic])


def delete_records(admin: KafkaAdminClient, topic: str) -> None:
    admin.delete_records({TopicPartition(topic, 0): 1})


def make_it_forget(admin: KafkaAdminClient, topic: str) -> None:
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "1"})])


def add_partitions(admin: KafkaAdminClient, topic: str) -> None:
    admin.create_partitions({topic: 7})


HARM = (delete_topics, delete_records, make_it_forget, add_partitions)


def is_whole(broker: Secure, place: KafkaPlace) -> bool:
    """Whether a ledger still has what it was made with."""
    log = KafkaLog(KafkaPlace((broker.servers(),), place.name), KafkaSettings(), LEDGER_ID)
    try:
        return (
            log.partitions() == dict.fromkeys(TOPICS, 1)
            and log.start() == Position(LEDGER_ID)
            and len(list(log.read(log.start()))) == len(TOPICS)
        )
    except LogError:
        return False
    finally:
        log.close()


@pytest.mark.parametrize("role", ROLES)
def test_no_role_can_do_harm(broker: Secure, made: KafkaPlace, role: str) -> None:
    settings = user_with(broker, made, of(role))
    admin = KafkaAdminClient(**settings.connection(made))
    for harm in HARM:
        with contextlib.suppress(AuthorizationError):  # some come as an answer instead
            harm(admin, made.topic("runs"))
    admin.close()
    assert is_whole(broker, made)


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_who_may_do_everything_can_do_harm(
    broker: Secure, made: KafkaPlace, harm: Callable[[KafkaAdminClient, str], None]
) -> None:
    assert is_whole(broker, made)
    admin = broker.admin()
    harm(admin, made.topic("runs"))
    admin.close()
    while is_whole(broker, made):
        pass


@pytest.mark.parametrize("role", ROLES)
def test_no_role_sees_another_ledger(broker: Secure, made: KafkaPlace, role: str) -> None:
    settings = user_with(broker, made, of(role))
    for name in (f"{made.name}2", f"{made.name}-2", made.name[:-1]):
        there = KafkaPlace((broker.servers(),), name)
        KafkaLog(there, KafkaSettings(partitions=1)).create()
        other = KafkaLog(KafkaPlace(made.servers, name), settings, LEDGER_ID)
        for attempt in (other.partitions, other.create):
            with pytest.raises(LogUnavailable, match=f"the right Describe on {name}.artifacts, "):
                attempt()


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"founder"}))
def test_only_who_may_create_makes_a_ledger(broker: Secure, place: KafkaPlace, role: str) -> None:
    log = KafkaLog(place, user_with(broker, place, of(role)), LEDGER_ID)
    with pytest.raises(LogUnavailable, match=f"the right Create on {place.name}.artifacts, "):
        log.create()
    with pytest.raises(LogMissing, match=r"the topics .* are missing"):
        log.partitions()


def test_a_right_that_is_taken_away_is_missed(broker: Secure, made: KafkaPlace) -> None:
    settings = user_with(broker, made, of("producer"))
    log = KafkaLog(made, settings, LEDGER_ID)
    log.append([outgoing(99)])
    broker.forbid(
        at(made, str(settings.username), right)
        for right in of("producer")
        if right.operation == "Write"
    )
    with pytest.raises(LogUnavailable, match=f"the right Write on {made.topic('runs')}"):
        log.append([outgoing(100)])
    log.close()
