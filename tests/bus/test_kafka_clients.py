"""What both clients of Kafka must do alike under stress: threads, forks, brokers that go away."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from kafka import KafkaProducer

from mlflow_ledger.bus import (
    EventTooLarge,
    KafkaLog,
    KafkaSettings,
    Position,
    Stored,
    kafka_place,
    message_of,
)
from mlflow_ledger.bus import kafka_client as clients
from mlflow_ledger.schemas import (
    LedgerError,
    LogUnavailable,
    RecordRefused,
    RunTagDeleted,
    SettingsError,
)
from tests.kafka.broker import Cluster, missing
from tests.kafka.servers import servers
from tests.kafka.topics import configure

from .records import CATALOG, LONG, RUNS, many, outgoing

pytestmark = pytest.mark.brokers

LEDGER_ID = "0123456789abcdef"
Client = Literal["kafka-python", "librdkafka"]


@pytest.fixture(params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest) -> Client:
    asked: Client = request.param
    return asked


def made(at: str, client: Client, timeout_s: float = 30.0) -> KafkaLog:
    settings = KafkaSettings(partitions=3, client=client, timeout_s=timeout_s)
    log = KafkaLog(kafka_place(f"ledger+kafka://{at}/c-{uuid.uuid4().hex}"), settings, LEDGER_ID)
    log.create()
    return log


@pytest.fixture
def log(client: Client) -> Iterator[KafkaLog]:
    log = made(servers(), client)
    yield log
    log.close()


def sources(stored: list[Stored]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in stored:
        found.setdefault(one.record.envelope.source, []).append(one.record.envelope.id)
    return found


def test_librdkafka_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    place = kafka_place("ledger+kafka://127.0.0.1:1/team")

    def chosen() -> str:
        return type(clients.open_client(place, KafkaSettings.read())).__name__

    assert chosen() == "LibrdkafkaClient"
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_CLIENT", "kafka-python")
    assert chosen() == "KafkaPythonClient"
    monkeypatch.setattr(clients, "find_spec", lambda name: find_spec(f"{name}_is_not_here"))
    assert chosen() == "KafkaPythonClient"
    monkeypatch.delenv("MLFLOW_LEDGER_KAFKA_CLIENT")
    assert chosen() == "KafkaPythonClient"
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_CLIENT", "librdkafka")
    with pytest.raises(SettingsError, match=r"pip install 'mlflow-ledger\[librdkafka\]'"):
        KafkaLog(place)
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_CLIENT", "pykafka")
    with pytest.raises(SettingsError, match="MLFLOW_LEDGER_KAFKA_CLIENT"):
        chosen()


def test_threads_append_at_once_each_in_its_order(log: KafkaLog) -> None:
    def write(name: str) -> list[Stored]:
        said = many(60, f"{name}/runs/0")
        return [stored for one in said for stored in log.append([one])]

    with ThreadPoolExecutor(6) as pool:
        returned = [s for part in pool.map(write, "abcdef") for s in part]
    seen = list(log.read(log.start()))
    assert sources(seen) == {f"{name}/runs/0": list(range(1, 61)) for name in "abcdef"}
    assert sorted(returned, key=lambda s: s.offset) == seen


def test_what_was_handed_over_is_in_order_before_it_is_waited_for(log: KafkaLog) -> None:
    waiting = [log.hand_over([one]) for one in many(50)]
    stored = [one for wait in reversed(waiting) for one in reversed(wait())]
    assert stored[::-1] == list(log.read(log.start()))
    assert log.hand_over([])() == []


def test_the_end_is_known_while_another_thread_reads(log: KafkaLog) -> None:
    log.append(many(300))
    stop = threading.Event()

    def read() -> int:
        rounds = 0
        while not stop.is_set():
            rounds += len(list(log.read(log.start()))) == 300
        return rounds

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        ends = {str(log.end()) for _ in range(100)}
        stop.set()
        assert reading.result() > 0
    assert len(ends) == 1


def test_an_open_transaction_is_not_passed_and_holds_nobody_up(log: KafkaLog) -> None:
    log.append(many(2))
    producer = KafkaProducer(bootstrap_servers=log.place.servers, transactional_id=uuid.uuid4().hex)
    producer.init_transactions()
    producer.begin_transaction()
    headers, value = message_of(outgoing(3).record)
    producer.send(log.place.topic("runs"), value, headers=headers, partition=0).get(10)
    log.append(many(1, first=4))
    assert log.end().offset(RUNS) == 2
    assert [s.record.envelope.id for s in log.read(log.start())] == [1, 2]
    producer.abort_transaction()
    producer.close()
    while log.end().offset(RUNS) < 5:
        pass  # brokers end a transaction some time after its abort
    assert [s.record.envelope.id for s in log.read(Position(LEDGER_ID, {RUNS: 2}))] == [4]


def test_readers_at_several_places_do_not_disturb_each_other(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_ledger.bus.kafka._MOST_RECORDS", 20)  # they take turns often
    said = [outgoing(n, f"{n % 3}", partition=("runs", n % 3)) for n in range(1, 400)]
    log.append([*said, *[outgoing(n, "c", partition=CATALOG) for n in range(1, 50)]])
    whole = log.start()
    one, other = log.read(whole), log.read(Position(LEDGER_ID, {RUNS: 50, ("runs", 1): 60}))
    rest = [s for _, s in zip(other, one, strict=False)] + list(one)
    partitions: dict[object, list[int]] = {}
    for stored in rest:
        partitions.setdefault(stored.partition, []).append(stored.offset)
    assert all(a < b for offsets in partitions.values() for a, b in pairwise(offsets))
    assert len({(s.partition, s.offset) for s in rest}) == 448


def test_a_record_that_comes_behind_the_end_is_read_next_time(log: KafkaLog) -> None:
    log.append(many(5))
    batches = log.batches(log.start())
    log.append(many(5, first=6))
    said = list(batches)
    first = [s.record.envelope.id for batch, _ in said for s in batch]
    position = said[-1][1]
    later = [s.record.envelope.id for batch, _ in log.batches(position) for s in batch]
    assert first + later == list(range(1, 11))


def test_an_event_too_large_for_the_brokers_is_told_and_harms_nobody(client: Client) -> None:
    log = made(servers(), client)
    log.append(many(1))
    large = outgoing(2, event=LONG)
    with pytest.raises(EventTooLarge, match=r"max\.message\.bytes of topic c-.*\.runs"):
        log.append([*many(1, "never sent"), large])
    log.append(many(1, first=3))
    assert [s.record.envelope.id for s in log.read(log.start())] == [1, 3]
    configure(log.place, "runs", max_message_bytes="200000")  # which the log does not know
    large = outgoing(4, event=RunTagDeleted(run_id="r", tag="t" * 300_000))
    with pytest.raises(RecordRefused, match=r"an event of 30\d+ bytes .* topic c-.*\.runs"):
        log.append([large])
    with pytest.raises(EventTooLarge, match=r"an event of 30\d+ bytes .* topic c-.*\.runs"):
        log.append([large])  # now it does
    log.append(many(1, first=5))
    assert [s.record.envelope.id for s in log.read(log.start())] == [1, 3, 5]
    log.close()


def test_a_forked_child_has_connections_of_its_own(log: KafkaLog) -> None:
    log.append(many(1))
    assert len(list(log.read(log.start()))) == 1
    stop = threading.Event()

    def write() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            log.append([outgoing(number, "parent")])
        return number

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        children = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    log.append(many(20, f"child-{child}"))
                    seen = sources(list(log.read(log.start())))
                    log.close()
                    status = int(seen[f"child-{child}"] != list(range(1, 21)))
                finally:
                    os._exit(status)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
        stop.set()
        written = writing.result()
    seen = sources(list(log.read(log.start())))
    assert seen.pop("parent") == list(range(1, written + 1))
    assert {name: len(ids) for name, ids in seen.items() if name.startswith("child")} == {
        "child-0": 20, "child-1": 20, "child-2": 20
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_for_no_broker(client: Client) -> None:
    log = made(servers(), client)
    log.append(many(1))
    with log._sending, log._reading, log._asking:  # as threads that are asking brokers now
        pid = os.fork()
        if not pid:
            status = 1
            try:
                log.append(many(1, first=2))
                status = int([s.record.envelope.id for s in log.read(log.start())] != [1, 2])
            finally:
                os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    log.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_ends_as_any_process_does(log: KafkaLog) -> None:
    log.append(many(1))
    list(log.read(log.start()))
    log.end()
    pid = os.fork()
    if not pid:
        import atexit
        import gc

        gc.collect()
        atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(log.append(many(1, first=2))) == 1


@pytest.mark.brokers
def test_nothing_acknowledged_is_lost_with_a_broker(client: Client, tmp_path: Path) -> None:
    if missing() is not None:
        servers()  # says so
    with Cluster(tmp_path / "kafka") as cluster:
        log = made(cluster.servers, client, timeout_s=20.0)
        acknowledged: list[tuple[str, int]] = []
        failed: list[LedgerError] = []
        enough, one_more = threading.Event(), threading.Condition()

        def write(name: str) -> None:
            number = 0
            while not enough.is_set():
                number += 1
                try:
                    log.append([outgoing(number, name)])
                except LogUnavailable as error:
                    failed.append(error)
                else:
                    with one_more:
                        acknowledged.append((name, number))
                        one_more.notify()

        def more(count: int) -> None:
            with one_more:
                wanted = len(acknowledged) + count
                assert one_more.wait_for(lambda: len(acknowledged) >= wanted, 60), failed

        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write, name) for name in "abc"]
            try:
                more(50)
                cluster.kill(0)
                cluster.start(0)
                cluster.wait()
                more(50)
            finally:
                enough.set()
            for writer in writers:
                writer.result()
        found = [(s.record.envelope.source, s.record.envelope.id) for s in log.read(log.start())]
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found))
        log.close()


def test_a_leader_that_kafka_python_does_not_know_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a topic that was just made; the client then raises a KeyError."""
    log = made(servers(), "kafka-python", timeout_s=3)
    wanted = log.end()
    asker = log._client._asker  # type: ignore[attr-defined]
    ask, unknown = asker.end_offsets, [1, 2]

    def end_offsets(partitions: list[object]) -> object:
        if unknown:
            unknown.pop()
            raise KeyError(partitions[0])
        return ask(partitions)

    monkeypatch.setattr(asker, "end_offsets", end_offsets)
    assert log.end() == wanted
    unknown.extend(range(10_000))
    with pytest.raises(LogUnavailable, match="no leader of TopicPartition"):
        log.end()
    unknown.clear()
    log.close()
