"""What only a log in Kafka has: its URI, its topics, messages of others."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from mlflow_ledger.bus import (
    TOPICS,
    KafkaLog,
    KafkaPlace,
    KafkaSettings,
    Position,
    Writer,
    kafka_place,
    message_of,
    murmur2,
    record_of_message,
)
from mlflow_ledger.bus.kafka_topics import Topics
from mlflow_ledger.schemas import (
    DecodeError,
    LedgerCreated,
    LogDamaged,
    LogForeign,
    LogMissing,
    LogUnavailable,
    Record,
    RunDeleted,
    SettingsError,
    TopicPartitions,
)
from tests.kafka.servers import servers
from tests.kafka.topics import configure
from tests.schemas.test_envelope import records

from .records import RUNS, many, outgoing

LEDGER_ID = "0123456789abcdef"
Client = Literal["kafka-python", "librdkafka"]
CLIENTS: tuple[Client, ...] = ("kafka-python", "librdkafka")


@pytest.fixture
def place() -> KafkaPlace:
    return kafka_place(f"ledger+kafka://{servers()}/test-{uuid.uuid4().hex}")


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    asked: Client = request.param
    return asked


@pytest.fixture
def log(place: KafkaPlace, client: Client) -> Iterator[KafkaLog]:
    made = KafkaLog(place, KafkaSettings(partitions=3, client=client), LEDGER_ID)
    made.create()
    yield made
    made.close()


def end_after(log: KafkaLog, offset: int) -> Position:
    """The end, once behind an offset: brokers end a transaction some time after its commit."""
    while (end := log.end()).offset(RUNS) < offset:
        pass
    return end


def test_a_uri_names_servers_and_a_ledger() -> None:
    place = kafka_place("ledger+kafka://one:9092,two.example:19092/team?query=http://q")
    assert place.servers == ("one:9092", "two.example:19092")
    assert place.topic("runs") == "team.runs"
    assert str(place) == "ledger+kafka://one:9092,two.example:19092/team"
    assert kafka_place("ledger+kafka://[::1]:9092/a").servers == ("[::1]:9092",)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ledger:./store", "names no ledger in Kafka"),
        ("ledger+kafka://host/team", "'host' .* is no host:port"),
        ("ledger+kafka:///team", "is no host:port"),
        ("ledger+kafka://host:9092", "cannot be a ledger's name"),
        ("ledger+kafka://host:9092/a/b", "cannot be a ledger's name"),
        ("ledger+kafka://host:9092/.hidden", "cannot be a ledger's name"),
        ("ledger+kafka://host:9092,/team", "is no host:port"),
    ],
)
def test_a_wrong_uri_says_how_a_right_one_looks(uri: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        kafka_place(uri)
    assert "ledger+kafka://host:9092/team" in str(raised.value)


def test_a_secret_does_not_belong_into_a_uri() -> None:
    with pytest.raises(SettingsError, match="MLFLOW_LEDGER_KAFKA_PASSWORD") as raised:
        kafka_place("ledger+kafka://me:hunter2@host:9092/team")
    assert "hunter2" not in str(raised.value)
    settings = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", username="me", password="hunter2"
    )
    assert "hunter2" not in repr(settings)


def test_settings_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_SECURITY_PROTOCOL", "TLS")
    with pytest.raises(SettingsError, match="MLFLOW_LEDGER_KAFKA_SECURITY_PROTOCOL"):
        KafkaSettings.read()


@given(records)
def test_a_message_carries_a_record_whole(record: Record) -> None:
    texts = [value for value in record.envelope if isinstance(value, str)]
    if any("\ud800" <= c <= "\udfff" for text in texts for c in text):
        return  # a writer never says what UTF-8 cannot hold
    read = record_of_message(*message_of(record))
    assert read == record
    assert read.digest() == record.digest()


def test_headers_are_those_of_cloudevents() -> None:
    headers, _ = message_of(outgoing(7).record)
    found = dict(headers)
    assert found["ce_specversion"] == b"1.0"
    assert found["ce_id"] == b"7"
    assert found["ce_type"] == b"RunTagDeleted"
    assert found["content-type"] == b"application/avro"
    assert all(name == name.lower() for name in found)


@given(st.data())
def test_what_is_no_event_is_told_and_never_breaks(data: st.DataObject) -> None:
    headers, value = message_of(outgoing(1).record)
    name = data.draw(st.sampled_from([name for name, _ in headers]))
    other = data.draw(st.none() | st.binary(max_size=12))
    changed = [(n, b if n != name else other) for n, b in headers if n != name or other is not None]
    cut = value[: data.draw(st.integers(0, len(value)))]
    with contextlib.suppress(DecodeError):
        record_of_message(changed, cut)  # type: ignore[arg-type]  # whatever a stranger sends
    with pytest.raises(DecodeError, match="no value"):
        record_of_message(headers, None)


ODD = (
    b"", b"0", b"01", b"+1", b" 1", b"1_0", b"-1", b"7", b"\xff",
    b"%d" % (2**63 - 1), b"%d" % 2**63, b"9" * 30,
    b"2026-03-03T12:00:00.12Z", b"20260303T120000.000.123Z", b"2026-03-03T12:00:00.123z",
    b"2026-03-03T12:00:00.123456Z", b"2026-03-03T12:00:00,123Z", b"2026-13-03T12:00:00.123Z",
    b"1969-12-31T23:59:59.999Z",
)  # fmt: skip


def both_ways(headers: list[tuple[str, bytes]], value: bytes) -> list[object]:
    """What is read of headers as we write them, and of the same with one that we never write."""
    outcomes: list[object] = []
    for these in (headers, [*headers, ("traceparent", b"a stranger's")]):
        try:
            outcomes.append(record_of_message(these, value))
        except DecodeError as error:
            outcomes.append(str(error))
    return outcomes


@pytest.mark.parametrize("name", [name for name, _ in message_of(outgoing(1).record)[0]])
def test_each_odd_header_is_read_alike_both_ways(name: str) -> None:
    headers, value = message_of(outgoing(1).record)
    for odd in ODD:
        quick, careful = both_ways([(n, odd if n == name else b) for n, b in headers], value)
        assert quick == careful, odd


@given(st.data())
def test_the_quick_way_reads_what_the_careful_one_reads(data: st.DataObject) -> None:
    headers, value = message_of(data.draw(st.sampled_from([outgoing(1), outgoing(20)])).record)
    odd = st.sampled_from(ODD) | st.binary(max_size=12)
    for place, (name, _) in enumerate(headers):
        if data.draw(st.integers(0, 9)) == 0:
            headers[place] = (name, data.draw(odd))
    kept = data.draw(st.permutations(headers)) if data.draw(st.booleans()) else headers
    kept = kept[data.draw(st.integers(0, 2)) :]
    quick, careful = both_ways(kept, value)
    assert quick == careful


def test_there_is_no_ledger_before_it_is_made(place: KafkaPlace, client: Client) -> None:
    log = KafkaLog(place, KafkaSettings(client=client))
    with pytest.raises(LogMissing, match=r"the topics .* are missing"):
        log.partitions()
    log.create()
    with pytest.raises(LogMissing, match="nothing was logged there yet"):
        _ = log.ledger_id
    log.close()


def test_the_first_record_names_the_ledger(place: KafkaPlace, client: Client) -> None:
    log = KafkaLog(place, KafkaSettings(partitions=2, client=client))
    counts = log.create().partitions
    assert counts == {"catalog": 1, "runs": 2, "traces": 2, "artifacts": 2}
    writer = Writer()
    for ledger_id in ("a" * 16, "b" * 16):  # the second one is a race lost
        beginning = LedgerCreated(
            ledger_id=ledger_id,
            partitions=[TopicPartitions(topic=topic, count=counts[topic]) for topic in TOPICS],
            rules=1,
            artifact_root="ledger-artifacts://x",
        )
        log.append([writer.stamp(beginning, counts)])
    log.close()
    again = KafkaLog(place, KafkaSettings(client=client))
    assert again.ledger_id == "a" * 16
    again.close()


def test_a_catalog_that_does_not_begin_with_a_ledger(log: KafkaLog, place: KafkaPlace) -> None:
    log.append([outgoing(1, partition=("catalog", 0))])
    other = KafkaLog(place)
    with pytest.raises(LogForeign, match="begins with a RunTagDeleted"):
        _ = other.ledger_id
    other.close()


def test_creating_twice_changes_nothing(log: KafkaLog, place: KafkaPlace) -> None:
    log.append(many(3))
    again = KafkaLog(place, KafkaSettings(partitions=17), LEDGER_ID)
    assert again.create() == log.topics
    assert len(list(again.read(again.start()))) == 3
    again.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cleanup_policy": "compact"}, "cleanup.policy=compact instead of delete"),
        ({"retention_ms": "86400000"}, "retention.ms=86400000 instead of -1"),
        ({"message_timestamp_type": "CreateTime"}, "message.timestamp.type=CreateTime"),
    ],
)
@pytest.mark.usefixtures("log")
def test_topics_that_forget_are_refused(
    place: KafkaPlace, settings: dict[str, str], says: str
) -> None:
    configure(place, "runs", **settings)
    with pytest.raises(LogForeign, match=says):
        KafkaLog(place).partitions()


def test_what_others_put_into_a_topic_is_shown_as_unreadable(
    log: KafkaLog, place: KafkaPlace
) -> None:
    log.append(many(1))
    producer = KafkaProducer(bootstrap_servers=place.servers)
    headers, value = message_of(outgoing(9).record)
    without_id = [(name, text) for name, text in headers if name != "ce_id"]
    for odd in (
        {"value": b"\x00garbage"},
        {"value": value, "headers": without_id},
        {"value": None, "headers": headers, "key": b"k"},
        {"value": b"x" * 900_000, "headers": headers},
    ):
        producer.send(place.topic("runs"), partition=0, **odd).get(10)
    producer.close()
    log.append(many(1, first=2))
    seen = list(log.read(log.start()))
    assert [s.record.envelope.type for s in seen] == [
        "RunTagDeleted", *["Unreadable"] * 4, "RunTagDeleted",
    ]  # fmt: skip
    assert b"ce_id" in seen[2].record.head
    assert len({(s.record.envelope.source, s.record.envelope.id) for s in seen}) == 6
    again = KafkaLog(place, ledger_id=LEDGER_ID)
    assert [s.record.digest() for s in again.read(again.start())] == [
        s.record.digest() for s in seen
    ]
    again.close()


def test_what_a_foreign_transaction_took_back_is_not_read(log: KafkaLog, place: KafkaPlace) -> None:
    producer = KafkaProducer(bootstrap_servers=place.servers, transactional_id=uuid.uuid4().hex)
    producer.init_transactions()
    for number, take_back in ((1, True), (2, False)):
        headers, value = message_of(outgoing(number).record)
        producer.begin_transaction()
        producer.send(place.topic("runs"), value, headers=headers, partition=0).get(10)
        (producer.abort_transaction if take_back else producer.commit_transaction)()
    producer.close()
    end_after(log, 4)
    assert [s.record.envelope.id for s in log.read(log.start())] == [2]
    [stored] = log.append(many(1, first=3))
    assert stored.offset == 4  # markers of transactions take offsets too
    assert list(log.read(Position(LEDGER_ID, {RUNS: 3}))) == [stored]


def test_a_reader_comes_to_the_end_behind_what_is_no_record(
    log: KafkaLog, place: KafkaPlace
) -> None:
    producer = KafkaProducer(bootstrap_servers=place.servers, transactional_id=uuid.uuid4().hex)
    producer.init_transactions()
    producer.begin_transaction()
    headers, value = message_of(outgoing(1).record)
    producer.send(place.topic("runs"), value, headers=headers, partition=0).get(10)
    producer.commit_transaction()
    producer.close()
    end = end_after(log, 2)
    *_, (_, reached) = log.batches(log.start())
    assert reached == end
    assert list(log.batches(reached)) == []


def test_the_key_names_the_partition_that_every_client_would_take(log: KafkaLog) -> None:
    writer = Writer()
    said = [writer.stamp(RunDeleted(run_id=f"r{n}"), log.partitions()) for n in range(20)]
    log.append(said)
    consumer = KafkaConsumer(
        bootstrap_servers=log.place.servers, auto_offset_reset="earliest", group_id=None
    )
    parts = [TopicPartition(log.place.topic("runs"), number) for number in range(3)]
    consumer.assign(parts)
    seen = 0
    while seen < len(said):
        for part, messages in consumer.poll(timeout_ms=1000).items():
            for message in messages:
                assert (murmur2(message.key) & 0x7FFFFFFF) % 3 == part.partition
                seen += 1
    consumer.close()


def test_a_cluster_that_does_not_answer(client: Client) -> None:
    nowhere = kafka_place("ledger+kafka://127.0.0.1:1/team")
    log = KafkaLog(nowhere, KafkaSettings(timeout_s=0.5, client=client), LEDGER_ID)
    with pytest.raises(LogUnavailable, match=r"Kafka at 127\.0\.0\.1:1 did not answer"):
        log.append(many(1))
    log.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_attempts_that_fail_leave_nothing_behind(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "kafka")  # records that pytest keeps would hold sockets
    nowhere = kafka_place("ledger+kafka://127.0.0.1:1/team")
    log = KafkaLog(nowhere, KafkaSettings(timeout_s=0.1, client=client), LEDGER_ID)
    # As if the cluster went away later.
    log._topics = Topics("c", {"runs": 1}, {"runs": "t"}, {"runs": 1_000_000})
    threads, files = threading.active_count(), open_files()
    for attempt in (log.create, lambda: log.append(many(1)), log.end) * 2:
        with pytest.raises(LogUnavailable, match="did not answer"):
            attempt()
    if client == "librdkafka":  # its clients stay, and go on trying to connect
        log.close()
    gc.collect()
    assert threading.active_count() <= threads
    assert open_files() <= files
    log.close()


def test_events_that_were_dropped_are_not_jumped_over(log: KafkaLog, place: KafkaPlace) -> None:
    log.append(many(5))
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    admin.delete_records({TopicPartition(place.topic("runs"), 0): 3})
    admin.close()
    with pytest.raises(LogDamaged, match="truncated"):
        list(log.read(Position(LEDGER_ID)))
    assert [s.record.envelope.id for s in log.read(log.start())] == [4, 5]


def test_a_closed_log_refuses(log: KafkaLog) -> None:
    log.append(many(1))
    log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        log.append(many(1, first=2))
    with pytest.raises(LogUnavailable, match="closed"):
        list(log.read(Position(LEDGER_ID)))
