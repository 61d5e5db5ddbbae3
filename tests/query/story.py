"""A ledger with a story: a model is trained, promoted by several people, renamed, replaced."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlflow_ledger.bus import Actor, acting_as
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    DatasetInput,
    DescriptionContent,
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentRestored,
    InputsLogged,
    InputsLoggedContent,
    KeyValue,
    LoggedModelCreated,
    LoggedModelCreatedContent,
    LoggedModelFinalized,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionDeleted,
    ModelVersionStageChanged,
    ModelVersionTagSet,
    ModelVersionUpdated,
    Point,
    Refused,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelRenamed,
    RunCreated,
    RunCreatedContent,
    RunDataLogged,
    RunDataLoggedContent,
    RunUpdated,
    TagContent,
    WebhookContent,
    WebhookCreated,
    metric_columns,
)

EXPERIMENT = "100200300"
PARENT = "a" * 32
RUN = "b" * 32
MODEL_ID = "m-" + "c" * 32
WEBHOOK = "d" * 32
RUN_FILES = f"{EXPERIMENT}/{RUN}/artifacts"
MODEL_FILES = f"{EXPERIMENT}/models/{MODEL_ID}/artifacts"
ALICE = Actor("alice", "authenticated")
BOB = Actor("bob", "claimed")
LONG = "why this version is better than the one before, at length. " * 20


@dataclass
class Story:
    """The ledger, and positions that are worth going back to."""

    ledger: Ledger
    digests: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)

    def say(self, *events: Event) -> None:
        """Write events in one call."""
        self.ledger.write(lambda _: events)

    def refused(self, event: Event) -> None:
        """Try something that the rules refuse."""
        try:
            self.say(event)
        except Refused:
            return
        raise AssertionError(event)

    def mark(self, name: str) -> None:
        """Remember the end of the log."""
        self.marks[name] = str(self.ledger.log.end())


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Write in somebody's name."""
    token = acting_as.set(actor)
    try:
        yield
    finally:
        acting_as.reset(token)


def named(number: int, model: str = "wine", uid: str = "uid-wine") -> dict[str, object]:
    """The fields that name one version of a model."""
    return {
        "model_uid": uid,
        "name": model,
        "version_uid": f"{uid}-v{number}",
        "version": number,
    }


def tell(ledger: Ledger) -> Story:
    """Write the whole story."""
    story = Story(ledger)
    _train(story)
    _register(story)
    _promote(story)
    _rename(story)
    _start_again(story)
    return story


def _train(story: Story) -> None:
    experiment = {"experiment_id": EXPERIMENT}
    where = f"ledger-artifacts://x/{EXPERIMENT}"
    story.say(ExperimentCreated(**experiment, name="cellar", artifact_location=where))
    for run_id, name, tags in (
        (PARENT, "sweep", []),
        (
            RUN,
            "forest",
            [
                KeyValue(key="mlflow.parentRunId", value=PARENT),
                KeyValue(key="mlflow.source.git.commit", value="0123abc"),
                KeyValue(key="mlflow.source.name", value="train.py"),
                KeyValue(key="mlflow.user", value="alice"),
            ],
        ),
    ):
        story.say(
            RunCreated(
                run_id=run_id,
                **experiment,
                start_time_ms=1_700_000_000_000,
                artifact_uri=f"{where}/{run_id}/artifacts",
                content=RunCreatedContent(name=name, user_id="alice", tags=tags),
            )
        )
    metrics = [Point("loss", 0.5, 1, 0), Point("loss", 0.25, 2, 1), Point("odd", math.nan, 1, 0)]
    content = RunDataLoggedContent(
        **metric_columns(metrics), params=[KeyValue(key="depth", value="6")]
    )
    story.say(RunDataLogged(run_id=RUN, content=content))
    dataset = DatasetInput(
        name="wine",
        digest="d1g35t",
        source_type="local",
        source="/data/wine.csv",
        tags=[KeyValue(key="mlflow.data.context", value="train")],
    )
    story.say(InputsLogged(run_id=RUN, content=InputsLoggedContent(datasets=[dataset])))
    story.say(
        LoggedModelCreated(
            model_id=MODEL_ID,
            **experiment,
            source_run_id=RUN,
            artifact_location=f"{where}/models/{MODEL_ID}/artifacts",
            content=LoggedModelCreatedContent(
                name="model", model_type="sklearn", params=[KeyValue(key="flavor", value="pickle")]
            ),
        )
    )
    _log_file(story, f"{RUN_FILES}/plot.png", b"old plot", f"runs:/{RUN}", 1)
    _log_file(story, f"{RUN_FILES}/plot.png", b"new plot", f"runs:/{RUN}", 2)
    _log_file(story, f"{RUN_FILES}/drafts/draft.txt", b"draft", f"runs:/{RUN}", 3)
    gone = story.digests[f"{RUN_FILES}/drafts/draft.txt"]
    path, owner = f"{RUN_FILES}/drafts/draft.txt", f"runs:/{RUN}"
    story.say(ArtifactDeleted(digest=gone, path=path, owner=owner, written_ns=4))
    _log_file(story, f"{MODEL_FILES}/model.pkl", b"\x80pickle", f"logged_models:/{MODEL_ID}", 5)
    story.say(LoggedModelFinalized(model_id=MODEL_ID, status="READY"))
    story.say(RunUpdated(run_id=RUN, status="FINISHED", end_time_ms=1_700_000_060_000))
    with acting(BOB):
        other = RunDataLoggedContent(params=[KeyValue(key="depth", value="7")])
        story.refused(RunDataLogged(run_id=RUN, content=other))
        story.say(ExperimentDeleted(**experiment))
    with acting(ALICE):
        story.say(ExperimentRestored(**experiment))
    story.mark("trained")


def _log_file(story: Story, path: str, data: bytes, owner: str, written_ns: int) -> None:
    digest, size_bytes = story.ledger.blobs.put(data)
    story.digests[path] = digest
    story.say(
        ArtifactLogged(
            digest=digest, path=path, size_bytes=size_bytes, owner=owner, written_ns=written_ns
        )
    )


def _register(story: Story) -> None:
    of_model = {"model_uid": "uid-wine", "name": "wine"}
    with acting(ALICE):
        story.say(
            RegisteredModelCreated(**of_model),
            ModelVersionCreated(
                **of_model,
                version_uid="uid-wine-v1",
                run_id=RUN,
                model_id=MODEL_ID,
                content=ModelVersionCreatedContent(source=f"models:/{MODEL_ID}", user_id="alice"),
            ),
        )
    with acting(BOB):
        story.say(
            ModelVersionCreated(
                **of_model,
                version_uid="uid-wine-v2",
                run_id="e" * 32,
                content=ModelVersionCreatedContent(source="/elsewhere/model"),
            )
        )
    story.mark("registered")


def _promote(story: Story) -> None:
    with acting(ALICE):
        story.say(ModelVersionStageChanged(**named(1), stage="Staging"))
        story.say(ModelVersionStageChanged(**named(1), stage="Production"))
        story.say(RegisteredModelAliasSet(**named(1), alias="champion"))
        story.say(
            ModelVersionTagSet(**named(1), tag="validated", content=TagContent(value="yes")),
            ModelVersionUpdated(**named(1), content=DescriptionContent(description=LONG)),
        )
    with acting(BOB):
        story.refused(RegisteredModelAliasSet(**named(9), alias="champion"))
        unknown = {"model_uid": "", "name": "wine", "version_uid": "", "version": 8}
        story.refused(ModelVersionDeleted(**unknown))
        story.say(ModelVersionStageChanged(**named(2), stage="Production", archive_existing=True))
        story.say(RegisteredModelAliasSet(**named(2), alias="champion"))
        story.say(RegisteredModelAliasSet(**named(2), alias="spare"))
        story.say(RegisteredModelAliasDeleted(model_uid="uid-wine", name="wine", alias="spare"))
    story.mark("promoted")


def _rename(story: Story) -> None:
    with acting(ALICE):
        story.say(RegisteredModelRenamed(model_uid="uid-wine", name="wine", new_name="vino"))
        story.say(ModelVersionDeleted(**named(1, "vino")))
    with acting(BOB):
        story.refused(ModelVersionStageChanged(**named(1, "vino"), stage="Production"))
    story.mark("renamed")


def _start_again(story: Story) -> None:
    """The name ``wine`` is free, and taken again by another model."""
    with acting(BOB):
        story.say(
            RegisteredModelCreated(model_uid="uid-new", name="wine"),
            ModelVersionCreated(model_uid="uid-new", name="wine", version_uid="uid-new-v1"),
        )
        story.say(ModelVersionStageChanged(**named(1, "wine", "uid-new"), stage="Staging"))
    content = WebhookContent(name="tell", url="https://example.org/hook", secret="s3cr3t")
    story.say(
        WebhookCreated(
            webhook_id=WEBHOOK,
            status="ACTIVE",
            actions=["model_version.created"],
            content=content,
        )
    )
