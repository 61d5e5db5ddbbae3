"""A ledger in Kafka is backed up, and restored into topics of another name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from mlflow_ledger.bus import KafkaLog, Position, Settings, kafka_place
from mlflow_ledger.consumers import (
    Restored,
    backup,
    restore_to_folder,
    restore_to_topics,
    source_at,
    state_digest,
)
from mlflow_ledger.schemas import LogForeign
from tests.bus.programs import start

from .homes import at, history, new_uri, say
from .hosts import KAFKA, digests

pytestmark = pytest.mark.brokers


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A backup of a ledger with a history, taken twice."""
    uri, target = new_uri(), tmp_path / "backup"
    records = history(5, 500)
    with closing(at(uri, tmp_path / "first", tmp_path / "shared")) as first:
        for part in (records[:300], records[300:]):
            say(uri, part)
            done = backup(first, target)
            assert done.point.state_digest == first.query(state_digest)
            assert done.point.position == str(first.position())
    return target


def restored(target: Path, uri: str, shared: Path, to: Position | None = None) -> Restored:
    source = source_at(target)
    settings = Settings(blobs=f"file://{shared}")
    return restore_to_topics(
        source, kafka_place(uri), source.cut(to), settings, KAFKA, allow_missing=True
    )


def test_what_is_restored_is_the_ledger(target: Path, tmp_path: Path) -> None:
    uri = new_uri()
    found = restored(target, uri, tmp_path / "other")
    newest = source_at(target).points[-1]
    assert (found.events, found.state_digest) == (newest.events, newest.state_digest)
    assert found.position == newest.position  # there were no holes
    with closing(at(uri, tmp_path / "second", tmp_path / "other")) as second:
        assert digests(second)[0] == newest.state_digest
    again = restored(target, uri, tmp_path / "other")  # there is nothing left to do
    assert again == found


def test_an_earlier_backup_can_be_restored(target: Path, tmp_path: Path) -> None:
    first = source_at(target).points[0]
    found = restored(target, new_uri(), tmp_path / "other", Position.parse(first.position))
    assert (found.events, found.state_digest) == (first.events, first.state_digest)


def test_topics_that_hold_something_else_are_left_alone(target: Path, tmp_path: Path) -> None:
    uri = new_uri()
    with closing(at(uri, tmp_path / "second")):
        pass  # another ledger begins there
    with pytest.raises(LogForeign, match="holds other events"):
        restored(target, uri, tmp_path / "other")
    log = KafkaLog(kafka_place(uri), KAFKA)
    assert len(list(log.read(log.start()))) == 1
    log.close()


def test_it_does_not_become_a_folder(target: Path, tmp_path: Path) -> None:
    source = source_at(target)
    with pytest.raises(LogForeign, match="restore it to ledger"):
        restore_to_folder(source, tmp_path / "folder", source.cut(None), Settings())


def restore(target: str, uri: str, shared: str) -> None:
    """For a process of its own."""
    restored(Path(target), uri, Path(shared))


@pytest.mark.parametrize("step", ["restore.published:3", "restore.written"])
def test_a_restore_that_is_killed_goes_on(step: str, target: Path, tmp_path: Path) -> None:
    uri, shared = new_uri(), tmp_path / "other"
    process = start(restore, str(target), uri, str(shared), failpoint=step)
    process.join(60)
    assert process.exitcode == -9
    found = restored(target, uri, shared)
    assert found.state_digest == source_at(target).points[-1].state_digest
