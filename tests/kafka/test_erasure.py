"""A ledger in Kafka that was created erasable: what was erased is on no host any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlflow.tracking import MlflowClient

from mlflow_ledger.bus import KafkaPlace, Position, kafka_place
from mlflow_ledger.consumers import (
    Analytics,
    Delivery,
    KafkaLedger,
    archive_of,
    begin_ledger,
    by_keys,
    open_ledger,
    plan_redaction,
    redact,
    seal,
)
from mlflow_ledger.query.audit import audit
from mlflow_ledger.query.redacting import scope_about
from mlflow_ledger.query.sql import run_sql
from mlflow_ledger.query.verify import verify
from tests.producers import test_redaction as embedded
from tests.producers.test_redaction import MARK, OTHER, World

from .homes import new_uri
from .hosts import digests, host
from .servers import drop
from .topics import messages


class KafkaWorld(World):
    """As the embedded ledger's, told by one host that spools; another only reads."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.place: KafkaPlace = kafka_place(uri)
        self.folder = folder
        self.blobs = folder / "shared"
        self.client = MlflowClient(uri, uri)
        ledger = begin_ledger(uri, erasable=True)
        assert isinstance(ledger, KafkaLedger)
        self.ledger: KafkaLedger = ledger
        self.run = self._run(MARK)
        self.other = self._run(OTHER)

    def tell_more(self) -> None:
        self.experiment = self.client.create_experiment(
            "structure", tags={"owner": f"{MARK} tag of an experiment"}
        )
        self.logged, self.trace = self._logged_model(MARK), self._trace(MARK)
        self.version = self._model("wine", MARK)

    def another(self, name: str) -> KafkaLedger:
        """Another host, with all that can be made of the log."""
        ledger = host(self.place, self.folder / name, blobs=self.blobs)
        ledger.catch_up()
        return ledger

    def fill(self, ledger: KafkaLedger) -> None:
        """Have a host make all that can be made of what it has read."""
        ledger.catch_up()
        with closing(Analytics(ledger)) as analytics:
            snapshot = analytics.publish()
        bundles = ledger.bundles()
        assert bundles is not None
        if snapshot is not None:
            bundles.publish(ledger.log, snapshot)
        seal(ledger, archive_of(ledger))
        Delivery(ledger).round()
        assert run_sql(ledger, "SELECT * FROM run_tags_history")[1]

    def params(self, position: Position | None = None) -> list[Any]:
        """The params now, or at an earlier moment, whose state is kept for the next who asks."""
        uri = self.uri if position is None else f"{self.uri}?as_of={position}"
        ledger = open_ledger(uri)
        return ledger.query(lambda db: db.execute("SELECT value FROM params").fetchall())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaWorld]:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path / "told"))
    monkeypatch.setenv("MLFLOW_LEDGER_BLOBS", f"file://{tmp_path / 'shared'}")
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_PARTITIONS", "2")
    world = KafkaWorld(new_uri(), tmp_path)
    yield world
    world.ledger.close()
    drop(world.place)


def places(folder: Path, mark: str) -> set[str]:
    """The files below a folder that hold a text in any form, packed ones included."""
    found = embedded.places(folder, mark)
    for path in folder.rglob("*.zst"):
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            data = stream.read()
        if any(form in data for form in embedded.forms(mark)):
            found.add(str(path.relative_to(folder)))
    return found


def topics_hold(place: KafkaPlace, text: bytes) -> list[str]:
    """In which topics some bytes stand."""
    names = ("catalog", "runs", "traces", "artifacts", "keys")
    return [
        name
        for name in names
        if any(text in (m.value or b"") for m in messages(place, place.topic(name)))
    ]


def keys_of(place: KafkaPlace) -> dict[str, bytes | None]:
    """The last message of each key in the topic of the keys."""
    found = {m.key.decode(): m.value for m in messages(place, place.topic("keys"))}
    return {name: value for name, value in found.items() if not name.startswith("replica/")}


def test_a_run_is_erased_on_every_host(world: KafkaWorld) -> None:
    one, two = world.ledger, world.another("two")
    away = world.another("away")
    for ledger in (one, two, away):
        world.fill(ledger)
    before = one.position()
    assert len(world.params(before)) == 4
    found = {place.split("/")[0] for place in places(world.folder, MARK)}
    assert found == {"told", "two", "away", "shared"}
    assert topics_hold(world.place, MARK.encode()) == []  # it was sealed from the first event on
    live, log = digests(two), [stored.record.digest() for stored in two.log.rows(1)]
    assert live == digests(away) == digests(one)

    scope = scope_about(one, f"runs:/{world.run}")
    plan = plan_redaction(one, scope)
    assert plan.contents > 8
    done = redact(one, scope, "the reason of it")

    assert done.contents == plan.contents
    assert (len(done.blobs), len(done.kept)) == (1, 1)
    assert {Path(report.folder).parts[-3] for report in done.waiting} == {"two", "away"}
    assert places(world.folder / "told", MARK) == set()
    assert places(world.folder / "shared", MARK) == set()
    assert places(world.folder / "two", MARK)
    two.follow()
    assert places(world.folder / "two", MARK) == set()
    (report,) = [report for report in by_keys(one).reports() if report.behind]
    assert Path(report.folder).parts[-3] == "away"
    away.close()
    back = world.another("away")
    assert places(world.folder, MARK) == set()
    assert [report for report in by_keys(one).reports() if report.behind] == []

    late = world.another("late")  # has never had the keys
    found_digests = {digests(ledger) for ledger in (one, two, back, late)}
    assert len(found_digests) == 1
    assert [s.record.digest() for s in two.log.rows(1)][: len(log)] == log
    assert places(world.folder, OTHER)
    lost = [name for name, value in keys_of(world.place).items() if value is None]
    assert len(lost) == done.keys
    assert verify(one).findings == []
    assert sorted(world.params(before)) == [("1",), (f"{OTHER} param",)]
    run = world.client.get_run(world.run)
    assert (run.data.params, run.data.metrics, run.data.tags) == ({}, {}, {})
    assert world.client.list_artifacts(world.run) == []
    assert [f.path for f in world.client.list_artifacts(world.other)] == ["notes.txt", "shared.txt"]
    rows = [row for row in audit(one, f"runs:/{world.run}") if row.action == "ContentRedacted"]
    assert rows[0].detail["reason"] == "the reason of it"
    for ledger in (two, back, late):
        ledger.close()
    world.client.log_param(world.run, "param", "anew")  # its history begins again
    assert world.client.get_run(world.run).data.params == {"param": "anew"}
    world.client.log_text(world.run, f"{MARK} in an artifact", "notes.txt")
    path = world.client.download_artifacts(world.run, "notes.txt", str(world.folder))
    assert Path(path).read_text("utf-8").startswith(MARK)
