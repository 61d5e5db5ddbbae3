"""The lineage joins what the log says of a version with what the state holds of its origin."""

from __future__ import annotations

import math

import pytest

from mlflow_ledger.bus import acting_as
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.query.address import Unknown
from mlflow_ledger.query.lineage import lineage
from mlflow_ledger.schemas import (
    ModelVersionStageChanged,
    RegisteredModelDeleted,
    RunPurged,
    SettingsError,
)

from .story import MODEL_FILES, MODEL_ID, PARENT, RUN, RUN_FILES, Story, named


def test_from_the_data_to_the_files(story: Story) -> None:
    found = lineage(story.ledger, "models:/vino/1")
    (dataset,) = found.datasets
    assert (dataset.name, dataset.digest, dataset.source_type) == ("wine", "d1g35t", "local")
    assert dataset.source == "/data/wine.csv"
    assert dataset.tags == {"mlflow.data.context": "train"}

    run = found.run
    assert run is not None
    assert (run.run_id, run.name, run.status) == (RUN, "forest", "FINISHED")
    assert (run.experiment, run.user, run.commit) == ("cellar", "alice", "0123abc")
    assert run.source == "train.py"
    assert (run.parent_run_id, run.parent_name) == (PARENT, "sweep")
    assert (run.started, run.ended) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:14:20.000Z")
    assert run.params == {"depth": "6"}
    assert run.metrics["loss"] == 0.25
    assert math.isnan(run.metrics["odd"])

    model = found.logged_model
    assert model is not None
    assert (model.model_id, model.name, model.status) == (MODEL_ID, "model", "READY")
    assert model.params == {"flavor": "pickle"}

    assert found.version.number == 1
    assert found.version.created_by == "alice"
    assert found.version.uid == "uid-wine-v1"
    assert {(a.path, a.digest) for a in found.artifacts} == {
        (f"{MODEL_FILES}/model.pkl", story.digests[f"{MODEL_FILES}/model.pkl"]),
        (f"{RUN_FILES}/plot.png", story.digests[f"{RUN_FILES}/plot.png"]),
    }
    sizes = {a.path.rsplit("/", 1)[1]: a.size_bytes for a in found.artifacts}
    assert sizes == {"model.pkl": 7, "plot.png": 8}


def test_the_history_of_stages_and_aliases(story: Story) -> None:
    found = lineage(story.ledger, "models:/vino/1")
    history = [(row.actor, row.what, row.alias, row.before, row.after) for row in found.history]
    assert history == [
        ("alice", "created", None, None, None),
        ("alice", "stage", None, "None", "Staging"),
        ("alice", "stage", None, "Staging", "Production"),
        ("alice", "alias", "champion", None, "1"),
        ("bob", "stage", None, "Production", "Archived"),
        ("bob", "alias", "champion", "1", "2"),
        ("alice", "name", None, "wine", "vino"),
        ("alice", "deleted", None, "Archived", None),
    ]
    assert found.version.deleted
    assert found.version.stage is None
    assert any("was deleted" in note for note in found.notes)
    times = [row.time for row in found.history]
    assert times == sorted(times)


def test_by_alias_with_a_run_that_is_not_here(story: Story) -> None:
    found = lineage(story.ledger, "models:/vino@champion")
    assert found.uri == "models:/vino/2"
    assert (found.version.stage, found.version.aliases) == ("Production", ["champion"])
    assert found.version.source == "/elsewhere/model"
    assert found.run is None
    assert found.logged_model is None
    assert found.artifacts == []
    assert found.notes == [
        "the version names no logged model",
        f"run {'e' * 32} is not in this ledger: it was logged elsewhere, or is purged",
    ]


def test_the_name_belongs_to_who_has_it_now(story: Story) -> None:
    now = lineage(story.ledger, "models:/wine/1")
    assert now.version.model_uid == "uid-new"
    assert "the version names no run" in now.notes
    assert any("2 models have had the name wine" in note for note in now.notes)
    former = lineage(story.ledger, "models:/wine/2")
    assert former.version.model_uid == "uid-wine"
    assert former.version.model == "vino"
    assert "the model that was wine is called vino now" in former.notes


def test_after_model_and_run_are_gone(copy: Ledger) -> None:
    copy.write(lambda _: [RunPurged(run_id=RUN)])
    copy.write(lambda _: [RegisteredModelDeleted(model_uid="uid-wine", name="vino")])
    found = lineage(copy, "models:/vino/2")
    assert found.version.deleted
    assert found.version.source == "/elsewhere/model"
    assert found.history[-1].what == "deleted"
    first = lineage(copy, "models:/vino/1")
    assert first.run is None
    assert first.logged_model is not None
    assert first.datasets == []
    assert any("purged" in note for note in first.notes)


def test_what_was_done_just_now_is_there(copy: Ledger) -> None:
    assert acting_as.get() is None
    copy.write(lambda _: [ModelVersionStageChanged(**named(2, "vino"), stage="Archived")])
    found = lineage(copy, "models:/vino/2")
    assert found.version.stage == "Archived"
    assert (found.history[-1].before, found.history[-1].after) == ("Production", "Archived")


@pytest.mark.parametrize("uri", ["models:/vino/3", "models:/none/1", "models:/vino@nobody"])
def test_an_unknown_version_is_an_error(story: Story, uri: str) -> None:
    with pytest.raises(Unknown, match="there is no"):
        lineage(story.ledger, uri)


@pytest.mark.parametrize("uri", ["models:/vino", "runs:/abc", "models:/vino/Prod"])
def test_what_is_no_version_is_an_error(story: Story, uri: str) -> None:
    with pytest.raises(SettingsError):
        lineage(story.ledger, uri)
