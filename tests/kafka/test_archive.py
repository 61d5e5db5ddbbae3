"""What brokers have forgotten comes from the archive; what nobody has is named."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from mlflow_ledger.bus import KafkaPlace, Position, Selection, kafka_place
from mlflow_ledger.consumers import archive_of, check_archive, seal
from mlflow_ledger.consumers import sealing as sealing_module
from mlflow_ledger.schemas import ArtifactError, LogDamaged, LogForeign
from tests.bus.programs import start

from .homes import COMMAND, at, come_up, history, new_uri, say
from .hosts import PARTITIONS, digests, host

pytestmark = pytest.mark.brokers


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few events."""
    monkeypatch.setattr(sealing_module, "_MOST_EVENTS", 20)


@pytest.fixture
def uri(tmp_path: Path, blobs: Path) -> str:
    """A ledger whose first part is archived."""
    uri = new_uri()
    records = history(7, 700)
    with closing(at(uri, tmp_path / "first", blobs)) as first:
        say(uri, records[:400])
        first.catch_up()
        sealed = seal(first, archive_of(first))
        assert sealed.position == first.position()
        say(uri, records[400:])
        first.catch_up()
    return uri


def forget(uri: str, ends: Position, back: int = 0) -> None:
    """Have the broker drop all before a position, but for some offsets in front of it."""
    place: KafkaPlace = kafka_place(uri)
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    admin.delete_records(
        {
            TopicPartition(place.topic(topic), number): max(offset - back, 0)
            for (topic, number), offset in ends.offsets.items()
        }
    )
    admin.close()


def archived_to(uri: str, tmp_path: Path, blobs: Path) -> Position:
    with closing(at(uri, tmp_path / "first", blobs)) as first:
        archive = archive_of(first)
        lasts = {}
        for topic, count in {"catalog": 1, "runs": 4, "traces": 4, "artifacts": 4}.items():
            for number in range(count):
                segments = archive.segments((topic, number))
                lasts[topic, number] = segments[-1].following if segments else 0
        return Position(first.ledger_id, lasts)


def from_topics(uri: str, home: Path) -> tuple[str, str]:
    with closing(at(uri, home)) as ledger:
        return digests(ledger)


@pytest.mark.parametrize("back", [0, 3])
def test_a_new_host_reads_the_archive_and_the_tail(
    back: int, uri: str, blobs: Path, tmp_path: Path
) -> None:
    whole = from_topics(uri, tmp_path / "before")
    forget(uri, archived_to(uri, tmp_path, blobs), back)
    with closing(at(uri, tmp_path / "second", blobs)) as second:
        assert digests(second) == whole
    with closing(at(uri, tmp_path / "second", blobs)) as again:
        assert digests(again) == whole
    with closing(at(uri, tmp_path / "first", blobs)) as first:  # it had copied all before
        assert digests(first) == whole
        seal(first, archive_of(first))
    with pytest.raises((LogDamaged, LogForeign), match=r"dropped|truncated"):
        from_topics(uri, tmp_path / "without the archive")


def test_a_host_that_was_away_fills_its_gap_from_the_archive(blobs: Path, tmp_path: Path) -> None:
    other = new_uri()
    records = history(11, 300)
    with closing(at(other, tmp_path / "late", blobs)) as late:
        say(other, records[:100])
        late.catch_up()
    say(other, records[100:200])
    with closing(at(other, tmp_path / "first", blobs)) as first:
        first.catch_up()
        seal(first, archive_of(first))
        forget(other, first.position())
    say(other, records[200:])
    with (
        closing(at(other, tmp_path / "late", blobs)) as late,
        closing(at(other, tmp_path / "new", blobs)) as new,
    ):
        assert digests(late) == digests(new)


def test_what_is_missing_in_between_is_named(uri: str, blobs: Path, tmp_path: Path) -> None:
    end = archived_to(uri, tmp_path, blobs)
    number = next(n for n in range(PARTITIONS) if end.offset(("runs", n)))
    partition, offset = ("runs", number), end.offset(("runs", number))
    forget(uri, Position(end.ledger_id, dict(end.offsets) | {partition: offset + 2}))
    with (
        closing(at(uri, tmp_path / "second", blobs)) as second,
        pytest.raises(LogDamaged, match=f"runs-{number}: events {offset} to {offset + 1} are miss"),
    ):
        second.catch_up()


def test_a_changed_archive_is_not_followed(uri: str, blobs: Path, tmp_path: Path) -> None:
    forget(uri, archived_to(uri, tmp_path, blobs))
    path = min((blobs / "archive").rglob("catalog-0/*.avro"))
    with closing(at(uri, tmp_path / "first", blobs)):  # knows the ledger already
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(ArtifactError, match="was changed"):
        at(uri, tmp_path / "second", blobs)


@pytest.mark.parametrize("step", ["past.taken:2", "mirror.taken", "catchup.folded"])
def test_a_host_that_is_killed_on_its_way_up(
    step: str, uri: str, blobs: Path, tmp_path: Path
) -> None:
    whole = from_topics(uri, tmp_path / "before")
    forget(uri, archived_to(uri, tmp_path, blobs))
    home = tmp_path / "killed"
    process = start(come_up, uri, str(home), str(blobs), failpoint=step)
    process.join(60)
    assert process.exitcode == -9
    with closing(at(uri, home, blobs)) as ledger:
        assert digests(ledger) == whole


def test_without_a_store_that_others_reach_nothing_is_archived(uri: str, tmp_path: Path) -> None:
    with (
        closing(host(kafka_place(uri), tmp_path / "alone", delivery=None)) as ledger,
        pytest.raises(ArtifactError, match="MLFLOW_LEDGER_BLOBS"),
    ):
        archive_of(ledger)


def test_topics_do_not_forget(uri: str, blobs: Path, tmp_path: Path) -> None:
    """Erasing is refused in words, and nothing is said of it."""
    environment = os.environ | {
        "MLFLOW_LEDGER_HOME": str(tmp_path / "first"),
        "MLFLOW_LEDGER_BLOBS": f"file://{blobs}",
    }
    command = [COMMAND, "redact", uri, "experiments:/0", "--reason", "asked for", "--yes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "keeps what it was told" in done.stderr
    with closing(at(uri, tmp_path / "first", blobs)) as first:
        first.catch_up()
        assert list(first.log.select(Selection(("ContentRedacted",), ("experiments:/0",)))) == []


def test_all_of_it_can_be_compared_with_the_log(uri: str, blobs: Path, tmp_path: Path) -> None:
    with closing(at(uri, tmp_path / "first", blobs)) as first:
        archive = archive_of(first)
        sealed = seal(first, archive)  # a second time: where a partition holds a single event too
        assert sealed.position == first.position()
        assert check_archive(first, archive) == first.log.last_offset()
