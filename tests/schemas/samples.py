"""Two sample events of every type: one with all it can hold, one with the least."""

from __future__ import annotations

import math
from typing import Any

from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    BlobChunkLogged,
    BlobChunkLoggedContent,
    BlobCollected,
    BlobCondemned,
    BlobStored,
    ClaimCheck,
    CommandRejected,
    CommandRejectedContent,
    ContentRedacted,
    ContentRedactedContent,
    DatasetInput,
    DescriptionContent,
    Envelope,
    Event,
    ExperimentCreated,
    ExperimentCreatedContent,
    ExperimentDeleted,
    ExperimentPurged,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    ExperimentTagSetContent,
    InputsLogged,
    InputsLoggedContent,
    KeyValue,
    LedgerCreated,
    LoggedModelCreated,
    LoggedModelCreatedContent,
    LoggedModelDeleted,
    LoggedModelFinalized,
    LoggedModelParamsLogged,
    LoggedModelParamsLoggedContent,
    LoggedModelPurged,
    LoggedModelTagDeleted,
    LoggedModelTagsSet,
    LoggedModelTagsSetContent,
    MetricModel,
    ModelOutput,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionDeleted,
    ModelVersionStageChanged,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    ModelVersionUpdated,
    OutputsLogged,
    Point,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelCreatedContent,
    RegisteredModelDeleted,
    RegisteredModelRenamed,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
    RegisteredModelUpdated,
    RunCreated,
    RunCreatedContent,
    RunDataLogged,
    RunDataLoggedContent,
    RunDeleted,
    RunPurged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
    RunUpdatedContent,
    TagContent,
    TopicPartitions,
    WebhookContent,
    WebhookCreated,
    WebhookDeleted,
    WebhookUpdated,
    metric_columns,
)
from tests.families import SAMPLES

NONCE = bytes(range(16))
DIGEST = "sha256:" + "ab" * 32
HOSTILE = 'ключ "☃"\n\x00\u2028𝄞'
_TAGS = [KeyValue(key="a", value="1"), KeyValue(key=HOSTILE, value=""), KeyValue(key="none")]
_CHECK = ClaimCheck(digest=DIGEST, size_bytes=300_000)
_MODEL = MetricModel(model_id="m-1", dataset_name="d", dataset_digest="77")
_COLUMNS: dict[str, Any] = metric_columns(
    [
        Point("loss", 0.5, 1_700_000_000_000, 0),
        Point("loss", math.nan, 1_700_000_000_001, 1, _MODEL),
        Point(HOSTILE, -math.inf, -1, -(2**63), MetricModel(model_id="m-2")),
        Point("acc", -0.0, 2**63 - 1, 2**63 - 1),
    ]
)
_RUN, _MODEL_ID, _EXPERIMENT = {"run_id": "r1"}, {"model_id": "m-1"}, {"experiment_id": "17"}
_REGISTERED = {"model_uid": "u1", "name": "wine"}
_VERSION: dict[str, Any] = {**_REGISTERED, "version_uid": "v1", "version": 3}

ENVELOPE = Envelope(
    source="6f0c9f3e-0000-4000-8000-000000000001/runs/3",
    id=42,
    type="",
    time_ms=1_772_539_200_123,
    subject="",
    actor="Zoë",
    actorkind="claimed",
    host="node-7",
    client="mlflow-ledger/0.1.0",
    rules=1,
    correlationid="c0ffee",
)
"""The envelope that the digests of goldens are made with; type and subject are the event's."""

FULL: tuple[Event, ...] = (
    LedgerCreated(
        ledger_id="0123456789abcdef",
        partitions=[TopicPartitions(topic="runs", count=8)],
        hash="sha256",
        rules=1,
        erasable=True,
        artifact_root="ledger-artifacts://0123456789abcdef",
    ),
    ContentRedacted(
        redaction_id="c0ffee",
        entity="models:/wine/2",
        subjects=["models:/wine", "models:/old wine"],
        model_uids=["m1"],
        version_uids=["v2"],
        content=ContentRedactedContent(reason=HOSTILE),
    ),
    CommandRejected(
        command="RunDeleted",
        command_topic="runs",
        command_key="r1",
        command_subject="runs:/r1",
        code="RESOURCE_DOES_NOT_EXIST",
        content=CommandRejectedContent(message=HOSTILE),
    ),
    ExperimentCreated(
        **_EXPERIMENT,
        name=HOSTILE,
        artifact_location="s3://b/17",
        content=ExperimentCreatedContent(tags=_TAGS),
    ),
    ExperimentRenamed(**_EXPERIMENT, name="new"),
    ExperimentDeleted(**_EXPERIMENT),
    ExperimentRestored(**_EXPERIMENT),
    ExperimentPurged(**_EXPERIMENT),
    ExperimentTagSet(**_EXPERIMENT, tag="t", content=ExperimentTagSetContent(value="v")),
    ExperimentTagDeleted(**_EXPERIMENT, tag="t"),
    RunCreated(
        **_RUN,
        experiment_id="17",
        experiment_epoch=2,
        start_time_ms=1_700_000_000_000,
        artifact_uri="ledger-artifacts://0123456789abcdef/17/r1/artifacts",
        content=RunCreatedContent(name="calm-crane-1", user_id="zoë", tags=_TAGS),
    ),
    RunUpdated(
        **_RUN,
        status="FINISHED",
        end_time_ms=1_700_000_001_000,
        content=RunUpdatedContent(name="renamed"),
    ),
    RunDeleted(**_RUN, experiment_epoch=2),
    RunRestored(**_RUN, experiment_epoch=2),
    RunPurged(**_RUN),
    RunDataLogged(
        **_RUN,
        content=RunDataLoggedContent(
            **_COLUMNS, params=[KeyValue(key="lr", value="0.1")], tags=_TAGS
        ),
    ),
    RunTagDeleted(**_RUN, tag="t"),
    InputsLogged(
        **_RUN,
        models=["m-1", "m-2"],
        content=InputsLoggedContent(
            datasets=[
                DatasetInput(
                    name="d",
                    digest="77",
                    source_type="code",
                    source=_CHECK,
                    dataset_schema="{}",
                    profile=None,
                    tags=_TAGS,
                )
            ]
        ),
    ),
    OutputsLogged(**_RUN, models=[ModelOutput(model_id="m-1", step=9)]),
    LoggedModelCreated(
        **_MODEL_ID,
        experiment_id="17",
        source_run_id="r1",
        artifact_location="ledger-artifacts://0123456789abcdef/17/models/m-1/artifacts",
        content=LoggedModelCreatedContent(
            name="model", model_type="classifier", tags=_TAGS, params=_TAGS[:2]
        ),
    ),
    LoggedModelFinalized(**_MODEL_ID, status="READY"),
    LoggedModelTagsSet(**_MODEL_ID, content=LoggedModelTagsSetContent(tags=_TAGS)),
    LoggedModelTagDeleted(**_MODEL_ID, tag="t"),
    LoggedModelParamsLogged(**_MODEL_ID, content=LoggedModelParamsLoggedContent(params=_TAGS[:2])),
    LoggedModelDeleted(**_MODEL_ID),
    LoggedModelPurged(**_MODEL_ID),
    RegisteredModelCreated(
        **_REGISTERED, content=RegisteredModelCreatedContent(description=_CHECK, tags=_TAGS)
    ),
    RegisteredModelUpdated(**_REGISTERED, content=DescriptionContent(description=HOSTILE)),
    RegisteredModelRenamed(**_REGISTERED, new_name="vino"),
    RegisteredModelDeleted(**_REGISTERED),
    RegisteredModelTagSet(**_REGISTERED, tag="t", content=TagContent(value="v")),
    RegisteredModelTagDeleted(**_REGISTERED, tag="t"),
    RegisteredModelAliasSet(**_VERSION, alias="champion"),
    RegisteredModelAliasDeleted(**_REGISTERED, alias="champion"),
    ModelVersionCreated(
        **_REGISTERED,
        version_uid="v1",
        run_id="r1",
        model_id="m-1",
        content=ModelVersionCreatedContent(
            source="models:/m-1",
            storage_location="s3://b/m",
            run_link="https://example.org/r1",
            user_id="zoë",
            description=_CHECK,
            tags=_TAGS,
        ),
    ),
    ModelVersionUpdated(**_VERSION, content=DescriptionContent(description=_CHECK)),
    ModelVersionStageChanged(**_VERSION, stage="Production", archive_existing=True),
    ModelVersionDeleted(**_VERSION),
    ModelVersionTagSet(**_VERSION, tag="t", content=TagContent(value=HOSTILE)),
    ModelVersionTagDeleted(**_VERSION, tag="t"),
    ArtifactLogged(
        digest=DIGEST,
        path="17/r1/artifacts/модель.pkl",
        size_bytes=2**40,
        owner="runs:/r1",
        written_ns=1_700_000_000_000_000_000,
    ),
    ArtifactDeleted(digest=DIGEST, path="17/r1/artifacts/a", owner="runs:/r1", written_ns=1),
    BlobCondemned(digest=DIGEST),
    BlobCollected(digest=DIGEST),
    BlobChunkLogged(
        digest=DIGEST,
        index=2,
        count=5,
        size_bytes=2**40,
        content=BlobChunkLoggedContent(data=bytes(range(256))),
    ),
    BlobStored(digest=DIGEST, store="s3://bucket/prefix"),
    WebhookCreated(
        webhook_id="w1",
        status="ACTIVE",
        actions=["registered_model.created"],
        content=WebhookContent(name="n", url="https://example.org", description="d", secret="gA=="),
    ),
    WebhookUpdated(
        webhook_id="w1", status="DISABLED", actions=[], content=WebhookContent(url="https://x.org")
    ),
    WebhookDeleted(webhook_id="w1"),
    *SAMPLES,
)


def bare(event: Event) -> Event:
    """The same event without its content and with every default: the least of its type."""
    fields = {
        name: getattr(event, name)
        for name, field in type(event).model_fields.items()
        if field.is_required()
    }
    return type(event)(**fields)


def redacted(event: Event) -> Event:
    """The same event with its content redacted."""
    return event.model_copy(update={"content": None})


def envelope_of(event: Event) -> Envelope:
    """The fixed envelope around an event."""
    return ENVELOPE._replace(type=type(event).__name__, subject=event.subject)
