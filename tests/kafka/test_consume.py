"""The consumer service as a process, on a real broker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.bus import KafkaLog, kafka_place
from mlflow_ledger.consumers import open_ledger
from mlflow_ledger.query.service_metrics import METRICS
from mlflow_ledger.schemas import RunCreated

from .broker import Cluster, missing
from .homes import at, come_up, consume, history, new_uri, say
from .hosts import KAFKA, digests

pytestmark = pytest.mark.brokers

_PATIENCE_S = 90.0


class Consumer:
    """A running service, and what it says of itself."""

    def __init__(self, uri: str, home: Path, *options: str, **environment: str) -> None:
        self.process = consume(uri, home, "--metrics-port", "0", *options, **environment)
        self.said: list[str] = []
        assert self.process.stderr is not None
        while not (found := re.search(r"metrics at (\S+)/metrics", "".join(self.said[-1:]))):
            self.said.append(self.process.stderr.readline())
            assert self.said[-1], "".join(self.said)
        self.url = found.group(1)

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def until(self, holds: Callable[[], bool]) -> None:
        """Look again and again, for as long as a slow machine may take."""
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, (self.health(), self.metrics())
            time.sleep(0.05)  # between two looks

    def until_at(self, uri: str) -> None:
        """Wait until it has folded all that stands in the topics now."""
        log = KafkaLog(kafka_place(uri), KAFKA)
        end = str(log.end())
        log.close()
        self.until(lambda: self.at() == (end, 0))

    def at(self) -> tuple[str, int]:
        _, said = self.health()
        return said["position"], said["lag_events"]

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=_PATIENCE_S)
        return self.process.returncode, "".join(self.said) + said


Start = Callable[..., Consumer]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def make(*arguments: Any, **environment: str) -> Consumer:
        consumer = Consumer(*arguments, **environment)
        started.append(consumer.process)
        return consumer

    yield make
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def uri(tmp_path: Path) -> str:
    uri = new_uri()
    come_up(uri, str(tmp_path / "first"))
    say(uri, history(1, 300))
    return uri


def test_it_follows_says_so_and_drains(uri: str, tmp_path: Path, start: Start) -> None:
    consumer = start(uri, tmp_path / "home", "--snapshot-every", "200")
    consumer.until_at(uri)
    before = consumer.metrics()
    # Prometheus' own parser would drop what is of no type; the text has it all.
    assert set(before) == set(METRICS)
    assert before["mlflow_ledger_brokers_up"] == 1
    assert before["mlflow_ledger_lag_events"] == before["mlflow_ledger_lag_seconds"] == 0
    assert before["mlflow_ledger_rebuild_progress_ratio"] == 1
    consumer.until(lambda: consumer.metrics()["mlflow_ledger_snapshots_published_total"] == 1)
    more = history(2, 100)
    say(uri, more)
    consumer.until_at(uri)
    after = consumer.metrics()
    folded = "mlflow_ledger_folded_events"
    assert after[folded] - before[folded] == len(more)
    applied = "mlflow_ledger_applied_events_total"
    assert after[applied] - before[applied] == len(more)
    status, said = consumer.health()
    assert (status, said["status"]) == (200, "ok")
    assert 0 < said["brokers_up_since"] <= time.time()
    began = time.monotonic()
    status, text = consumer.end()
    assert status == 0, text
    assert time.monotonic() - began < 10
    assert f"ended at {said['position']}" in text
    ledger = at(uri, tmp_path / "home")
    assert ledger.log.last_offset() == after[folded]
    ledger.close()


def test_side_by_side_on_one_host_and_on_two(uri: str, tmp_path: Path, start: Start) -> None:
    blobs = f"file://{tmp_path}/shared"
    homes = [tmp_path / name for name in ("one", "one", "two")]
    consumers = [
        start(uri, home, "--snapshot-every", "50", MLFLOW_LEDGER_BLOBS=blobs) for home in homes
    ]
    for seed in range(3):
        say(uri, history(10 + seed, 120))
    for consumer in consumers:
        consumer.until_at(uri)
    ends = [consumer.end() for consumer in consumers]
    assert [status for status, _ in ends] == [0, 0, 0], ends
    found = set()
    for home in (tmp_path / "one", tmp_path / "two", tmp_path / "three"):
        ledger = at(uri, home)
        found.add(digests(ledger))
        ledger.close()
    assert len(found) == 1
    manifests = list((tmp_path / "shared" / "snapshots").rglob("*.json"))
    assert 1 <= len(manifests) <= 3


def test_a_second_signal_ends_at_once(uri: str, tmp_path: Path, start: Start) -> None:
    consumer = start(uri, tmp_path / "home")
    consumer.until_at(uri)
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        consumer.process.send_signal(number)  # it wakes up with both waiting for it
    consumer.process.communicate(timeout=_PATIENCE_S)
    assert consumer.process.returncode == 128 + signal.SIGTERM


def test_once_catches_up_and_ends(uri: str, tmp_path: Path) -> None:
    process = consume(uri, tmp_path / "home", "--once", "--snapshot-every", "10")
    _, said = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, said
    log = KafkaLog(kafka_place(uri), KAFKA)
    assert f"ended at {log.end()}" in said
    log.close()
    assert len(list((tmp_path / "home").rglob("manifest.json"))) == 1


def test_artifacts_go_from_the_bus_to_the_store(uri: str, tmp_path: Path, start: Start) -> None:
    store = tmp_path / "shared"
    writer = at(uri, tmp_path / "writer")
    digest, size_bytes = writer.carrier.put(b"weights" * 1000)
    consumer = start(uri, tmp_path / "home", MLFLOW_LEDGER_BLOBS=f"file://{store}")
    stored = "mlflow_ledger_blobs_stored_total"
    consumer.until(lambda: consumer.metrics()[stored] == 1)
    consumer.until_at(uri)
    found = consumer.metrics()
    assert found["mlflow_ledger_blobs_waiting"] == found["mlflow_ledger_blob_failures_total"] == 0
    name = digest.removeprefix("sha256:")
    assert (store / "sha256" / name[:2] / name).stat().st_size == size_bytes
    assert consumer.end()[0] == 0
    writer.close()


def test_a_store_that_takes_nothing_is_counted(uri: str, tmp_path: Path, start: Start) -> None:
    store = tmp_path / "file"
    store.write_text("no folder")
    writer = at(uri, tmp_path / "writer")
    writer.carrier.put(b"weights" * 1000)
    writer.close()
    consumer = start(uri, tmp_path / "home", MLFLOW_LEDGER_BLOBS=f"file://{store}")
    consumer.until(lambda: consumer.metrics()["mlflow_ledger_blob_failures_total"] >= 1)
    consumer.until_at(uri)
    assert consumer.health()[0] == 200
    assert consumer.end()[0] == 0


def test_an_embedded_ledger_has_its_service_too(tmp_path: Path) -> None:
    uri = f"ledger:{tmp_path}/store"
    ledger = open_ledger(uri)
    ledger.write(
        lambda _: [
            RunCreated(run_id=f"r{n}", experiment_id="0", experiment_epoch=0, artifact_uri="x")
            for n in range(20)
        ]
    )
    process = consume(uri, tmp_path / "home", "--once", "--snapshot-every", "10")
    _, said = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, said
    assert f"ended at {ledger.log.end()}" in said
    assert len(list((tmp_path / "store" / "snapshots").rglob("manifest.json"))) == 1


def test_brokers_that_go_and_come_back(tmp_path: Path, start: Start) -> None:
    why = missing()
    if why is not None:
        pytest.skip(why)
    environment = {"MLFLOW_LEDGER_KAFKA_TIMEOUT_S": "2"}
    with Cluster(tmp_path / "cluster") as cluster:
        uri = new_uri(cluster.servers)
        early = start(uri, tmp_path / "early", **environment)  # there is no such ledger yet
        early.until(lambda: early.health()[0] == 503)
        come_up(uri, str(tmp_path / "first"))
        say(uri, history(1, 100))
        consumer = start(uri, tmp_path / "home", **environment)
        for one in (early, consumer):
            one.until_at(uri)
        cluster.kill(0, signal.SIGTERM)
        consumer.until(lambda: consumer.health()[0] == 503)
        assert consumer.metrics()["mlflow_ledger_brokers_up"] == 0
        assert consumer.health()[1]["brokers_away_since"] <= time.time()
        cluster.start(0)
        cluster.wait()
        consumer.until(lambda: consumer.health()[0] == 200)
        say(uri, history(2, 100))
        for one in (early, consumer):
            one.until_at(uri)
        status, text = consumer.end()
    assert status == 0, text
    assert text.count("waiting for it") == 1
    assert text.count("the log answers again") == 1
