"""A ledger as of a moment: what a fresh replay up to there gives, field for field."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import (
    EMBEDDED,
    MirrorLog,
    Outgoing,
    Position,
    Settings,
    SqliteLog,
    Stored,
    uri_of,
)
from mlflow_ledger.consumers import (
    FOLD_VERSION,
    Analytics,
    AsOfLedger,
    Ledger,
    collect,
    drop_cached_states,
    open_ledger,
    plan_collection,
    state_digest,
)
from mlflow_ledger.consumers.clone import Clone
from mlflow_ledger.consumers.snapshots import Snapshots
from mlflow_ledger.query.sql import run_sql
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    BlobMissing,
    LogMissing,
    PastReadOnly,
    RunDeleted,
    RunPurged,
    SettingsError,
    format_time,
)
from tests.bus.programs import created, say, tagged

from .folding import LEDGER_ID, PARTITIONS, State
from .histories import History
from .test_replay import interleaved, logged

EVENTS = 240
KEPT = f"{FOLD_VERSION}-*"


class Mirrored(Ledger):
    """A ledger whose log mirrors topics, without the topics."""

    def _make_log(self, path: Path) -> SqliteLog:
        return MirrorLog(path, PARTITIONS, make_folder=self._make_place)

    def _begin_or_repair(self) -> None:
        with self.keyed_state.lock:
            self.keyed_state.repairing(self.keyed_state.caught_up)


def embedded(folder: Path, records: list[Outgoing]) -> Ledger:
    """An embedded ledger of a random history, with snapshots published on the way."""
    folder.mkdir()
    SqliteLog.create(folder / "log.sqlite", LEDGER_ID)
    ledger = Ledger(folder)
    analytics = Analytics(ledger)
    for begin in range(0, len(records), 60):
        part = records[begin : begin + 60]  # which have one partition a topic here
        ledger.log.append([o._replace(partition=(o.partition[0], 0)) for o in part])
        analytics.publish()
    analytics.close()
    ledger.catch_up()
    return ledger


def replayed(records: list[Stored]) -> str:
    state = State()
    state.apply(records)
    digest = state.digest()
    state.close()
    return digest


@pytest.mark.parametrize("seed", range(6))
def test_any_position_equals_a_fresh_replay(seed: int, tmp_path: Path) -> None:
    randomness = random.Random(seed)
    ledger = embedded(tmp_path / "store", History(seed).records(EVENTS))
    records = list(ledger.log.read(ledger.log.start()))
    assert len(Snapshots(ledger)._older.all()) >= 2
    cuts = [0, 1, *randomness.sample(range(2, len(records)), 7), len(records)]
    for cut in cuts:
        past = AsOfLedger(ledger, str(Position(LEDGER_ID, {EMBEDDED: cut + 1})))
        assert past.query(state_digest) == replayed(records[:cut]), cut
        analytics = Analytics(past)
        found, expected = analytics.digest()
        assert found == expected, cut
        analytics.close()
        past.close()
    assert ledger.query(state_digest) == replayed(records)
    ledger.close()


@pytest.mark.parametrize("seed", range(4))
def test_any_vector_of_topics_equals_a_fresh_replay(seed: int, tmp_path: Path) -> None:
    """A host has the partitions in an order of its own: the cut is no prefix of it."""
    randomness = random.Random(seed)
    _, records = logged(seed, EVENTS)
    folder = tmp_path / "store"
    folder.mkdir()
    MirrorLog.begin(folder / "log.sqlite", LEDGER_ID, {})
    ledger = Mirrored(folder)
    assert isinstance(ledger.log, MirrorLog)
    mixed = interleaved(records, randomness)
    analytics = Analytics(ledger)
    for begin in range(0, len(mixed), 60):
        part = mixed[begin : begin + 60]
        reached = {s.partition: s.offset + 1 for s in part}
        ledger.log.take(part, Position(LEDGER_ID, reached))
        analytics.publish()
    analytics.close()
    ledger.catch_up()
    end = ledger.log.position()
    for _ in range(6):
        cut = Position(LEDGER_ID, {p: randomness.randrange(n + 1) for p, n in end.offsets.items()})
        past = AsOfLedger(ledger, str(cut))
        expected = replayed([s for s in mixed if s.offset < cut.offset(s.partition)])
        assert past.query(state_digest) == expected, cut
        assert past.position() == cut
        past.close()
    times = randomness.sample([s.append_ms for s in records], 4)
    for time_ms in times:
        past = AsOfLedger(ledger, format_time(time_ms))
        before = [s for s in mixed if s.append_ms <= time_ms]
        assert past.query(state_digest) == replayed(before)
        assert {s.record for s in past.log.read(past.log.start())} == {s.record for s in before}
        past.close()
    assert AsOfLedger(ledger, str(end)).query(state_digest) == ledger.query(state_digest)
    ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "store", Settings.read(snapshot_events="1"))
    for number in range(5):
        say(made, created(f"r{number}"), tagged(f"r{number}", "t", str(number)))
    yield made
    made.close()


def runs(db: sqlite3.Connection) -> list[str]:
    return [run for (run,) in db.execute("SELECT run_id FROM runs ORDER BY run_no")]


def at(ledger: Ledger, offset: int) -> str:
    return str(Position(ledger.ledger_id, {EMBEDDED: offset}))


def test_by_uri_and_time(ledger: Ledger) -> None:
    stored = ledger.log.at(5)
    assert stored is not None
    place = uri_of(ledger.folder)
    by_position = open_ledger(f"{place}?as_of={at(ledger, 6)}")
    assert by_position is open_ledger(f"{place}?as_of={at(ledger, 6)}")
    assert by_position.query(runs) == ["r0", "r1"]
    expected = sum(s.append_ms <= stored.append_ms for s in ledger.log.read(ledger.log.start()))
    by_time = open_ledger(f"{place}?as_of={format_time(stored.append_ms)}")
    assert by_time.log.last_offset() == expected
    assert by_time.log.times() is not None


def test_before_the_beginning_it_is_empty(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    for moment in ("1999-01-01T00:00:00Z", at(ledger, 0), at(ledger, 1)):
        past = AsOfLedger(ledger, moment)
        assert past.query(lambda db: db.execute("SELECT * FROM experiments").fetchall()) == []
        assert list(past.log.read(past.log.start())) == []
        assert past.log.sizes() == []
        assert "had not begun" in caplog.text
        analytics = past.new_analytics()
        assert isinstance(analytics, Analytics)
        with analytics.view(catalog=True) as view:
            assert view.columns.execute("SELECT count(*) FROM fold.audit").fetchone() == (0,)
        analytics.close()
        past.close()


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2100-01-01T00:00:00Z", "has not come yet: it is 20"),
        ("v1~{id}~1000", "has not come yet: the log ends at v1~"),
        ("v1~0000~1", "is a position of ledger 0000; this one is"),
        ("v1~{id}~c5~r0", "a position in topics"),
        ("yesterday", "is no moment"),
        ("2026-03-03T12:00:00", "offset"),
    ],
)
def test_what_makes_no_sense_is_said(ledger: Ledger, moment: str, told: str) -> None:
    moment = moment.format(id=ledger.ledger_id)
    with pytest.raises(SettingsError, match=told):
        open_ledger(f"{uri_of(ledger.folder)}?as_of={moment}").query(runs)


def test_no_ledger_is_made(tmp_path: Path) -> None:
    past = open_ledger(f"ledger://{tmp_path}/none?as_of=2020-01-01T00:00:00Z")
    with pytest.raises(LogMissing, match="no ledger"):
        past.query(runs)
    assert not (tmp_path / "none").exists()


def test_nothing_is_written(ledger: Ledger, tmp_path: Path) -> None:
    past = AsOfLedger(ledger, at(ledger, 4))
    for write in (
        lambda: past.write(lambda _: [created("x")]),
        lambda: past.write_and_ask(lambda _: [created("x")], runs),
        lambda: past.carrier.put(b"x"),
        lambda: past.carrier.put_file(tmp_path / "x"),
        past.rebuild,
        lambda: past.log.append([]),
        past.log.transaction,
        lambda: past.rehearse([created("x")]),
    ):
        with pytest.raises(PastReadOnly, match="leave as_of= out"):
            write()  # type: ignore[no-untyped-call]  # a list of lambdas
    assert ledger.query(runs) == [f"r{n}" for n in range(5)]


def test_a_collected_blob_is_named_with_its_date(ledger: Ledger) -> None:
    digest, size_bytes = ledger.blobs.put(b"bytes")
    named = {"digest": digest, "path": "a", "owner": "runs:/r0"}
    say(ledger, ArtifactLogged(**named, size_bytes=size_bytes, written_ns=1))
    past = AsOfLedger(ledger, str(ledger.log.end()))
    assert past.carrier.get(digest) == b"bytes"
    say(ledger, ArtifactDeleted(**named, written_ns=2))
    collect(ledger, plan_collection(ledger, 4_000_000_000_000, 0))
    collect(ledger, plan_collection(ledger, 4_000_000_000_000, 0))
    with pytest.raises(BlobMissing, match=f"blob {digest} was there then, and was collected on 20"):
        past.carrier.get(digest)
    with pytest.raises(BlobMissing) as told:
        past.carrier.get("sha256:" + "0" * 64)
    assert "was collected on" not in str(told.value)


def test_analytics_of_the_present_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came since is taken out of a copy: new runs, and changes to a few old ones."""
    ledger = Ledger(tmp_path / "store")
    for number in range(40):
        say(ledger, created(f"r{number}"), tagged(f"r{number}", "t", "then"))
    moment = str(ledger.log.end())
    say(ledger, tagged("r3", "t", "now"), tagged("r4", "new", "x"), RunPurged(run_id="r5"))
    say(ledger, RunDeleted(run_id="r6", experiment_epoch=0), created("r40"))
    for _ in range(3):  # the moment's own analytics are gone with their snapshot
        analytics = Analytics(ledger)
        say(ledger, tagged("r40", "t", "later"))
        analytics.publish()
        analytics.close()
    taken: list[int] = []
    rewind = Clone.rewind

    def noted(clone: Clone, keyed: sqlite3.Connection, touched: list[int], last: int) -> None:
        taken.append(len(touched))
        rewind(clone, keyed, touched, last)

    monkeypatch.setattr(Clone, "rewind", noted)
    for _ in range(2):
        past = AsOfLedger(ledger, moment)
        analytics = Analytics(past)
        found, expected = analytics.digest()
        assert found == expected
        sql = "SELECT count(*), count(*) FILTER (WHERE value = 'then') FROM tags"
        assert run_sql(past, sql)[1] == [(40, 40)]
        assert run_sql(past, 'SELECT max("offset") FROM audit')[1] == [(past.log.last_offset(),)]
        analytics.close()
        past.close()
    assert taken == [4]  # the next has them from beside the state
    ledger.close()


def test_a_state_is_kept_for_the_next_and_few_are(ledger: Ledger) -> None:
    first = AsOfLedger(ledger, at(ledger, 4))
    assert first.query(runs) == ["r0"]
    kept = {path.name: path.stat().st_ino for path in (ledger.folder / "as-of").glob(KEPT)}
    again = AsOfLedger(ledger, at(ledger, 4))
    assert again.query(runs) == ["r0"]
    assert kept == {path.name: path.stat().st_ino for path in (ledger.folder / "as-of").glob(KEPT)}
    for offset in range(5, 12):
        AsOfLedger(ledger, at(ledger, offset)).query(runs)
    assert len(list((ledger.folder / "as-of").glob(KEPT))) == 4
    assert again.query(runs) == ["r0"]  # it had to go meanwhile
    drop_cached_states(ledger)
    assert [path.name for path in (ledger.folder / "as-of").iterdir()] == ["lock"]
    assert first.query(runs) == ["r0"]


def test_a_damaged_state_is_folded_again(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    AsOfLedger(ledger, at(ledger, 4)).query(runs)
    (state,) = (ledger.folder / "as-of").glob("*/state.sqlite")
    state.write_bytes(b"garbled" * 1000)
    assert AsOfLedger(ledger, at(ledger, 4)).query(runs) == ["r0"]
    assert "nothing is lost" in caplog.text or state.read_bytes()[:6] == b"SQLite"


def test_a_chain_with_a_damaged_link_is_left(ledger: Ledger) -> None:
    analytics = Analytics(ledger)
    for number in range(5, 12):
        say(ledger, created(f"r{number}"))
        analytics.publish()
    analytics.close()
    older = Snapshots(ledger)._older.all()
    assert len(older) >= 4
    older[2].pages.write_bytes(b"garbled")
    for state in older:
        past = AsOfLedger(ledger, at(ledger, state.offset + 1))
        said = [s.record.envelope.type for s in past.log.read(past.log.start())]
        assert len(past.query(runs)) == said.count("RunCreated")
        past.close()
        shutil.rmtree(ledger.folder / "as-of")
    left = [state.seq for state in Snapshots(ledger)._older.all()]
    assert left == [state.seq for state in older[3:]]


def test_threads_and_forks_ask_the_same_moment(ledger: Ledger) -> None:
    past = AsOfLedger(ledger, at(ledger, 8))
    answers: list[list[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(past.query(runs))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [["r0", "r1", "r2"]] * 8
    child = os.fork()
    if child == 0:
        found = past.query(runs) == ["r0", "r1", "r2"]
        os._exit(0 if found else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert past.query(runs) == ["r0", "r1", "r2"]
