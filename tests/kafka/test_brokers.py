"""Three brokers, of which one, another, and then all go away while several processes write."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from mlflow_ledger.consumers import KafkaLedger

from .broker import Cluster
from .hosts import digests
from .servers import need_brokers
from .writers import Notes, marks, opened, start, writing

pytestmark = pytest.mark.brokers

AWAY_S = float(os.environ.get("MLFLOW_LEDGER_TEST_AWAY_S", "8"))
"""How long all brokers are gone; ``make soak`` has them gone for half a minute."""

WITHIN_S = 90 + 2 * AWAY_S


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_brokers()
    with Cluster(tmp_path_factory.mktemp("three"), brokers=3) as cluster:
        yield cluster


def leader(cluster: Cluster, topic: str) -> int:
    """The number of the broker that leads a topic's first partition."""
    admin = KafkaAdminClient(bootstrap_servers=cluster.servers.split(","))
    try:
        (described,) = admin.describe_topics([topic])
        (first,) = (p for p in described["partitions"] if p["partition_index"] == 0)
        return int(first["leader_id"])
    finally:
        admin.close()


class Writers:
    """Processes on two hosts, one of each delivery on either."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.folder = folder
        self.name = f"test-{uuid.uuid4().hex}"
        self.homes = [folder / "one", folder / "other"]
        opened(cluster.servers, self.name, self.homes[0], "ack", timeout_s=30.0).close()
        self.writers = [f"{d}{n}" for n in range(2) for d in ("ack", "spool")]
        self.processes = [
            start(writing, cluster.servers, self.name, self.homes[n], d, folder, f"{d}{n}")
            for n in range(2)
            for d in ("ack", "spool")
        ]

    def go_on(self, count: int = 10) -> None:
        """Wait until each has had so many more calls acknowledged, one with a verdict among it."""
        before = self._returned()

        def further() -> bool:
            now = self._returned()
            return all(len(now[w]) >= len(before[w]) + count for w in self.writers) and all(
                any(m.endswith("0") for m in now[w] - before[w]) for w in self.writers
            )

        self._wait(further, before)

    def end(self) -> None:
        (self.folder / "stop").touch()
        for process in self.processes:
            process.join(WITHIN_S)
            assert process.exitcode == 0

    def _wait(self, until: Callable[[], bool], before: dict[str, set[str]]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not until():
            assert all(process.is_alive() for process in self.processes), "a writer has failed"
            assert time.monotonic() < deadline, self._since(before)
            time.sleep(0.1)  # between two looks

    def _returned(self) -> dict[str, set[str]]:
        returned = Notes.of(self.folder).returned
        return {w: {m for m in returned if m.startswith(f"{w}-")} for w in self.writers}

    def _since(self, before: dict[str, set[str]]) -> dict[str, list[str]]:
        return {
            writer: sorted(found - before[writer]) for writer, found in self._returned().items()
        }


def check(hosts: list[KafkaLedger], notes: Notes) -> None:
    """What was acknowledged is there, nothing is there twice, and all hosts say the same."""
    assert len({digests(host) for host in hosts}) == 1
    for host in hosts:
        found = marks(host)
        assert [mark for mark, count in found.items() if count > 1] == []
        assert notes.returned - found.keys() == set()
        assert found.keys() - notes.tried == set()


@pytest.mark.timeout(600)
def test_brokers_die_while_several_processes_write(cluster: Cluster, tmp_path: Path) -> None:
    writers = Writers(cluster, tmp_path)
    try:
        writers.go_on()
        first = leader(cluster, f"{writers.name}.runs")
        cluster.kill(first)
        writers.go_on()
        cluster.start(first)
        cluster.wait()
        writers.go_on()
        second = (first + 1) % 3
        cluster.kill(second, signal.SIGTERM)
        cluster.start(second)
        cluster.wait()
        writers.go_on()
        for number in range(3):
            cluster.kill(number)
        time.sleep(AWAY_S)  # this is the fault
        for number in range(3):
            cluster.start(number)
        cluster.wait()
        writers.go_on()
        writers.end()
    finally:
        for process in writers.processes:
            process.kill()
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(
                closing(opened(cluster.servers, writers.name, home, "ack", timeout_s=30.0))
            )
            for home in (*writers.homes, tmp_path / "third")
        ]
        for host in hosts:
            assert host.forwarder.run(30.0) == 0
        check(hosts, Notes.of(tmp_path))
