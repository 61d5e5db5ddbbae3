"""A log that was rewritten, and folded again, is found by what was signed of it before."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import (
    Checkpoint,
    Ledger,
    SigningKey,
    Trees,
    TreeStore,
    newest_notes,
    origin_of,
    unchecked,
)
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.verify import Report, verify
from mlflow_ledger.schemas import RunCreated

KEY = SigningKey.new()
Rows = list[list[Any]]


def runs(first: int, count: int) -> list[RunCreated]:
    return [
        RunCreated(run_id=f"{n:032x}", experiment_id="0", experiment_epoch=0, artifact_uri="x")
        for n in range(first, first + count)
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Ten events signed in two steps, and two behind them."""
    clock = iter(range(1_700_000_000_000, 1_800_000_000_000, 50))
    made = Ledger(tmp_path / "store", Settings())
    made.log._clock = lambda: next(clock)
    for number in range(9):
        made.write(lambda _, n=number: runs(n, 1))
        if number == 4:
            Trees(made, KEY).publish()
    Trees(made, KEY).publish()
    made.write(lambda _: runs(9, 2))
    made.catch_up()
    yield made
    made.close()


def checked(ledger: Ledger, *held: str) -> Report:
    return verify(
        ledger, keys=[KEY.public], held={f"held {n}": text for n, text in enumerate(held)}
    )


def rewritten(ledger: Ledger, change: Callable[[Rows], Rows]) -> Ledger:
    """Rewrite the log as one would who knows how it is made, and have it folded anew."""
    ledger.close()
    with closing(sqlite3.connect(ledger.log.path, isolation_level=None)) as db:
        rows = [list(row) for row in db.execute("SELECT * FROM events ORDER BY seq")]
        rows = change(rows)
        db.execute("DELETE FROM events")
        for seq, row in enumerate(rows, 1):
            marks = ",".join("?" * len(row))
            db.execute(f"INSERT INTO events VALUES ({marks})", [seq, *row[1:]])
    for path in ledger.folder.glob("state-*"):
        path.unlink()
    for path in ledger.folder.glob("CURRENT-*"):
        path.unlink()
    again = Ledger(ledger.folder, Settings())
    again.catch_up()
    return again


def without(rows: Rows, at: int) -> Rows:
    return rows[:at] + rows[at + 1 :]


def retimed(rows: Rows, at: int) -> Rows:
    rows[at][5] += 20  # still between its neighbours
    return rows


def renamed(rows: Rows, at: int) -> Rows:
    rows[at][6] = "runs:/another"
    return rows


def swapped(rows: Rows, at: int) -> Rows:
    """Two events change places, and each says the other's time, so that times still grow."""
    rows[at], rows[at + 1] = rows[at + 1], rows[at]
    return rows


def told(report: Report, part: str = "log") -> list[tuple[str, str]]:
    return [(f.place, f.message) for f in report.findings if f.part == part]


RETIMED = (
    "was given another time: the log took it at 2023-11-14T22:13:20.200Z, and now it says "
    "2023-11-14T22:13:20.220Z"
)
REWRITTEN: dict[str, tuple[Callable[[Rows], Rows], str, str]] = {
    "changed": (lambda rows: renamed(rows, 4), "event 5", "is not the event that was signed"),
    "the last one changed": (lambda rows: renamed(rows, 9), "event 10", "is not the event that"),
    "the first one changed": (lambda rows: renamed(rows, 0), "event 1", "is not the event that"),
    "re-timed": (lambda rows: retimed(rows, 4), "event 5", RETIMED),
    "dropped": (lambda rows: without(rows, 4), "event 5", "is missing: number 5 of its partition"),
    "the last ones dropped": (lambda rows: rows[:8], "event 9", "is missing: number 9"),
    "duplicated": (
        lambda rows: [*rows[:5], rows[2], *rows[5:]], "event 6", "stands here once more",
    ),
    "swapped": (lambda rows: swapped(rows, 4), "event 5", "stands elsewhere than it did"),
    "inserted": (
        lambda rows: [*rows[:5], [*rows[5][:2], 99, *rows[5][3:]], *rows[5:]], "event 6",
        "was not there when those behind it were signed",
    ),
}  # fmt: skip


def test_what_was_signed_holds(ledger: Ledger) -> None:
    report = checked(ledger, *newest_notes(ledger).values())
    assert report.findings == []
    (tree,) = report.trees
    assert (tree.events, tree.signed, tree.checkpoints) == (12, 10, 4)
    assert tree.signed_by == str(KEY.public)


@pytest.mark.parametrize("how", REWRITTEN)
@pytest.mark.parametrize("tiles", ["there", "lost"])
def test_a_log_that_was_rewritten_is_found(ledger: Ledger, how: str, tiles: str) -> None:
    change, place, message = REWRITTEN[how]
    (note,) = newest_notes(ledger).values()
    if tiles == "lost":
        shutil.rmtree(ledger.folder / "blobs" / "trees")
    with closing(rewritten(ledger, change)) as spoilt:
        report = checked(spoilt, note)
    assert not report.holds
    if tiles == "there":
        found = [said for where, said in told(report) if where == place]
        assert any(said.startswith(message) for said in found), report.findings
    assert any(where == "held 0" for where, _ in told(report, "trees"))


@pytest.mark.parametrize("how", ["changed", "dropped", "swapped"])
def test_tiles_made_anew_with_the_log_do_not_hide_it(ledger: Ledger, how: str) -> None:
    """Who has the key and rewrites everything is found by a checkpoint that somebody else has."""
    (note,) = newest_notes(ledger).values()
    shutil.rmtree(ledger.folder / "blobs" / "trees")
    with closing(rewritten(ledger, REWRITTEN[how][0])) as spoilt:
        Trees(spoilt, KEY).publish()
        assert [f for f in checked(spoilt).findings if f.part == "trees"] == []
        report = checked(spoilt, note)
    ((place, message),) = told(report, "trees")
    assert place == "held 0"
    assert message.startswith(f"the log is not what was signed at {_time(note)}: 10 events; ")
    assert "nor is it, by the tiles, the beginning of the checkpoint of" in message
    assert any("one of those from here to" in said for _, said in told(report))


def _time(note: str) -> str:
    return Checkpoint.opened(note, [KEY.public]).time


def store_of(ledger: Ledger) -> TreeStore:
    return TreeStore(ledger.blobs.place, origin_of(ledger.ledger_id))


def test_a_changed_tile_is_named(ledger: Ledger) -> None:
    store = store_of(ledger)
    for name in store.names("tile"):
        path = store._path(name)
        whole = path.read_bytes()
        for at in range(0, len(whole), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert told(checked(ledger), "trees") == [
                (f"{store.prefix}/{name}", "is not what was signed")
            ]
        path.write_bytes(whole)
    store._path("tile/0/000.p/10").unlink()
    assert told(checked(ledger), "trees") == [(f"{store.prefix}/tile/0/000.p/10", "is missing")]


def test_a_checkpoint_of_another_key_is_named(ledger: Ledger) -> None:
    store = store_of(ledger)
    (note,) = newest_notes(ledger).values()
    made = Checkpoint.opened(note, [KEY.public])
    forged = made.signed(SigningKey.new(), f"mlflow-ledger/{ledger.ledger_id}")
    store._path("checkpoint").write_text(forged)
    ((place, message),) = told(checked(ledger), "trees")
    assert place == f"{store.prefix}/checkpoint"
    assert message.startswith(f"it is signed as mlflow-ledger/{ledger.ledger_id}, but not by key")
    assert verify(ledger).holds  # without a key nobody can tell


@pytest.mark.parametrize("at", [0, 30, 60, -3])
def test_a_garbled_checkpoint_is_named(ledger: Ledger, at: int) -> None:
    path = store_of(ledger)._path("checkpoints/6")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    ((place, _),) = told(checked(ledger), "trees")
    assert place.endswith("checkpoints/6")


def test_a_checkpoint_under_another_size_is_named(ledger: Ledger) -> None:
    store = store_of(ledger)
    shutil.copy(store._path("checkpoints/6"), store._path("checkpoints/7"))
    assert told(checked(ledger), "trees") == [
        (f"{store.prefix}/checkpoints/7", "is one of 6 events")
    ]


def test_a_checkpoint_of_another_ledger_is_named(ledger: Ledger) -> None:
    note = Checkpoint("mlflow-ledger/x", 1, bytes(32)).signed(KEY, "n")
    assert told(checked(ledger, note, "nonsense"), "trees") == [
        ("held 0", "is of mlflow-ledger/x, of which there is nothing in this log"),
        ("held 1", "it is no checkpoint: '\\n'"),
    ]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, arguments)
    return result.exit_code, result.output


def test_without_a_key_there_is_no_checkpoint(ledger: Ledger) -> None:
    ledger.close()
    status, text = run("checkpoint", f"ledger://{ledger.folder}")
    assert status == 1
    assert "no key is set to sign checkpoints with" in text


def test_the_commands_together(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, key = f"ledger://{ledger.folder}", tmp_path / "signing.pem"
    ledger.close()
    assert run("keygen", str(key))[0] == 0
    assert run("keygen", str(key))[0] == 1  # nothing is overwritten
    assert key.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(ledger.folder / "blobs" / "trees")
    monkeypatch.setenv("MLFLOW_LEDGER_SIGNING_KEY", str(key))
    status, text = run("verify", uri)
    assert "skipped" in text
    assert "nothing was signed yet" in text
    status, text = run("checkpoint", uri)
    assert (status, text.splitlines()[0]) == (
        0, f"signed 12 events of mlflow-ledger/{ledger.ledger_id}, up to {ledger.log.end()}"
    )  # fmt: skip
    named = text.splitlines()[1].rpartition(" ")[2]
    status, text = run("checkpoint", uri, "--show")
    kept = tmp_path / "kept"
    kept.write_text(text)
    for public in (f"{key}.pub", named):
        status, text = run("verify", uri, "--key", public, "--checkpoint", str(kept))
        assert status == 0, text
        assert "12 of 12 events" in text
    status, text = run("verify", uri, "--json")
    (tree,) = json.loads(text)["trees"]
    assert tree["signed_by"].startswith("key ")
    (ledger.folder / "blobs/trees" / ledger.ledger_id / "tile/0/000.p/12").write_bytes(b"")
    status, text = run("verify", uri, "--key", f"{key}.pub")
    assert status == 1
    assert "tile/0/000.p/12: is not what was signed" in text


def printed(ledger: Ledger, *options: str) -> str:
    found = CliRunner().invoke(program, ["verify", f"ledger:{ledger.folder}", *options])
    assert found.exit_code == 1, found.output
    assert not isinstance(found.exception, BaseException) or isinstance(found.exception, SystemExit)
    return found.output


def test_what_another_key_has_signed_is_not_called_unsigned(ledger: Ledger, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(SigningKey.new().public.pem())
    text = printed(ledger, "--key", str(other))
    assert "nothing was signed" not in text
    assert "3 checkpoints, and none that counts, as only those of key " in text
    assert "but not by key " in text


def test_checkpoints_that_cannot_be_read_are_not_called_unsigned(ledger: Ledger) -> None:
    trees = ledger.folder / "blobs" / "trees" / ledger.ledger_id
    (trees / "checkpoint").unlink()
    (trees / "checkpoint").mkdir()
    for kept in (trees / "checkpoints").iterdir():
        kept.unlink()
    text = printed(ledger)
    assert "nothing was signed" not in text
    assert "nothing is known of checkpoints: where they are kept cannot be read" in text
    assert f"trees: trees/{ledger.ledger_id}: cannot read the tree in " in text


@pytest.mark.parametrize(
    "statement", ["DELETE FROM events", "UPDATE events SET content = 7, head = 'x'"]
)
def test_a_log_of_which_nothing_is_left_is_compared_with_what_was_signed(
    ledger: Ledger, statement: str
) -> None:
    ledger.close()
    with closing(sqlite3.connect(ledger.log.path, isolation_level=None)) as db:
        db.execute(statement)
    text = printed(ledger)
    assert "nothing was signed" not in text
    assert "trees      DOES NOT HOLD  3 checkpoints of 1 trees: 10 of " in text
    assert "the log is not what was signed at " in text


def test_the_tiles_alone_say_whether_a_held_checkpoint_belongs_to_them(ledger: Ledger) -> None:
    """By consistency proofs: of the log nothing is left to compute roots from."""
    (note,) = newest_notes(ledger).values()
    old = store_of(ledger).note("checkpoints/6")
    assert old is not None
    Trees(ledger, KEY).publish()
    made = unchecked(note)
    foreign = Checkpoint(made.origin, 7, b"7" * 32).signed(KEY, made.origin)
    ledger.close()
    with closing(sqlite3.connect(ledger.log.path, isolation_level=None)) as db:
        db.execute("DELETE FROM events")
    found = dict(told(checked(ledger, old, note, foreign), "trees"))
    for name in ("held 0", "held 1"):
        assert found[name].endswith("; the tiles still lead to it: it is the log that was changed")
    assert (
        "nor is it, by the tiles, the beginning of the checkpoint of 12 events" in found["held 2"]
    )
    (ledger.folder / "blobs" / store_of(ledger).prefix / "tile/0/000.p/12").unlink()
    found = dict(told(checked(ledger, old), "trees"))
    assert found["held 0"].endswith(": 6 events")
