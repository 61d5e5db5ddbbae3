"""examples/consumers/scoring_worker.py, as a process, on a ledger in Kafka, between two topics."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from mlflow import MlflowClient

from tests.asyncapi.team import Program, Team, team

from .programs import PYTHON, SCRIPTS, run, wait_until

pytestmark = pytest.mark.brokers

MODEL, ALIAS, WITHIN_S = "wine", "champion", 120


class Registered:
    """A registered model whose version n predicts n, in a ledger in Kafka."""

    def __init__(self, team: Team, folder: Path) -> None:
        self.environment = {
            "MLFLOW_TRACKING_URI": f"{team.log.place}?delivery=ack",
            "MLFLOW_LEDGER_HOME": str(folder / "home"),
        }
        self.late = folder / "late"
        """Where version 3 lies: a folder that can be moved away."""
        run(folder, PYTHON, SCRIPTS / "constants.py", self.late, **self.environment)
        uri = self.environment["MLFLOW_TRACKING_URI"]
        self._client = MlflowClient(uri, uri)
        late = self._client.create_model_version(MODEL, self.late.as_uri())
        assert int(late.version) == 3

    def promote(self, number: int) -> None:
        self._client.set_registered_model_alias(MODEL, ALIAS, str(number))

    def break_alias(self) -> None:
        self._client.delete_registered_model_alias(MODEL, ALIAS)


class Stream:
    """The topics of rows and of scores."""

    def __init__(self, team: Team) -> None:
        self._servers = team.log.place.servers
        self.rows, self.scores = (f"{team.log.place.name}-{n}" for n in ("rows", "scores"))
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        admin.create_topics(
            {n: {"num_partitions": 2, "replication_factor": 1} for n in (self.rows, self.scores)}
        )
        admin.wait_for_topics([self.rows, self.scores])
        admin.close()
        self._producer = KafkaProducer(bootstrap_servers=self._servers, linger_ms=0)
        self._consumer = KafkaConsumer(
            self.scores, bootstrap_servers=self._servers, group_id=None,
            auto_offset_reset="earliest",
        )  # fmt: skip
        self.sent: list[str] = []
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def send(self, value: bytes | None = None) -> None:
        """A row, with a key of its own."""
        key = f"row-{len(self.sent)}"
        row = value or json.dumps({"x": float(len(self.sent))}).encode()
        self._producer.send(self.rows, key=key.encode(), value=row).get(30)
        self.sent.append(key)

    def look(self) -> None:
        for messages in self._consumer.poll(timeout_ms=50).values():
            self.seen += [(m.key.decode(), json.loads(m.value)) for m in messages]

    def flow_until(self, true: Callable[[], bool], what: str) -> None:
        """Let rows flow until something is the case."""

        def flowed() -> bool:
            self.send()
            self.look()
            return true()

        wait_until(flowed, WITHIN_S, what)

    def flow_until_version(self, version: int) -> None:
        self.flow_until(
            lambda: bool(self.seen) and self.seen[-1][1]["version"] == version,
            f"version {version} scores, not {self.seen[-1:]}",
        )

    def drain(self) -> None:
        """Wait for the scores of all rows."""

        def complete() -> bool:
            self.look()
            return {key for key, _ in self.seen} == set(self.sent)

        wait_until(complete, WITHIN_S, "every row is scored")

    def committed(self) -> int:
        """How many rows the workers' group has done."""
        group = KafkaConsumer(
            bootstrap_servers=self._servers, group_id="scoring", enable_auto_commit=False
        )
        done = [group.committed(TopicPartition(self.rows, number)) or 0 for number in (0, 1)]
        group.close()
        return sum(done)

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()


@pytest.fixture
def ledger() -> Iterator[Team]:
    with team() as made:
        yield made


@pytest.fixture
def registered(ledger: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path / "home"))
    return Registered(ledger, tmp_path)


@pytest.fixture
def stream(ledger: Team) -> Iterator[Stream]:
    made = Stream(ledger)
    yield made
    made.close()


@pytest.fixture
def start(
    ledger: Team, registered: Registered, stream: Stream, tmp_path: Path
) -> Iterator[Callable[[], Program]]:
    started: list[Program] = []

    def starting() -> Program:
        started.append(
            Program(
                tmp_path, "scoring_worker.py", *ledger.options,
                "--model", f"models:/{MODEL}@{ALIAS}",
                "--rows", stream.rows, "--scores", stream.scores,
                **registered.environment,
            )
        )  # fmt: skip
        return started[-1]

    yield starting
    for one in started:
        one.kill()


def test_the_model_is_swapped_while_rows_flow(
    registered: Registered, stream: Stream, start: Callable[[], Program], tmp_path: Path
) -> None:
    worker = start()
    stream.send()
    registered.promote(1)  # rows wait for the first champion
    stream.flow_until_version(1)
    stream.send(b"no row at all")
    stream.send(json.dumps({"y": 1.0}).encode())
    hidden = registered.late.rename(tmp_path / "hidden")
    registered.promote(3)
    worker.wait_for("models:/wine/3 cannot be loaded, the one before stays")
    stream.send()
    stream.drain()
    assert stream.seen[-1][1]["version"] == 1
    hidden.rename(registered.late)
    stream.flow_until_version(3)
    registered.promote(2)
    stream.flow_until_version(2)
    registered.break_alias()  # without an alias the champion stays the one it was
    stream.send()
    stream.drain()
    worker.end()

    assert len(stream.seen) == len(stream.sent)  # nothing failed, so none is scored twice
    assert stream.committed() == len(stream.sent)
    scores = dict(stream.seen)
    odd = [scores[key]["error"] for key in stream.sent if "error" in scores[key]]
    assert len(odd) == 2
    assert odd[0].startswith("JSONDecodeError")
    assert all(s["prediction"] == s["version"] for s in scores.values() if "error" not in s)
    assert [scores[stream.sent[n]]["version"] for n in (0, -1)] == [1, 2]
    by_place = sorted(
        (s["row"].rpartition("/")[0], int(s["row"].rpartition("/")[2]), s["version"])
        for s in scores.values()
    )
    for _, of_partition in itertools.groupby(by_place, key=itemgetter(0)):
        versions = [version for version, _ in itertools.groupby(of_partition, key=itemgetter(2))]
        assert versions == sorted(versions, key=[1, 3, 2].index)  # once changed over, never back


def test_killed_and_started_again_it_scores_every_row(
    registered: Registered, stream: Stream, start: Callable[[], Program]
) -> None:
    registered.promote(1)
    worker = start()
    stream.flow_until_version(1)
    worker.kill()
    registered.promote(2)  # nobody hears of it
    for _ in range(20):
        stream.send()
    worker = start()
    stream.drain()
    worker.end()
    assert "models:/wine/1 scores" not in worker.said()  # no champion of the past is loaded
    assert all(score["prediction"] == score["version"] for _, score in stream.seen)
    assert {dict(stream.seen)[key]["version"] for key in stream.sent[-20:]} == {2}
    assert stream.committed() == len(stream.sent)
