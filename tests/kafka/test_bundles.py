"""Hosts that have no replica yet begin with what another has published, and end up the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mlflow_ledger.bus import Position
from mlflow_ledger.consumers import Analytics, Bundle, Bundles
from mlflow_ledger.consumers.kafka_ledger import KafkaLedger
from tests.bus.programs import start

from .homes import at, come_up, history, new_uri, say
from .hosts import digests

pytestmark = pytest.mark.brokers


def published(ledger: KafkaLedger) -> Bundle | None:
    """What a host publishes now."""
    ledger.catch_up()
    analytics = Analytics(ledger)
    try:
        snapshot = analytics.publish()
    finally:
        analytics.close()
    bundles = ledger.bundles()
    assert isinstance(bundles, Bundles)
    assert snapshot is not None
    return bundles.publish(ledger.log, snapshot)


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def uri(tmp_path: Path, blobs: Path) -> str:
    """A ledger with a history, of which a first host has published the first part."""
    uri = new_uri()
    records = history(random.randrange(10**6), 700)
    first = at(uri, tmp_path / "first", blobs)
    say(uri, records[:400])
    assert published(first) is not None
    first.close()
    say(uri, records[400:])
    return uri


def files(blobs: Path, pattern: str) -> list[Path]:
    return sorted((blobs / "snapshots").rglob(pattern))


def from_topics(uri: str, home: Path) -> tuple[str, str]:
    """What a host comes to that has read all topics from the start."""
    ledger = at(uri, home)
    found = digests(ledger)
    ledger.close()
    return found


def test_a_cold_start_ends_where_the_topics_lead(uri: str, blobs: Path, tmp_path: Path) -> None:
    [manifest] = files(blobs, "*.json")
    bundle = Bundle.parse(manifest.read_bytes())
    ledger = at(uri, tmp_path / "second", blobs)
    ledger.follow()
    assert ledger.log.origin(bundle.events + 1)  # it went on where the bundle ends
    state = ledger.files.current()
    assert state is not None
    newest = Analytics(ledger)._snapshots.newest(state.name)
    assert newest is not None
    assert newest.seq == bundle.seq
    assert digests(ledger) == from_topics(uri, tmp_path / "third")
    assert list(ledger.folder.glob(".cold*")) == []
    ledger.close()


def damage_a_file(blobs: Path) -> None:
    path = files(blobs, "state.sqlite.zst")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_a_file(blobs: Path) -> None:
    path = files(blobs, "log.sqlite.zst")[0]
    path.write_bytes(path.read_bytes()[:1000])


def lose_a_file(blobs: Path) -> None:
    files(blobs, "analytics.duckdb.zst")[0].unlink()


def garble_the_manifest(blobs: Path) -> None:
    files(blobs, "*.json")[0].write_text("{")


def _change(blobs: Path, **fields: object) -> None:
    [path] = files(blobs, "*.json")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


def name_other_topics(blobs: Path) -> None:
    [path] = files(blobs, "*.json")
    facts = json.loads(path.read_text("utf-8"))["facts"]
    _change(blobs, facts=facts | {"topic_id.runs": "AAAA"})


def name_another_cluster(blobs: Path) -> None:
    [path] = files(blobs, "*.json")
    facts = json.loads(path.read_text("utf-8"))["facts"]
    _change(blobs, facts=facts | {"cluster_id": "elsewhere"})


def name_another_position(blobs: Path) -> None:
    _change(blobs, position=str(Position("0" * 16, {("runs", 0): 7})))


@pytest.mark.parametrize(
    "harm",
    [
        damage_a_file, cut_a_file, lose_a_file, garble_the_manifest, name_other_topics,
        name_another_cluster, name_another_position,
    ],
)  # fmt: skip
def test_a_bundle_that_is_no_good_is_left_out(
    harm: object, uri: str, blobs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(harm)
    harm(blobs)
    ledger = at(uri, tmp_path / "second", blobs)
    found = digests(ledger)
    assert any("left out" in m or "cannot begin with a snapshot" in m for m in caplog.messages)
    assert found == from_topics(uri, tmp_path / "third")
    ledger.close()


def test_a_store_that_is_away_costs_a_warning(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "file"
    place.write_text("no folder")
    ledger = at(uri, tmp_path / "second", place)
    ledger.catch_up()
    assert ledger.log.last_offset() > 0
    assert caplog.messages == []  # nothing was ever published there
    ledger.close()


def test_of_equal_positions_the_first_is_kept(uri: str, blobs: Path, tmp_path: Path) -> None:
    one, other = (at(uri, tmp_path / name, blobs) for name in ("one", "other"))
    assert published(one) is not None
    before = files(blobs, "*")
    assert published(other) is None
    assert [path for path in files(blobs, "*") if path.is_file()] == [
        path for path in before if path.is_file()
    ]
    one.close()
    other.close()


def test_two_are_kept(uri: str, blobs: Path, tmp_path: Path) -> None:
    ledger = at(uri, tmp_path / "one", blobs)
    names = []
    for seed in range(3):
        say(uri, history(seed, 70)[1:])
        bundle = published(ledger)
        assert bundle is not None
        names.append(bundle.name)
    assert [path.stem for path in files(blobs, "*.json")] == names[1:]
    assert len(files(blobs, "*.zst")) == 6
    ledger.close()


STEPS = ("cold.fetched", "cold.placed", "mirror.taken:1", "catchup.begun", "catchup.folded")


@pytest.mark.parametrize("step", STEPS)
def test_a_host_that_is_killed_on_its_way_up(
    step: str, uri: str, blobs: Path, tmp_path: Path
) -> None:
    home = tmp_path / "killed"
    process = start(come_up, uri, str(home), str(blobs), failpoint=step)
    process.join(60)
    assert process.exitcode == -9
    ledger = at(uri, home, blobs)
    assert digests(ledger) == from_topics(uri, tmp_path / "third")
    ledger.close()


def test_a_publisher_that_is_killed_leaves_nothing_that_is_used(
    uri: str, blobs: Path, tmp_path: Path
) -> None:
    process = start(publish, uri, str(tmp_path / "killed"), str(blobs), failpoint="bundle.uploaded")
    process.join(60)
    assert process.exitcode == -9
    assert len(files(blobs, "*.json")) == 1
    assert len(files(blobs, "log.sqlite.zst")) == 2
    ledger = at(uri, tmp_path / "second", blobs)
    assert digests(ledger) == from_topics(uri, tmp_path / "third")
    ledger.close()


def publish(uri: str, home: str, blobs: str) -> None:
    """For a process of its own: catch up and publish."""
    published(at(uri, Path(home), Path(blobs)))


def test_a_host_that_is_killed_again_and_again(uri: str, blobs: Path, tmp_path: Path) -> None:
    """SIGKILL at moments that nobody chose, until it has come up."""
    home, chance = tmp_path / "killed", random.Random()
    for _ in range(6):
        process = start(come_up, uri, str(home), str(blobs))
        process.join(chance.uniform(0.02, 0.6))
        process.kill()
        process.join(60)
    ledger = at(uri, home, blobs)
    assert digests(ledger) == from_topics(uri, tmp_path / "third")
    ledger.close()


class Told:
    """What somebody was told of long work."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.stops = 0

    def __call__(self, what: str, done: int, of: int) -> None:
        self.told.append((what, done, of))

    def stop(self) -> None:
        self.stops += 1


def test_long_work_is_told_and_short_work_is_not(
    uri: str, blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    ledger = at(uri, tmp_path / "short", blobs, told)
    digests(ledger)
    assert told.told == []
    ledger.close()
    monkeypatch.setattr("mlflow_ledger.consumers.follower.WORTH_TELLING", 50)
    monkeypatch.setattr("mlflow_ledger.consumers.replicated.WORTH_TELLING", 50)
    monkeypatch.setattr("mlflow_ledger.consumers.cold_start._MIN_TOLD_BYTES", 1)
    monkeypatch.setattr("mlflow_ledger.consumers.keyed_state._BATCH", 100)
    ledger = at(uri, tmp_path / "long", blobs, told)
    digests(ledger)
    ledger.close()
    assert {what for what, _, _ in told.told} == {
        "fetching the snapshot, bytes", "copying events", "folding events",
    }  # fmt: skip
    for work in {what for what, _, _ in told.told}:
        parts = [(done, of) for what, done, of in told.told if what == work]
        assert parts == sorted(parts)
        assert parts[-1][0] == parts[-1][1]
    assert told.stops >= 3
