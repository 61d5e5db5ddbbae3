"""Analytics: however a clone came to where it is, it holds what the state says."""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mlflow_ledger.bus import FileLock
from mlflow_ledger.consumers import Analytics, AnalyticsDamaged, Ledger
from mlflow_ledger.consumers import clone as clone_module
from mlflow_ledger.consumers.clone import Clone
from mlflow_ledger.consumers.snapshots import Snapshot, Snapshots
from mlflow_ledger.schemas import (
    DatasetInput,
    Event,
    InputsLogged,
    InputsLoggedContent,
    KeyValue,
    LedgerCreated,
    Point,
    Refused,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    RunPurged,
    RunTagDeleted,
    metric_columns,
    points,
)

from .histories import History

EVENTS = 200
TABLES = (
    "experiments", "experiment_tags", "model_versions", "model_version_tags", "model_aliases",
    "rejections", "audit",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Clones are made in a folder of their own, so that what is left of them can be seen."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("scratch"))
    yield Path(tempfile.tempdir)
    tempfile.tempdir = before


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    ledger = Ledger(folder)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "store") as ledger:
        yield ledger


def say(ledger: Ledger, *events: Event) -> None:
    """Write events one by one; those that the rules refuse are part of the history."""
    for event in events:
        try:
            ledger.write(lambda _, event=event: [event])  # type: ignore[misc]  # mypy: lambda default
        except Refused:
            continue


def created(run_id: str, *tags: str) -> list[Event]:
    made = RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")
    content = RunDataLoggedContent(tags=[KeyValue(key=tag, value=run_id) for tag in tags])
    return [made, RunDataLogged(run_id=run_id, content=content)]


def tagged(run_id: str, count: int) -> list[Event]:
    return [
        RunDataLogged(
            run_id=run_id,
            content=RunDataLoggedContent(tags=[KeyValue(key=f"t{number}", value="x")]),
        )
        for number in range(count)
    ]


def agreed(analytics: Analytics) -> str:
    """The digest of analytics, which must be what the state says."""
    ours, of_state = analytics.digest()
    assert ours == of_state
    return ours


def catalog(analytics: Analytics) -> dict[str, list[str]]:
    """All rows of the tables that are not about runs, in an order of their own."""
    with analytics.view(catalog=True) as view:
        return {
            name: sorted(map(repr, view.columns.execute(f"SELECT * FROM fold.{name}").fetchall()))
            for name in TABLES
        }


def looked_at(ledger: Ledger) -> tuple[str, dict[str, list[str]]]:
    """What a process sees that has no clone yet."""
    analytics = Analytics(ledger)
    try:
        return agreed(analytics), catalog(analytics)
    finally:
        analytics.close()


def starts_from(ledger: Ledger) -> int:
    """At which event the next clone of a process starts, before it catches up."""
    analytics = Analytics(ledger)
    with ledger.read() as keyed:
        generation = keyed.execute("PRAGMA database_list").fetchone()[2]
        (seq,) = keyed.execute("SELECT max(seq) FROM progress").fetchone()
        (floor,) = keyed.execute(
            "SELECT coalesce(max(value), 0) FROM meta WHERE key = 'changes_floor'"
        ).fetchone()
    clone = analytics._make_clone(generation, int(floor), seq)
    try:
        return int(clone.seq)
    finally:
        clone.close()


def snapshots(ledger: Ledger) -> list[Snapshot]:
    return Snapshots(ledger).all()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**48))
def test_incremental_from_a_snapshot_or_from_nothing_is_the_same(seed: int) -> None:
    note(f"seed {seed}")
    randomness = random.Random(seed)
    events = [e for e in History(seed).events(EVENTS) if not isinstance(e, LedgerCreated)]
    published = randomness.randrange(20, EVENTS - 20)
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "store") as ledger:
        incremental = Analytics(ledger)
        start = 0
        while start < len(events):
            end = start + randomness.randrange(1, 60)
            say(ledger, *events[start:end])
            agreed(incremental)
            if start <= published < end:
                assert incremental.publish() is not None
            start = end
        live = agreed(incremental), catalog(incremental)
        incremental.close()

        [snapshot] = snapshots(ledger)
        assert starts_from(ledger) == snapshot.seq > 0
        assert looked_at(ledger) == live

        shutil.rmtree(ledger.folder / "snapshots")
        assert starts_from(ledger) == 0
        assert looked_at(ledger) == live

        ledger.rebuild()
        assert looked_at(ledger) == live


def test_what_is_held_at_once_does_not_grow_with_the_state(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows go to the columns in batches, from the whole state as well as from its changes."""
    batches: list[int] = []
    insert = Clone._insert

    def counted(clone: Clone, name: str, batch: pa.Table) -> None:
        batches.append(batch.num_rows)
        insert(clone, name, batch)

    monkeypatch.setattr(Clone, "_insert", counted)
    monkeypatch.setattr(clone_module, "_ROW_BATCH", 5)
    monkeypatch.setattr(clone_module, "_CHANGE_BATCH", 4)
    monkeypatch.setattr(clone_module, "_HISTORY_BATCH_BYTES", 24 * 5)
    events = [e for e in History(7).events(2 * EVENTS) if not isinstance(e, LedgerCreated)]
    analytics = Analytics(ledger)
    say(ledger, *events[:EVENTS])
    loaded = agreed(analytics)
    assert loaded == looked_at(ledger)[0]
    say(ledger, *events[EVENTS:])
    followed = agreed(analytics), catalog(analytics)
    assert followed == looked_at(ledger)
    assert len(batches) > 40
    largest = max(len(_points(event)) for event in events)
    assert max(batches) <= max(5 + largest, len(followed[1]["audit"]))
    analytics.close()


def _points(event: Event) -> list[Point]:
    return list(points(event.content)) if isinstance(event, RunDataLogged) else []


def test_a_long_question_draws_nothing_into_the_output(ledger: Ledger, scratch: Path) -> None:
    """DuckDB would, where it takes a process for an interactive one, such as `python -c`."""
    say(ledger, *created("r"))
    program = (
        "import sys; from pathlib import Path; from mlflow_ledger.consumers import *\n"
        "with Analytics(Ledger(Path(sys.argv[1]))).view() as view:\n"
        "    print(view.columns.sql(\"SELECT current_setting('enable_progress_bar')\").fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ledger.folder],
        env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[(False,)]\n"


def test_what_the_columns_hold(ledger: Ledger) -> None:
    """Told from the events alone, since the digests of both sides share some code."""
    points = [
        Point("loss", 0.5, 1, 0), Point("loss", math.nan, 2, 1), Point("loss", math.inf, 3, 2),
        Point("acc", -0.0, 1, 0),
    ]  # fmt: skip
    content = RunDataLoggedContent(
        **metric_columns(points),  # type: ignore[arg-type]  # pydantic checks
        params=[KeyValue(key="p", value="1")],
    )
    dataset = DatasetInput(
        name="d",
        digest="1",
        source_type="local",
        source="x",
        tags=[KeyValue(key="mlflow.data.context", value="train")],
    )
    say(
        ledger,
        *created("a", "t", "u"),
        RunDataLogged(run_id="a", content=content),
        InputsLogged(run_id="a", content=InputsLoggedContent(datasets=[dataset])),
        *created("b", "t"),
        RunTagDeleted(run_id="a", tag="u"),
    )
    analytics = Analytics(ledger)

    def rows(table: str, columns: str) -> list[Any]:
        with analytics.view() as view:
            return view.columns.execute(
                f"SELECT run_id, {columns} FROM fold.{table} JOIN fold.runs USING (run_no) "
                "ORDER BY ALL"
            ).fetchall()

    largest = sys.float_info.max
    assert rows("history", "key, fold.history.value, is_nan, timestamp_ms, step") == [
        ("a", "acc", 0.0, False, 1, 0),
        ("a", "loss", 0.0, True, 2, 1),
        ("a", "loss", 0.5, False, 1, 0),
        ("a", "loss", largest, False, 3, 2),
    ]
    assert rows("metrics", "key, value") == [("a", "acc", 0.0), ("a", "loss", largest)]
    assert rows("params", "key, value") == [("a", "p", "1")]
    assert rows("tags", "key, value") == [("a", "t", "a"), ("b", "t", "b")]
    assert rows("inputs", "fold.inputs.name, digest, context") == [("a", "d", "1", "train")]

    # What is gone for good is gone here too, and a run of the same id starts with nothing.
    say(ledger, RunPurged(run_id="a"), *created("a", "v"))
    assert rows("tags", "key, value") == [("a", "v", "a"), ("b", "t", "b")]
    for table in ("history", "metrics", "params", "inputs"):
        assert rows(table, "1") == []
    agreed(analytics)
    analytics.close()


def test_changes_are_trimmed_below_the_oldest_snapshot(ledger: Ledger) -> None:
    """By whoever publishes, which may be a process that never wrote."""
    say(ledger, *created("a"))
    with opened(ledger.folder) as reader:
        analytics, behind = Analytics(reader), Analytics(reader)
        agreed(behind)
        for _ in range(4):
            say(ledger, *tagged("a", 20))
            assert analytics.publish() is not None
        kept = snapshots(ledger)
        assert len(kept) == 2
        assert len(list((ledger.folder / "snapshots").glob("*-*"))) == 2
        (oldest, floor) = ledger.query(
            lambda db: (
                db.execute("SELECT min(seq) FROM changes").fetchone()[0],
                db.execute("SELECT value FROM meta WHERE key = 'changes_floor'").fetchone(),
            )
        )
        assert oldest > kept[0].seq
        assert floor == (str(kept[0].seq),)
        # A clone from before what was trimmed cannot catch up: it is replaced.
        say(ledger, *tagged("a", 3))
        assert agreed(behind) == agreed(analytics)
        analytics.close()
        behind.close()


def test_a_clone_of_another_generation_is_discarded(ledger: Ledger) -> None:
    say(ledger, *created("gone"), RunPurged(run_id="gone"), *created("a", "t"))
    analytics = Analytics(ledger)
    before = agreed(analytics)
    analytics.publish()
    with opened(ledger.folder) as other:
        other.rebuild()
    assert agreed(analytics) == before
    # Snapshots of the old generation are of no use either, and go with the next that is published.
    say(ledger, *tagged("a", 1))
    assert starts_from(ledger) == 0
    [of_old] = snapshots(ledger)
    analytics.publish()
    assert of_old.folder not in [snapshot.folder for snapshot in snapshots(ledger)]
    assert not of_old.folder.exists()
    analytics.close()


def test_a_clone_never_starts_ahead_of_what_its_reader_sees(ledger: Ledger) -> None:
    """A snapshot may be published between the opening of a view and the copying of the clone."""
    say(ledger, *created("a"), *tagged("a", 3))
    point = RunDataLoggedContent(**metric_columns([Point("loss", 0.5, 1, 0)]))  # type: ignore[arg-type]  # pydantic checks
    behind, analytics = Analytics(ledger), Analytics(ledger)
    with ledger.read() as keyed:
        (seen,) = keyed.execute("SELECT max(seq) FROM progress").fetchone()
        say(ledger, RunDataLogged(run_id="a", content=point))
        assert analytics.publish() is not None
        clone = behind._current(keyed)
        assert clone.seq == seen
        assert clone.db.execute("SELECT count(*) FROM fold.history").fetchone() == (0,)
    assert agreed(behind) == agreed(analytics)
    behind.close()
    analytics.close()


@pytest.mark.parametrize("how", ["nonsense", "empty", "cut", "one block", "no file"])
def test_a_garbled_snapshot_is_ignored_and_removed(ledger: Ledger, how: str, scratch: Path) -> None:
    say(ledger, *created("a", "t"), *tagged("a", 50))
    analytics = Analytics(ledger)
    before = agreed(analytics), catalog(analytics)
    snapshot = analytics.publish()
    assert snapshot is not None
    analytics.close()
    left = set(clones(scratch))
    whole = snapshot.analytics.read_bytes()
    block = 4096 * 3
    garbled = {
        "nonsense": b"nonsense" * 1000,
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "one block": whole[:block] + bytes(reversed(whole[block:])),
    }
    assert len(whole) > block + 300_000
    if how == "no file":
        snapshot.analytics.unlink()
    else:
        snapshot.analytics.write_bytes(garbled[how])
    assert looked_at(ledger) == before
    assert snapshots(ledger) == []
    assert set(clones(scratch)) == left


def test_damage_that_shows_late_fails_one_question_and_no_more(ledger: Ledger) -> None:
    long = {f"t{number}": random.Random(number).randbytes(2000).hex() for number in range(300)}
    say(ledger, *created("a"))
    for key, value in long.items():
        content = RunDataLoggedContent(tags=[KeyValue(key=key, value=value)])
        say(ledger, RunDataLogged(run_id="a", content=content))
    analytics = Analytics(ledger)
    before = agreed(analytics)
    snapshot = analytics.publish()
    assert snapshot is not None
    analytics.close()
    whole = snapshot.analytics.read_bytes()
    pristine = shutil.copytree(snapshot.folder, ledger.folder / "pristine")

    def fails_late(at: int) -> bool:
        """Whether one wrong bit there lets the file be opened, but not be read."""
        shutil.copytree(pristine, snapshot.folder, dirs_exist_ok=True)
        snapshot.analytics.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            analytics.digest()
        except AnalyticsDamaged as error:
            return "Corrupt" in str(error)
        analytics.close()
        return False

    assert any(fails_late(at) for at in range(len(whole) - 100, 0, -50_000))
    assert not snapshot.folder.exists()
    assert agreed(analytics) == before
    with pytest.raises(duckdb.CatalogException), analytics.view() as view:
        view.columns.execute("SELECT * FROM what_is_not_there")
    assert analytics._clone is not None  # a question that makes no sense costs nothing
    analytics.close()


def clones(scratch: Path) -> list[str]:
    """The folders of clones."""
    (root,) = scratch.glob("mlflow-ledger-*")
    return [folder.name for folder in root.iterdir() if folder.is_dir()]


def test_a_clone_leaves_nothing_and_what_a_dead_process_left_goes(
    ledger: Ledger, scratch: Path
) -> None:
    say(ledger, *created("a"))
    code = (
        "import os, signal, sys, tempfile; tempfile.tempdir = sys.argv[2]\n"
        "from pathlib import Path\n"
        "from mlflow_ledger.consumers import Analytics, AnalyticsDamaged, Ledger\n"
        "analytics = Analytics(Ledger(Path(sys.argv[1])))\n"
        "analytics.digest()\n"
        "if sys.argv[3:]: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    before = set(clones(scratch)) if list(scratch.glob("mlflow-ledger-*")) else set()
    program = [sys.executable, "-c", code, str(ledger.folder), str(scratch)]
    assert subprocess.run(program, check=True).returncode == 0
    assert set(clones(scratch)) <= before  # one that ends removes its clone, and what others left
    subprocess.run([*program, "die"], check=False)
    [left] = set(clones(scratch)) - before
    analytics = Analytics(ledger)
    agreed(analytics)
    assert left not in clones(scratch)
    analytics.close()
    assert set(clones(scratch)) == before


def test_processes_that_start_at_once_keep_their_clones(ledger: Ledger, scratch: Path) -> None:
    """Whoever cleans up takes only what is nobody's, however fresh it is."""
    say(ledger, *created("a"), *tagged("a", 5))
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[2]\n"
        "from pathlib import Path\n"
        "from mlflow_ledger.consumers import Analytics, AnalyticsDamaged, Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "sys.stdin.readline()\n"
        "for _ in range(15):\n"
        "    analytics = Analytics(ledger)\n"
        "    ours, states = analytics.digest()\n"
        "    assert ours == states\n"
        "    assert analytics._clone._path.exists()\n"
        "    analytics.close()\n"
    )
    program = [sys.executable, "-c", code, str(ledger.folder), str(scratch)]
    started = [subprocess.Popen(program, stdin=subprocess.PIPE) for _ in range(3)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in started:
        process.communicate()
        assert process.returncode == 0


def test_a_forked_child_gets_a_clone_of_its_own(ledger: Ledger, scratch: Path) -> None:
    say(ledger, *created("a", "t"))
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[2]\n"
        "from pathlib import Path\n"
        "from mlflow_ledger.consumers import Analytics, AnalyticsDamaged, Ledger\n"
        "analytics = Analytics(Ledger(Path(sys.argv[1])))\n"
        "digest, parents = analytics.digest(), analytics._clone._path\n"
        "for _ in range(2):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        fine = analytics.digest() == digest and analytics._clone._path != parents\n"
        "        analytics.close()\n"
        "        os._exit(0 if fine and parents.exists() else 1)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert analytics.digest() == digest and analytics._clone._path == parents\n"
        "analytics.close()\n"
        "assert not parents.exists()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ledger.folder), str(scratch)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_only_one_publishes_and_nobody_waits(ledger: Ledger) -> None:
    say(ledger, *created("a"))
    analytics = Analytics(ledger)
    agreed(analytics)
    (ledger.folder / "snapshots").mkdir()
    other = FileLock(ledger.folder / "snapshots" / "lock")
    open_now = Path("/proc/self/fd")
    with other:
        before = len(list(open_now.iterdir()))
        assert analytics.publish() is None
        assert len(list(open_now.iterdir())) <= before  # nothing stays open, try after try
        assert snapshots(ledger) == []
    other.close()
    assert analytics.publish() is not None
    assert not list((ledger.folder / "snapshots").glob(".*"))
    analytics.close()
