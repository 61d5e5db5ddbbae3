"""Trees grow with the log, go on from what was signed, and never sign another history."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import (
    Checkpoint,
    Checkpointing,
    Ledger,
    SigningKey,
    TreeBroken,
    Trees,
    TreeStore,
    leaf_data,
    newest_notes,
    origin_of,
)
from mlflow_ledger.consumers.gathered import Gathered
from mlflow_ledger.consumers.keyed_state import rehearsal, transaction
from mlflow_ledger.schemas import RunCreated, SettingsError

from . import rfc6962

KEY = SigningKey.new()


def runs(first: int, count: int) -> list[RunCreated]:
    return [
        RunCreated(run_id=f"{n:032x}", experiment_id="0", experiment_epoch=0, artifact_uri="x")
        for n in range(first, first + count)
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "store", Settings(checkpoint_s=60))
    made.write(lambda _: runs(0, 5))
    yield made
    made.close()


def data_of(ledger: Ledger) -> list[bytes]:
    return [leaf_data(s.record.digest(), s.append_ms) for s in ledger.log.rows(1)]


def store_of(ledger: Ledger) -> TreeStore:
    return TreeStore(ledger.blobs.place, origin_of(ledger.ledger_id))


def spoil(ledger: Ledger, statement: str) -> None:
    with closing(sqlite3.connect(ledger.log.path, isolation_level=None)) as db:
        db.execute(statement)


def test_the_root_is_that_of_the_log(ledger: Ledger) -> None:
    (made,) = Trees(ledger, KEY).publish()
    assert made.origin == f"mlflow-ledger/{ledger.ledger_id}"
    assert made.position == str(ledger.log.end())
    assert made.size == ledger.log.last_offset()
    assert made.root == rfc6962.mth(data_of(ledger))
    (note,) = newest_notes(ledger).values()
    assert Checkpoint.opened(note, [KEY.public]) == made
    name = f"mlflow-ledger/{ledger.ledger_id}"
    assert note.splitlines()[-1].startswith(f"— {name} ")
    assert Trees(ledger, KEY).publish() == []


@pytest.mark.parametrize("gathering", [False, True])
def test_it_grows_in_steps_across_processes(ledger: Ledger, gathering: bool) -> None:
    gathered = Gathered()
    if gathering:
        with ledger.keyed_state.lock:
            gathered = ledger.keyed_state.gather()
    trees = Trees(ledger, KEY, gathered)
    written = 5
    for number, count in enumerate((1, 1, 249, 1, 600, 3, 300)):
        ledger.write(lambda _, first=written, n=count: runs(first, n))
        written += count
        ledger.catch_up()
        if number % 2:
            trees = Trees(ledger, KEY)  # another process goes on
        (made,) = trees.publish()
        assert made.root == rfc6962.mth(data_of(ledger))
    store = store_of(ledger)
    assert len(store.checkpoints()) == 7
    size = made.size
    wide = [name for name in store.names("tile") if ".p/" not in name]
    assert len(wide) == size // 256
    partial = {name.rpartition(".p/")[0] for name in store.names("tile") if ".p/" in name}
    assert partial == {f"tile/0/{size // 256:03d}", "tile/1/000"}  # others went when they were full


def test_what_the_fold_gathers_is_what_the_log_says(ledger: Ledger) -> None:
    with ledger.keyed_state.lock:
        gathered = ledger.keyed_state.gather()
    ledger.rebuild()
    last = ledger.log.last_offset()
    assert gathered.leaves(3, last + 1) == [rfc6962.mth([data]) for data in data_of(ledger)[2:]]
    assert gathered.leaves(1, last + 2) == []
    ledger.rebuild()  # what was folded twice is held once
    assert len(gathered.leaves(1, last + 1)) == last
    gathered.drop()
    assert gathered.leaves(1, 2) == []


@pytest.mark.parametrize("end", ["rehearsal", "failure"])
def test_what_was_folded_and_rolled_back_is_not_signed(ledger: Ledger, end: str) -> None:
    """Another process says and folds what then stands at that offset."""
    with ledger.keyed_state.lock:
        gathered = ledger.keyed_state.gather()
        ledger.keyed_state.rebuild()
        db, fold = ledger.keyed_state.caught_up()
        (last,) = ledger.log.rows(ledger.log.last_offset())
        made_up = last._replace(offset=last.offset + 1, append_ms=last.append_ms + 1)
        if end == "rehearsal":
            with rehearsal(db, fold):
                fold.apply(made_up)
        else:
            with suppress(KeyError), transaction(db, fold):
                fold.apply(made_up)
                raise KeyError
    other = Ledger(ledger.folder, Settings())
    other.write(lambda _: runs(5, 1))
    other.close()
    (made,) = Trees(ledger, KEY, gathered).publish()
    assert made.root == rfc6962.mth(data_of(ledger))


def test_another_history_is_not_signed(ledger: Ledger) -> None:
    Trees(ledger, KEY).publish()
    before = newest_notes(ledger)
    (store_of(ledger)._path("tile/0/000.p/6")).write_bytes(b"garbled")
    spoil(ledger, "UPDATE events SET append_ms = append_ms + 1 WHERE seq = 6")
    ledger.write(lambda _: runs(5, 1))
    with pytest.raises(TreeBroken, match="the log was changed"):
        Trees(ledger, KEY).publish()
    assert newest_notes(ledger) == before


def test_it_goes_on_from_tiles_and_leaves_a_changed_log_to_verify(ledger: Ledger) -> None:
    (first,) = Trees(ledger, KEY).publish()
    spoil(ledger, "UPDATE events SET append_ms = append_ms + 1 WHERE seq = 6")
    ledger.write(lambda _: runs(5, 1))
    (second,) = Trees(ledger, KEY).publish()
    assert (first.size, second.size) == (6, 7)
    assert second.root != rfc6962.mth(data_of(ledger))


def test_a_log_that_was_cut_back_is_not_signed(ledger: Ledger) -> None:
    Trees(ledger, KEY).publish()
    spoil(ledger, "DELETE FROM events WHERE seq > 3")
    with pytest.raises(TreeBroken, match=r"the log has 3 events of .*a checkpoint of 6"):
        Trees(ledger, KEY).publish()


def test_another_key_goes_on_where_the_log_holds(ledger: Ledger) -> None:
    Trees(ledger, KEY).publish()
    ledger.write(lambda _: runs(5, 1))
    other = SigningKey.new()
    (made,) = Trees(ledger, other).publish()
    assert made.root == rfc6962.mth(data_of(ledger))
    assert Checkpoint.opened(newest_notes(ledger)[made.origin], [other.public]) == made


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("nonsense", "is none"),
        (Checkpoint("elsewhere", 1, bytes(32)).signed(KEY, "n"), "is of elsewhere"),
    ],
)
def test_a_foreign_checkpoint_is_no_beginning(ledger: Ledger, note: str, why: str) -> None:
    Trees(ledger, KEY).publish()
    store = store_of(ledger)
    store._path("checkpoint").write_text(note)
    for size in store.checkpoints():
        store._path(f"checkpoints/{size}").unlink()
    ledger.write(lambda _: runs(5, 1))
    with pytest.raises(TreeBroken, match=why):
        Trees(ledger, KEY).publish()


def test_a_garbled_copy_of_the_newest_checkpoint_is_read_from_those_kept(ledger: Ledger) -> None:
    (made,) = Trees(ledger, KEY).publish()
    store_of(ledger)._path("checkpoint").write_text("nonsense")
    (note,) = newest_notes(ledger).values()
    assert Checkpoint.opened(note, [KEY.public]) == made


def test_half_a_tile_of_one_that_was_killed_is_replaced(ledger: Ledger) -> None:
    store = store_of(ledger)
    store.write([("tile/0/000.p/6", b"half")])
    (made,) = Trees(ledger, KEY).publish()
    data = store.read("tile/0/000.p/6")
    assert data == b"".join(rfc6962.mth([leaf]) for leaf in data_of(ledger))
    assert made.size == 6


def test_without_a_key_nothing_is_signed(ledger: Ledger) -> None:
    with pytest.raises(SettingsError, match=r"there are none without a signature: `mlflow-ledger"):
        Trees(ledger)
    assert newest_notes(ledger) == {}


def test_a_service_signs_what_is_due(ledger: Ledger) -> None:
    now_s = 0.0
    duty = Checkpointing(ledger, KEY, clock=lambda: now_s)
    duty.round(6)
    assert duty.signed == 1
    ledger.write(lambda _: runs(5, 1))
    duty.round(7)
    assert duty.signed == 1  # not yet
    now_s = 61.0
    duty.round(7)
    duty.round(7)
    assert duty.signed == 2
    ledger.write(lambda _: runs(6, 1))
    duty.finish(8)
    assert duty.signed == 3
    (note,) = newest_notes(ledger).values()
    assert Checkpoint.opened(note, [KEY.public]).root == rfc6962.mth(data_of(ledger))
