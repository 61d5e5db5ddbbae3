"""Ledgers that must not be mixed up, and homes that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mlflow_ledger.bus import KafkaSettings, Settings
from mlflow_ledger.consumers import KafkaLedger, find_replica
from mlflow_ledger.schemas import LogDamaged, LogForeign, LogUnavailable, RunCreated
from tests.hardness.disks import fill, small_disk
from tests.integration.programs import wait_until

from .broker import Cluster
from .hosts import digests, host, new_place, on_hosts
from .servers import drop, need_brokers, servers

pytestmark = pytest.mark.brokers

KAFKA = KafkaSettings(partitions=2, timeout_s=8.0)


def run(run_id: str) -> RunCreated:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def runs(ledger: KafkaLedger) -> list[str]:
    found: list[str] = ledger.query(
        lambda db: [run_id for (run_id,) in db.execute("SELECT run_id FROM runs ORDER BY run_id")]
    )
    return found


def test_two_ledgers_of_one_cluster(tmp_path: Path) -> None:
    first, second = new_place(servers()), new_place(servers())
    try:
        with closing(host(first, tmp_path)) as one, closing(host(second, tmp_path)) as other:
            one.write(lambda _: [run("a")])
            other.write(lambda _: [run("b")])
            assert (runs(one), runs(other)) == (["a"], ["b"])
            assert one.folder != other.folder
            assert one.ledger_id != other.ledger_id
    finally:
        drop(first)
        drop(second)


def reads_until_it_is_told(ledger: KafkaLedger) -> None:
    for _ in range(60):
        ledger._rest_until = 0.0
        with suppress(LogUnavailable):
            ledger.catch_up()


def at_same_address(folder: Path, other: Cluster) -> Cluster:
    cluster = Cluster(folder)
    cluster._ports = other._ports
    return cluster


@pytest.mark.timeout(300)
def test_two_clusters_at_one_address(tmp_path: Path) -> None:
    need_brokers()
    home = tmp_path / "home"
    settings = Settings(home=home, delivery="spool", read_wait_s=1.0, drain_s=0.5)
    with Cluster(tmp_path / "first") as first:
        place = new_place(first.servers)
        old = KafkaLedger(find_replica(place, home, KAFKA), settings, KAFKA)
        old.write(lambda _: [run("old")])
        assert runs(old) == ["old"]
        old.catch_up()
        first.kill(0)
        old.write(lambda _: [run("late")])
        assert runs(old) == ["late", "old"]
        wait_until(lambda: old.forwarder.status().error is not None, 60, "it could not be sent")
    with at_same_address(tmp_path / "second", first), closing(old):
        new = KafkaLedger(find_replica(place, home, KAFKA), settings, KAFKA)
        with closing(new):
            assert new.folder != old.folder
            assert new.ledger_id != old.ledger_id
            new.write(lambda _: [run("new")])
            assert runs(new) == ["new"]
            with pytest.raises((LogForeign, LogDamaged), match=r"there now is cluster|made anew"):
                reads_until_it_is_told(old)
            wait_until(
                lambda: "there now is cluster" in (old.forwarder.status().error or ""),
                60, "what waits is not for this cluster",
            )  # fmt: skip
            assert old.spool.depth().events == 1  # it was for the ledger that is gone
            new.catch_up()
            assert runs(new) == ["new"]


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    place = new_place(servers())
    try:
        with pytest.raises(LogUnavailable, match="MLFLOW_LEDGER_HOME"):
            find_replica(place, tmp_path / "file" / "home", KAFKA)
    finally:
        drop(place)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 2) as place:
        yield place


def test_a_home_that_is_full(disk: Path, tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (elsewhere,):
        ledger = host(elsewhere.kafka.place, disk)
        with closing(ledger):
            ledger.write(lambda _: [run("before")])
            assert runs(ledger) == ["before"]
            filler = fill(disk)
            elsewhere.write(lambda _: [run(f"r{number}") for number in range(400)])
            with pytest.raises(LogUnavailable, match=r"full|disk I/O"):
                ledger.catch_up()
            filler.unlink()
            assert digests(ledger) == digests(elsewhere)
