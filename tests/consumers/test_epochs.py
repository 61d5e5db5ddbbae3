"""A run follows its experiment's last delete or restore, unless its own event came later."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentPurged,
    ExperimentRestored,
    RunCreated,
    RunDeleted,
    RunRestored,
)

from .folding import Bench

CREATED = ExperimentCreated(experiment_id="1", name="one", artifact_location="x")
DELETED, RESTORED = ExperimentDeleted(experiment_id="1"), ExperimentRestored(experiment_id="1")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.accept(CREATED)
    yield made
    made.close()


def run(epoch: int = 0, run_id: str = "r") -> Event:
    return RunCreated(run_id=run_id, experiment_id="1", experiment_epoch=epoch, artifact_uri="x")


def lifecycle(bench: Bench, run_id: str = "r") -> str | None:
    rows = bench.rows("SELECT lifecycle FROM live_runs WHERE run_id = ?", run_id)
    return rows[0][0] if rows else None


def test_a_run_goes_and_comes_with_its_experiment(bench: Bench) -> None:
    bench.accept(run())
    assert lifecycle(bench) == "active"
    bench.accept(DELETED)
    assert lifecycle(bench) == "deleted"
    assert bench.rows("SELECT deleted_ms FROM live_runs")[0][0] is not None
    bench.accept(RESTORED)
    assert lifecycle(bench) == "active"
    assert bench.rows("SELECT deleted_ms FROM live_runs") == [(None,)]


def test_restoring_an_experiment_brings_runs_back_that_were_deleted_on_their_own(
    bench: Bench,
) -> None:
    bench.accept(run(), RunDeleted(run_id="r", experiment_epoch=0))
    assert lifecycle(bench) == "deleted"
    bench.accept(DELETED, RESTORED)
    assert lifecycle(bench) == "active"


def test_a_runs_own_event_holds_where_it_saw_the_experiments(bench: Bench) -> None:
    bench.accept(run(), DELETED, RESTORED, RunDeleted(run_id="r", experiment_epoch=2))
    assert lifecycle(bench) == "deleted"
    bench.accept(RunRestored(run_id="r", experiment_epoch=2))
    assert lifecycle(bench) == "active"
    bench.accept(DELETED)
    assert lifecycle(bench) == "deleted"
    bench.accept(RunRestored(run_id="r", experiment_epoch=3))
    assert lifecycle(bench) == "active"


def test_an_event_that_had_not_seen_the_experiments_gives_way(bench: Bench) -> None:
    """The writer was behind: in its own partition nothing tells of the experiment's delete."""
    bench.accept(run(), DELETED, RunRestored(run_id="r", experiment_epoch=0))
    assert lifecycle(bench) == "deleted"
    bench.accept(run(0, "late"))
    assert lifecycle(bench, "late") == "deleted"
    bench.accept(run(1, "knowing"))
    assert lifecycle(bench, "knowing") == "active"


def test_the_runs_of_a_purged_experiment_are_out_of_sight(bench: Bench) -> None:
    bench.accept(run(), DELETED, ExperimentPurged(experiment_id="1"))
    assert lifecycle(bench) is None
    assert bench.rows("SELECT run_id FROM runs") == [("r",)]


def test_a_run_whose_experiment_is_not_folded_yet_is_out_of_sight() -> None:
    bench = Bench()
    bench.accept(run())
    assert lifecycle(bench) is None
    bench.accept(CREATED)
    assert lifecycle(bench) == "active"
    bench.close()


@pytest.mark.parametrize("seed", range(20))
def test_partitions_in_any_order_give_the_same_lifecycles(seed: int) -> None:
    catalog = [CREATED, DELETED, RESTORED, DELETED]
    runs = [run(), RunDeleted(run_id="r", experiment_epoch=0), RunRestored(run_id="r")]
    found = set()
    for _ in range(5):
        bench, order = Bench(), [list[Event](catalog), list[Event](runs)]
        randomness = random.Random(seed)
        while any(order):
            queue = randomness.choice([q for q in order if q])
            bench.accept(queue.pop(0))
        found.add(lifecycle(bench))
        bench.close()
    assert found == {"deleted"}
