"""The brokers go away before, during and after a run: nothing waits for them, nothing is lost."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

import pytest

from mlflow_ledger.bus import KafkaSettings, Settings
from mlflow_ledger.consumers import KafkaLedger, find_replica
from mlflow_ledger.schemas import (
    ExperimentCreated,
    KeyValue,
    LogUnavailable,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    RunUpdated,
)

from .broker import Cluster
from .hosts import digests, new_place
from .servers import need_brokers

pytestmark = pytest.mark.brokers

T = TypeVar("T")
HASTE_S = 2.0
"""How long a read waits; what must not wait for the brokers takes less."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_brokers()
    with Cluster(tmp_path_factory.mktemp("outage")) as cluster:
        yield cluster


@pytest.fixture
def up(cluster: Cluster) -> Cluster:
    """The cluster, running."""
    if not cluster.is_running(0):
        cluster.start(0)
    cluster.wait()
    return cluster


def opened(
    cluster: Cluster, home: Path, place: object = None, delivery: Literal["spool", "ack"] = "spool"
) -> KafkaLedger:
    kafka = KafkaSettings(partitions=2, timeout_s=5.0)
    settings = Settings(home=home, delivery=delivery, read_wait_s=HASTE_S, drain_s=0.5)
    found = find_replica(place or new_place(cluster.servers), home, kafka)  # type: ignore[arg-type]
    return KafkaLedger(found, settings, kafka)


def eventually(work: Callable[[], T]) -> T:
    """What comes of it, once the brokers that have just been started answer."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return work()
        except LogUnavailable:
            if time.monotonic() > deadline:
                raise


def run(run_id: str) -> RunCreated:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def tag(run_id: str, key: str, value: str) -> RunDataLogged:
    tags = [KeyValue(key=key, value=value)]
    return RunDataLogged(run_id=run_id, content=RunDataLoggedContent(tags=tags))


def tags(ledger: KafkaLedger, run_id: str) -> dict[str, str]:
    def ask(db: sqlite3.Connection) -> dict[str, str]:
        return dict(
            db.execute(
                "SELECT key, value FROM tags JOIN runs USING (run_no) WHERE run_id = ?", (run_id,)
            )
        )

    return ledger.query(ask)


def test_a_run_goes_on_while_the_brokers_are_away(
    up: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(opened(up, tmp_path / "home")) as ledger:
        ledger.write(lambda _: [run("before")])
        assert tags(ledger, "before") == {}
        up.kill(0)
        began = time.monotonic()
        ledger.write(lambda _: [tag("before", "during", "1")])
        ledger.write(lambda _: [run("during")])
        for number in range(20):
            ledger.write(lambda _, n=number: [tag("during", f"t{n}", "1")])  # type: ignore[misc]
        assert len(tags(ledger, "during")) == 20
        assert tags(ledger, "before") == {"during": "1"}
        ledger.write(lambda _: [tag("during", "t0", "2")])
        assert tags(ledger, "during")["t0"] == "2"
        with pytest.raises(LogUnavailable, match="needs a verdict"):
            ledger.write(
                lambda _: [ExperimentCreated(experiment_id="1", name="x", artifact_location="x")]
            )
        ledger.write(lambda _: [RunUpdated(run_id="during", status="FINISHED")])
        assert "Nothing is lost" in capsys.readouterr().err
        # Whatever waited for the brokers was told once that they are away, and waited no more.
        assert time.monotonic() - began < 10 * HASTE_S
        up.start(0)
        up.wait()
        assert ledger.forwarder.run(30.0) == 0
        there = digests(ledger)
        assert len(tags(ledger, "during")) == 20
    with closing(opened(up, tmp_path / "other", ledger.kafka.place)) as other:
        assert digests(other) == there


def test_a_run_begins_and_ends_without_brokers(up: Cluster, tmp_path: Path) -> None:
    """In another process than the one that knew them: this one never sees any."""
    home = tmp_path / "home"
    with closing(opened(up, home)) as ledger:
        ledger.write(lambda _: [run("known")])
        ledger.catch_up()
        place = ledger.kafka.place
    up.kill(0)
    with closing(opened(up, home, place)) as ledger:
        ledger.write(lambda _: [run("alone")])
        ledger.write(lambda _: [tag("alone", "a", "1")])
        assert tags(ledger, "alone") == {"a": "1"}
    with closing(opened(up, home, place)) as again:  # a third process sees what waits
        assert tags(again, "alone") == {"a": "1"}
    up.start(0)
    up.wait()
    with closing(opened(up, home, place)) as ledger:
        assert ledger.forwarder.run(30.0) == 0
        eventually(ledger.catch_up)
        assert tags(ledger, "alone") == {"a": "1"}


@pytest.mark.parametrize("delivery", ["spool", "ack"])
def test_what_was_sent_just_before_is_not_missed(
    up: Cluster, tmp_path: Path, delivery: Literal["spool", "ack"]
) -> None:
    """It waits in no spool any more, and was not copied back before the brokers went away."""
    with closing(opened(up, tmp_path / "home", delivery=delivery)) as ledger:
        ledger.write(lambda _: [run("known")])
        assert tags(ledger, "known") == {}
        ledger.write(lambda _: [run("sent")])
        ledger.write(lambda _: [tag("sent", "a", "1")])
        assert ledger.forwarder.drain(30.0) == 0
        assert ledger.spool.first() is None
        up.kill(0)
        assert tags(ledger, "sent") == {"a": "1"}
        if delivery == "spool":
            ledger.write(lambda _: [tag("sent", "b", "2")])
            assert tags(ledger, "sent") == {"a": "1", "b": "2"}
        up.start(0)
        up.wait()
        assert ledger.forwarder.run(30.0) == 0
        eventually(ledger.catch_up)
        ledger._rest_until = 0.0
        assert tags(ledger, "sent")["a"] == "1"
        assert len(ledger._unseen) == 0


def test_a_damaged_mirror_is_kept_while_the_brokers_are_away(up: Cluster, tmp_path: Path) -> None:
    with closing(opened(up, tmp_path / "home")) as ledger:
        ledger.write(lambda _: [run("known")])
        assert tags(ledger, "known") == {}
        ledger.catch_up()
        place, path = ledger.kafka.place, ledger.log.path
    damaged = b"garbage" * 1000
    path.write_bytes(damaged)
    up.kill(0)
    with closing(opened(up, tmp_path / "home", place)) as ledger:
        with pytest.raises(LogUnavailable, match="did not answer"):
            tags(ledger, "known")
        assert path.read_bytes() == damaged
        up.start(0)
        up.wait()
        eventually(lambda: tags(ledger, "known"))
        assert path.with_name("log.sqlite.damaged").read_bytes() == damaged


def test_a_killed_process_leaves_its_spool_to_the_next(up: Cluster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with closing(opened(up, home)) as ledger:
        ledger.write(lambda _: [run("known")])
        assert tags(ledger, "known") == {}
        assert ledger.forwarder.drain(30.0) == 0
        ledger.catch_up()
        place = ledger.kafka.place
    up.kill(0)
    child = os.fork()
    if child == 0:
        ledger = opened(up, home, place)
        ledger.write(lambda _: [run("orphan")])
        for number in range(50):
            ledger.write(lambda _, n=number: [tag("orphan", f"t{n}", "1")])  # type: ignore[misc]
        os._exit(0)  # as if killed: nothing is closed, nothing drained
    assert os.waitpid(child, 0)[1] == 0
    up.start(0)
    up.wait()
    with closing(opened(up, home, place)) as ledger:
        assert ledger.spool.depth().events == 51
        eventually(ledger.catch_up)
        ledger.write(lambda _: [tag("known", "next", "1")])  # whoever logs next sends it all
        assert ledger.forwarder.run(30.0) == 0
        assert len(tags(ledger, "orphan")) == 50
        first = digests(ledger)
    with closing(opened(up, tmp_path / "other", place)) as other:
        assert len(tags(other, "orphan")) == 50
        assert digests(other) == first
