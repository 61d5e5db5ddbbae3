"""Versions of scorers: the fold gives their numbers, in the order of the log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_ledger.schemas import (
    ExperimentCreated,
    OnlineScoringConfigured,
    ScorerCreated,
    ScorerDeleted,
    ScorerVersionCreated,
    ScorerVersionDeleted,
)

from .folding import Bench

EXPERIMENT = ExperimentCreated(experiment_id="1", name="one", artifact_location="x")
SCORER = ScorerCreated(scorer_id="s", experiment_id="1", name="q")


def version(uid: str, scorer_id: str = "s") -> ScorerVersionCreated:
    return ScorerVersionCreated(version_uid=uid, scorer_id=scorer_id)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.accept(EXPERIMENT, SCORER)
    yield made
    made.close()


def numbers(bench: Bench) -> dict[str, str]:
    return dict(bench.rows("SELECT item_id, name FROM items WHERE kind = 'scorer_versions'"))


def test_two_hosts_that_register_at_once_get_two_numbers(bench: Bench) -> None:
    bench.accept(version("here"), version("there"))
    assert numbers(bench) == {"here": "1", "there": "2"}


def test_of_two_first_versions_the_second_host_says_its_own_again(bench: Bench) -> None:
    theirs = SCORER.model_copy(update={"scorer_id": "t"})
    kinds = [verdict.kind for verdict in bench.say(theirs, version("v", "t"))]
    assert kinds == ["rejected", "rejected"]
    bench.accept(version("v"))


def test_the_highest_number_counts_that_is_there(bench: Bench) -> None:
    bench.accept(*(version(f"v{number}") for number in range(1, 12)))
    bench.accept(ScorerVersionDeleted(version_uid="v2"), ScorerVersionDeleted(version_uid="v11"))
    bench.accept(version("again"))
    assert numbers(bench)["again"] == "11"


def test_a_scorer_goes_with_its_versions(bench: Bench) -> None:
    bench.accept(version("v"), ScorerDeleted(scorer_id="s"))
    assert bench.rows("SELECT * FROM items") == []
    (verdict,) = bench.say(OnlineScoringConfigured(scorer_id="s", config_id="c", sample_rate=0.5))
    assert verdict.kind == "rejected"
