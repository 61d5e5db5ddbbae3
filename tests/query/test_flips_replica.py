"""A host's copy of topics, the topics themselves, tiles, checkpoints, state: whatever is changed of
them is found. The topics are a list here: a broker's records cannot be changed, but a topic can be
made anew.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_ledger.bus import MemoryLog, MirrorLog, Partition, Position, SqliteLog, Stored, Writer
from mlflow_ledger.consumers import Ledger, SigningKey, Trees
from mlflow_ledger.query.verify import Report, verify
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    LedgerError,
    Record,
    RegisteredModelCreated,
    RunCreated,
    RunCreatedContent,
    RunUpdated,
)
from tests.consumers.folding import BEGINNING, LEDGER_ID, PARTITIONS, Clock

from .test_flips import cells

KEY = SigningKey.new()
CHANGED = 2
"""The number of the record of its partition that is changed, dropped, moved."""


class Replica(Ledger):
    """A host's copy of topics, which are a list of what stands in them."""

    topics: Sequence[Stored] = ()

    def _make_log(self, path: Path) -> SqliteLog:
        return MirrorLog(path, PARTITIONS, make_folder=self._make_place)

    def _begin_or_repair(self) -> None:
        with self.keyed_state.lock:
            self.keyed_state.repairing(self.keyed_state.caught_up)

    def originals(self) -> Iterator[Stored]:
        return iter(self.topics)


def said() -> list[Stored]:
    """The records of some topics, each partition in its order."""
    tags = RunCreatedContent(name="forest", tags=[KeyValue(key="k", value="v")])
    events: list[Event] = [BEGINNING]
    for run_id in ("a", "b"):
        events.append(RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x", content=tags))
        events += [RunUpdated(run_id=run_id, status=s) for s in ("FAILED", "KILLED", "FINISHED")]
    events += [RegisteredModelCreated(model_uid=f"u{n}", name=f"wine {n}") for n in range(4)]
    log, writer = MemoryLog(LEDGER_ID, PARTITIONS, Clock()), Writer(clock=Clock())
    for event in events:
        log.append([writer.stamp(event, PARTITIONS)])
    return list(log.read(log.start()))


def replica(folder: Path, copied: Sequence[Stored], topics: Sequence[Stored]) -> Replica:
    """A host that has copied these records from topics that hold those now."""
    folder.mkdir()
    MirrorLog.begin(folder / "log.sqlite", LEDGER_ID, {})
    made = Replica(folder)
    made.topics = topics
    assert isinstance(made.log, MirrorLog)
    made.log.take(copied, Position(LEDGER_ID, {s.partition: s.offset + 1 for s in copied}))
    made.catch_up()
    return made


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    records = said()
    made = replica(tmp_path_factory.mktemp("signed") / "store", records, records)
    Trees(made, KEY).publish()
    yield made
    made.close()


@pytest.fixture
def copy(signed: Replica, tmp_path: Path) -> Iterator[Replica]:
    shutil.copytree(signed.folder, tmp_path / "store")
    made = Replica(tmp_path / "store")
    made.topics = signed.topics
    yield made
    made.close()


def checked(ledger: Ledger) -> Report:
    return verify(ledger, keys=[KEY.public])


def holds(ledger: Ledger) -> bool:
    try:
        return checked(ledger).holds
    except LedgerError:
        return False


def partition_of(records: Sequence[Stored]) -> Partition:
    """The partition that has the most runs in it."""
    return next(s.partition for s in records if s.partition[0] == "runs")


def test_a_sound_replica_holds(signed: Replica) -> None:
    report = checked(signed)
    assert report.findings == []
    assert sum(tree.signed for tree in report.trees) == report.events == len(signed.topics)
    assert len(report.trees) >= 2


def test_every_byte_of_every_event_in_the_copy_counts(copy: Replica) -> None:
    """Of one event with a content, its source and its schema: the others are like it."""
    missed = []
    path = copy.log.path
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for cell in cells(path):
            if cell.number != CHANGED:
                continue
            change = f"UPDATE {cell.table} SET {cell.column} = {{}} WHERE {cell.key} = ?"
            value = "CAST(? AS TEXT)" if cell.kind == "text" else "?"
            for flipped in cell.flipped():
                try:
                    db.execute(change.format(value), (flipped, cell.number))
                except sqlite3.IntegrityError:
                    continue  # another row has that number or name
                copy.log.close_connections()
                if holds(copy):
                    missed.append((cell, flipped))
                at = flipped if cell.column == cell.key else cell.number
                db.execute(change.format(value), (cell.value, at))
    assert missed == []


@pytest.mark.parametrize("what", ["tile", "checkpoint", "checkpoints"])
def test_every_byte_of_what_was_signed_counts(copy: Replica, what: str) -> None:
    """Of tiles each, of the notes, which hold a signature over the whole, every fifth."""
    trees = copy.folder / "blobs" / "trees" / LEDGER_ID
    topic, number = partition_of(copy.topics)
    tree = trees / topic / str(number)
    files = [p for p in tree.rglob("*") if p.is_file() and p.relative_to(tree).parts[0] == what]
    assert files
    missed = []
    for path in files:
        right = path.read_bytes()
        for at in range(0, len(right), 1 if what.startswith("tile") else 5):
            data = bytearray(right)
            data[at] ^= 1 << (at % 8)
            path.write_bytes(data)
            if holds(copy):
                missed.append((path.name, at))
        path.unlink()
        if what.startswith("tile") and holds(copy):
            missed.append((path.name, -1))
        path.write_bytes(right)
    assert missed == []


Change = Callable[[list[Stored]], list[Stored]]


def changed(records: list[Stored]) -> list[Stored]:
    record = records[CHANGED].record
    other = Record(record.envelope._replace(subject="runs:/another"), record.head, record.content)
    return [*records[:CHANGED], records[CHANGED]._replace(record=other), *records[CHANGED + 1 :]]


def retimed(records: list[Stored]) -> list[Stored]:
    later = records[CHANGED]._replace(append_ms=records[CHANGED].append_ms + 1)
    return [*records[:CHANGED], later, *records[CHANGED + 1 :]]


def swapped(records: list[Stored]) -> list[Stored]:
    records[CHANGED], records[CHANGED + 1] = records[CHANGED + 1], records[CHANGED]
    return records


CHANGES: dict[str, Change] = {
    "changed": changed,
    "dropped": lambda records: records[:CHANGED] + records[CHANGED + 1 :],
    "the last one dropped": lambda records: records[:-1],
    "inserted": lambda records: [
        *records[:CHANGED],
        records[CHANGED]._replace(record=changed(records)[CHANGED].record),
        *records[CHANGED:],
    ],
    "duplicated": lambda records: [*records[: CHANGED + 1], *records[CHANGED:]],
    "reordered": swapped,
    "re-timed": retimed,
}  # fmt: skip


def made_anew(records: Sequence[Stored], change: Change) -> list[Stored]:
    """The topics with one partition made anew, whose offsets count from 0 again."""
    partition = partition_of(records)
    spoilt = change([s for s in records if s.partition == partition])
    others = [s for s in records if s.partition != partition]
    return others + [stored._replace(offset=offset) for offset, stored in enumerate(spoilt)]


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("where", ["the topic", "the copy", "both"])
def test_whatever_is_done_to_records_is_named(
    signed: Replica, tmp_path: Path, how: str, where: str
) -> None:
    """In the topic, which is made anew; in a host's copy; or both, as a new host copies it."""
    right = list(signed.topics)
    spoilt = made_anew(right, CHANGES[how])
    copied, topics = {
        "the topic": (right, spoilt), "the copy": (spoilt, right), "both": (spoilt, spoilt),
    }[where]  # fmt: skip
    with closing(replica(tmp_path / "store", copied, topics)) as ledger:
        shutil.copytree(signed.folder / "blobs", ledger.folder / "blobs", dirs_exist_ok=True)
        report = checked(ledger)
    topic, number = partition_of(right)
    count = sum(s.partition == (topic, number) for s in right)
    at = count - 1 if how == "the last one dropped" else CHANGED
    places = (f"{topic}-{number} at offset {at}", f"{topic}-{number} at offset {at + 1}")
    places += (f"{topic}-{number}, number {at}",)
    named = [f.message for f in report.findings if f.part == "log" and f.place in places]
    assert named, report.findings
    if where != "both":
        assert any("topic" in message for message in named)
    if where != "the topic":
        assert any(f.part == "trees" for f in report.findings)


def test_a_beginning_that_the_topics_have_forgotten_is_no_finding(copy: Replica) -> None:
    """As retention does it; what stands behind is compared all the same."""
    partition = partition_of(copy.topics)
    copy.topics = [s for s in copy.topics if s.partition != partition or s.offset > 1]
    assert checked(copy).findings == []


def test_a_changed_state_of_a_replica_is_named(copy: Replica) -> None:
    path = copy.files.current()
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE runs SET status = 'RUNNING' WHERE run_id = 'a'")
    assert [f.part for f in checked(copy).findings] == ["state"]
