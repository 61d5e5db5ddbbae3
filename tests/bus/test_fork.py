"""Forks: parent and children log at once, each with a voice and connections of its own."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow_ledger.consumers import Ledger

from .programs import run


def test_parent_and_children_log_at_once(tmp_path: Path) -> None:
    lines = run("fork_and_write", tmp_path / "store", 60)
    ids = dict(json.loads(lines.splitlines()[-1]))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in ids.values())
    writers = {source.split("/")[0] for source in ids}
    assert len(writers) == 3  # a child never goes on with its parent's source
    ledger = Ledger(tmp_path / "store")
    with ledger.read() as db:
        counts = db.execute(
            "SELECT run_id, count(*) FROM tags JOIN runs USING (run_no) GROUP BY run_id"
        ).fetchall()
    ledger.close()
    assert sorted(counts) == [("c1", 60), ("c2", 60), ("parent", 60)]


def test_a_fork_inside_a_view_leaves_the_parents_connection_alone(tmp_path: Path) -> None:
    assert run("fork_while_reading", tmp_path / "store") == "ok"


def test_threads_may_write_and_fork_at_the_same_time(tmp_path: Path) -> None:
    assert run("fork_among_threads", tmp_path / "store") == str(2 * 40 + 3 * 5)


def test_a_ledger_that_was_never_used_leaves_nothing(tmp_path: Path) -> None:
    run("open_and_leave", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_folder_that_is_removed_meanwhile_is_no_trouble_at_exit(tmp_path: Path) -> None:
    run("write_and_remove", tmp_path / "store")
    assert not (tmp_path / "store").exists()
