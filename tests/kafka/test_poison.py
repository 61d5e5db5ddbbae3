"""Messages that carry no event of ours: skipped, counted, shown, and the fold goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from mlflow_ledger.bus import Outgoing, Writer, message_of
from mlflow_ledger.consumers import KafkaLedger
from mlflow_ledger.query.audit import AuditRow, audit
from mlflow_ledger.schemas import ExperimentCreated, RunCreated

from .hosts import digests, host, on_hosts
from .servers import servers

pytestmark = pytest.mark.brokers

_LARGE_BYTES = 2_000_000
Message = tuple[list[tuple[str, bytes]], bytes | None]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[KafkaLedger]]:
    with on_hosts(servers(), tmp_path_factory.mktemp("poison")) as hosts:
        yield hosts


def said(name: str) -> Outgoing:
    event = ExperimentCreated(experiment_id="7", name=name, artifact_location="x")
    return Writer().stamp(event, {"catalog": 1})


def without(header: str) -> Message:
    headers, value = message_of(said("no such").record)
    return [(name, data) for name, data in headers if name != header], value


def instead(header: str, data: bytes) -> Message:
    headers, value = without(header)
    return [*headers, (header, data)], value


def schema_of_nobody() -> Message:
    headers, value = message_of(said("no such").record)
    return headers, value[:2] + b"\x17" * 8 + value[10:]


def cut_off() -> Message:
    headers, value = message_of(said("no such").record)
    return headers, value[:-3]


POISON: dict[str, Message] = {
    "garbage": ([], b"garbage"),
    "nothing": ([], None),
    "garbage of 2 MB": ([], b"\xc3\x01" * (_LARGE_BYTES // 2)),
    "a headbytes of garbage": instead("headbytes", b"many"),
    "a headbytes beyond the end": instead("headbytes", b"99999999"),
    "a headbytes below 0": instead("headbytes", b"-5"),
    "no id": without("ce_id"),
    "no source": without("ce_source"),
    "no type": without("ce_type"),
    "an id of 0": instead("ce_id", b"0"),
    "an id of garbage": instead("ce_id", b"\xff\xfe"),
    "an id beyond 64 bits": instead("ce_id", b"9" * 40),
    "an id beyond SQLite": instead("ce_id", b"%d" % 2**63),
    "rules of 0": instead("ce_rules", b"0"),
    "rules beyond SQLite": instead("ce_rules", b"%d" % 2**63),
    "a time of garbage": instead("ce_time", b"yesterday"),
    "a time beyond all": instead("ce_time", b"9999-99-99T99:99:99Z"),
    "an unknown type": instead("ce_type", b"NoSuchEvent"),
    "another type": instead("ce_type", b"RunCreated"),
    "an unknown schema": schema_of_nobody(),
    "a value that is cut off": cut_off(),
    "a NUL in the subject": instead("ce_subject", b"experiments:/\x00"),
}
READABLE = {"a NUL in the subject"}
"""What may be taken for an event, or not, as long as the fold goes on and all hosts agree."""


def allow_large(ledger: KafkaLedger, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=ledger.kafka.place.servers)
    named = ConfigResource(
        ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(2 * _LARGE_BYTES)}
    )
    admin.alter_configs([named])
    admin.close()


@pytest.mark.parametrize("kind", POISON)
def test_one_of_each(two: list[KafkaLedger], kind: str, tmp_path: Path) -> None:
    place = two[0].kafka.place
    topic = place.topic("catalog")
    if kind == "garbage of 2 MB":
        allow_large(two[0], topic)
    before = len(shown(two[0]))
    headers, value = POISON[kind]
    with closing(KafkaProducer(bootstrap_servers=place.servers, max_request_size=5_000_000)) as p:
        p.send(topic, key=b"k", value=value, headers=headers, partition=0).get(timeout=30)
    behind = RunCreated(run_id=f"behind {kind}", experiment_id="0", artifact_uri="x")
    two[0].write(lambda _: [behind])
    named = ExperimentCreated(
        experiment_id=str(100 + list(POISON).index(kind)), name=kind, artifact_location="x"
    )
    two[1].write(lambda _: [named])
    assert digests(two[0]) == digests(two[1])
    for ledger in two:
        rows = shown(ledger)
        if kind not in READABLE:
            assert len(rows) == before + 1
            assert rows[-1].message
    if kind == "garbage of 2 MB":  # whoever comes later is no worse off
        with closing(host(place, tmp_path)) as late:
            assert digests(late) == digests(two[0])
    two[0].rebuild()
    assert digests(two[0]) == digests(two[1])


def shown(ledger: KafkaLedger) -> list[AuditRow]:
    ledger.catch_up()
    return [row for row in audit(ledger) if row.verdict == "unreadable"]
