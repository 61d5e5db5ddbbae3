"""A ledger in Kafka on several hosts: one log, one verdict, equal states."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions

from mlflow_ledger.bus import KafkaSettings
from mlflow_ledger.consumers import KafkaLedger, find_replica
from mlflow_ledger.query.audit import audit
from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    KeyValue,
    LogDamaged,
    LogForeign,
    LogMissing,
    Refused,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    format_time,
)
from tests.integration.programs import wait_until

from .hosts import digests, host, new_place, on_hosts
from .servers import drop, servers


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[KafkaLedger]]:
    with on_hosts(servers(), tmp_path) as hosts:
        yield hosts


def experiment(number: int, name: str) -> ExperimentCreated:
    return ExperimentCreated(experiment_id=str(number), name=name, artifact_location="x")


def run(run_id: str) -> RunCreated:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def param(run_id: str, value: str) -> RunDataLogged:
    params = [KeyValue(key="p", value=value)]
    return RunDataLogged(run_id=run_id, content=RunDataLoggedContent(params=params))


def names(ledger: KafkaLedger) -> list[str]:
    def ask(db: sqlite3.Connection) -> list[str]:
        return [row[0] for row in db.execute("SELECT name FROM experiments ORDER BY name")]

    return ledger.query(ask)


def test_what_one_host_says_another_reads_at_once(two: list[KafkaLedger]) -> None:
    one, other = two
    assert one.ledger_id == other.ledger_id
    assert one.folder != other.folder
    for number in range(20):
        one.write(lambda _, n=number: [experiment(n + 1, f"e{n:02}")])  # type: ignore[misc]
        assert f"e{number:02}" in names(other)
    assert digests(one) == digests(other)


def test_the_folder_of_a_replica_names_cluster_and_ledger(two: list[KafkaLedger]) -> None:
    ledger = two[0]
    assert ledger.folder.name.endswith(f"-{ledger.ledger_id}")
    assert ledger.folder.parent.name == ledger.kafka.topics.cluster_id


def test_hosts_that_begin_a_ledger_at_once_begin_the_same(tmp_path: Path) -> None:
    place = new_place(servers())
    settings = KafkaSettings(partitions=2, replication=1)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(
                pool.map(lambda n: find_replica(place, tmp_path / str(n), settings), range(4))
            )
        assert len({replica.ledger_id for replica in found}) == 1
    finally:
        drop(place)


def test_closed_again_it_leaves_a_removed_replica_alone(two: list[KafkaLedger]) -> None:
    """A process closes at its end what it has closed before."""
    ledger = two[0]
    ledger.write(lambda _: [run("r")])
    ledger.close()
    shutil.rmtree(ledger.folder)
    ledger.close()
    assert not ledger.folder.exists()


def race(hosts: list[KafkaLedger], *says: list[Event]) -> list[str]:
    """What became of commands that were given at the same time, each on another host."""

    def give(given: tuple[KafkaLedger, list[Event]]) -> str:
        try:
            given[0].write(lambda _: given[1])
        except Refused as refused:
            return refused.reason.value
        return "accepted"

    with ThreadPoolExecutor(len(says)) as pool:
        return list(pool.map(give, zip(hosts * len(says), says, strict=False)))


def test_of_two_that_take_a_name_one_wins_everywhere_the_same(two: list[KafkaLedger]) -> None:
    for number in range(10):
        name = f"contested {number}"
        ended = race(two, [experiment(2 * number + 1, name)], [experiment(2 * number + 2, name)])
        assert sorted(ended) == ["RESOURCE_ALREADY_EXISTS", "accepted"]
    one, other = digests(two[0]), digests(two[1])
    assert one == other


def test_of_two_values_of_a_param_the_first_in_the_log_holds(two: list[KafkaLedger]) -> None:
    for number in range(5):
        run_id = f"run{number}"
        two[0].write(lambda _, r=run_id: [run(r)])  # type: ignore[misc]
        two[0]._own_runs.clear()  # as if neither had made the run
        ended = race(two, [param(run_id, "a")], [param(run_id, "b")])
        assert sorted(ended) == ["INVALID_PARAMETER_VALUE", "accepted"]
    assert digests(two[0]) == digests(two[1])


def test_who_lost_a_race_decides_again(two: list[KafkaLedger]) -> None:
    """As a version's number is given: one more than the highest there is."""

    def decide(db: sqlite3.Connection) -> list[Event]:
        (count,) = db.execute("SELECT count(*) FROM experiments").fetchone()
        return [experiment(count, f"number {count}")]

    def create(ledger: KafkaLedger) -> None:
        ledger.write(decide)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(create, two * 8))
    assert names(two[0]) == sorted(["Default", *(f"number {n + 1}" for n in range(16))])
    assert digests(two[0]) == digests(two[1])


def test_what_an_alias_names_is_the_same_everywhere(two: list[KafkaLedger]) -> None:
    model = {"model_uid": "u", "name": "m"}
    two[0].write(lambda _: [RegisteredModelCreated(**model)])
    assert (
        race(two, [RegisteredModelCreated(**model)], [RegisteredModelCreated(**model)])
        == ["RESOURCE_ALREADY_EXISTS"] * 2
    )
    aliased = RegisteredModelAliasSet(**model, alias="a", version=1, version_uid="v")
    assert set(race(two, [aliased], [aliased])) == {"RESOURCE_DOES_NOT_EXIST"}


def test_replicas_made_at_any_time_are_equal(two: list[KafkaLedger], tmp_path: Path) -> None:
    randomness = random.Random(5)
    place = two[0].kafka.place
    late = []
    for number in range(60):
        ledger = randomness.choice(two)
        ledger.write(lambda _, n=number: [run(f"r{n}")])  # type: ignore[misc]
        ledger.write(lambda _, n=number: [param(f"r{n}", "v")])  # type: ignore[misc]
        if number % 20 == 10:
            late.append(host(place, tmp_path / f"late-{number}"))
            late[-1].catch_up()
    found = [digests(ledger) for ledger in (*two, *late)]
    for ledger in late:
        ledger.close()
    assert len(set(found)) == 1


def test_a_record_is_named_alike_on_every_host(two: list[KafkaLedger]) -> None:
    for number in range(12):
        two[number % 2].write(lambda _, n=number: [run(f"r{n}")])  # type: ignore[misc]
    named = []
    for ledger in two:
        ledger.catch_up()
        rows = list(audit(ledger))
        named.append({row.position: row.entity for row in rows})
        assert len(named[-1]) == len(rows)
        for row in rows:
            if row.position.rpartition("~")[2].strip("crta0."):  # else it leads to the start
                assert next(iter(audit(ledger, since=row.position))).position == row.position
    assert named[0] == named[1]


def test_poison_is_skipped_counted_and_shown(two: list[KafkaLedger]) -> None:
    place = two[0].kafka.place
    producer = KafkaProducer(bootstrap_servers=place.servers, max_request_size=4_000_000)
    topic = place.topic("catalog")
    for value, headers in (
        (b"garbage", []),
        (b"", [("ce_id", b"1")]),
        (b"\xc3\x01" + b"x" * 600_000, [("ce_specversion", b"1.0")]),
    ):
        producer.send(topic, value=value, headers=headers, partition=0)
    producer.flush()
    producer.close()
    two[0].write(lambda _: [experiment(1, "behind the poison")])
    for ledger in two:
        assert "behind the poison" in names(ledger)
        shown = [row for row in audit(ledger) if row.verdict == "unreadable"]
        assert len(shown) == 3
    assert digests(two[0]) == digests(two[1])


def test_topics_made_anew_are_refused(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        ledger.write(lambda _: [run("r")])
        place = ledger.kafka.place
        drop(place)
        settings = KafkaSettings(partitions=3, replication=1)
        with closing(host(place, tmp_path / "other")) as anew:
            assert anew.ledger_id != ledger.ledger_id
            with pytest.raises(LogForeign, match="made anew"):
                find_replica(place, tmp_path / "host-0", settings)
            ledger._follower._checked = False
            ledger._reading._topics = None
            with pytest.raises(LogForeign, match="made anew"):
                ledger.query(lambda db: db.execute("SELECT 1").fetchall())


def test_a_deleted_topic_of_a_ledger_is_not_made_anew(tmp_path: Path) -> None:
    """A host that knows the ledger does not, and no other, as long as the catalog is there."""
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        ledger.write(lambda _: [experiment(1, "e")])
        place, settings = ledger.kafka.place, KafkaSettings(partitions=3, replication=1)
        admin = KafkaAdminClient(bootstrap_servers=place.servers)

        def deleted(topic: str) -> bool:
            return place.topic(topic) not in admin.list_topics()

        with closing(admin):
            for topic, homes in (("traces", ("host-0", "new")), ("catalog", ("host-0",))):
                admin.delete_topics([place.topic(topic)])
                wait_until(lambda gone=topic: deleted(gone), 30, "the topic is gone")
                for home in homes:
                    with pytest.raises(LogMissing, match=rf"{topic}.* are missing: somebody"):
                        find_replica(place, tmp_path / home, settings)
                assert deleted(topic)


def test_what_follows_for_ever_notices_topics_that_were_made_anew(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        ledger.write(lambda _: [experiment(1, "e")])
        ledger.advance(1.0)
        place = ledger.kafka.place
        drop(place)
        with closing(host(place, tmp_path / "other")) as anew:
            anew.write(lambda _: [experiment(1, "another")])
        ledger._look_again_at = 0.0  # half a minute later
        with pytest.raises(LogForeign, match="made anew"):
            ledger.advance(1.0)


def test_since_a_time_is_what_was_appended_then_or_later(two: list[KafkaLedger]) -> None:
    """In whichever order a host has copied the partitions."""
    one, other = two
    for number in range(12):
        one.write(lambda _, n=number: [run(f"r{n}")])  # type: ignore[misc]
    other.catch_up()
    appended = sorted(stored.append_ms for stored in other.log.rows(1))
    for moment in {appended[0], appended[6], appended[-1]}:
        rows = [*audit(other, since=format_time(moment))]
        assert len(rows) == sum(ms >= moment for ms in appended)
    assert other.log.times() == (appended[0], appended[-1])


def test_a_truncated_topic_is_refused(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        for number in range(5):
            ledger.write(lambda _, n=number: [experiment(n + 1, f"e{n}")])  # type: ignore[misc]
        place = ledger.kafka.place
        admin = KafkaAdminClient(bootstrap_servers=place.servers)
        admin.delete_records({TopicPartition(place.topic("catalog"), 0): 3})
        admin.close()
        settings = KafkaSettings(partitions=3, replication=1)
        with pytest.raises((LogDamaged, LogForeign), match=r"dropped|truncated"):
            find_replica(place, tmp_path / "new", settings)
        with (
            closing(KafkaLedger(ledger._replica, ledger.settings)) as again,
            pytest.raises(LogDamaged, match="catalog-0 begins at 3"),
        ):
            again.query(lambda db: db.execute("SELECT 1").fetchall())


def test_another_count_of_partitions_is_refused(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        place = ledger.kafka.place
        admin = KafkaAdminClient(bootstrap_servers=place.servers)
        admin.create_partitions({place.topic("runs"): NewPartitions(total_count=5)})
        admin.close()
        with pytest.raises(LogForeign, match="partitions"):
            find_replica(place, tmp_path / "new")


def test_no_ledger_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(LogMissing, match="missing"):
        find_replica(new_place(servers()), tmp_path, create=False)
