"""A ledger in which models are made of models: one model, judged, distilled, copied, promoted."""

from __future__ import annotations

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    ArtifactLogged,
    AssessmentContent,
    AssessmentCreated,
    DatasetInput,
    Event,
    ExperimentCreated,
    InputsLogged,
    InputsLoggedContent,
    KeyValue,
    LoggedModelCreated,
    LoggedModelCreatedContent,
    MetricModel,
    ModelOutput,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionStageChanged,
    OutputsLogged,
    Point,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RunCreated,
    RunCreatedContent,
    RunDataLogged,
    RunDataLoggedContent,
    RunUpdated,
    TraceStarted,
    TraceStartedContent,
    metric_columns,
)

EXPERIMENT = "7"
SWEEP, TRAIN, DISTIL, JUDGE = ("1" * 32, "2" * 32, "3" * 32, "4" * 32)
TEACHER, STUDENT = "m-" + "5" * 32, "m-" + "6" * 32
TRACE = "tr-" + "7" * 32
COMMIT = "c0ffee" * 6 + "c0ff"
REQUIREMENTS = b"scikit-learn==1.5\n"
_ROOT = "ledger-artifacts://x/7"


def tell(ledger: Ledger) -> None:
    """Write it all."""
    for event in events(ledger):
        ledger.write(lambda _, event=event: [event])  # type: ignore[misc]  # mypy: lambda default


def run(run_id: str, name: str, parent: str | None = None) -> RunCreated:
    tags = [KeyValue(key="mlflow.source.git.commit", value=COMMIT)]
    if parent:
        tags.append(KeyValue(key="mlflow.parentRunId", value=parent))
    return RunCreated(
        run_id=run_id,
        experiment_id=EXPERIMENT,
        start_time_ms=1_700_000_000_000,
        artifact_uri=f"{_ROOT}/{run_id}/artifacts",
        content=RunCreatedContent(name=name, user_id="alice", tags=tags),
    )


def reads(run_id: str, name: str, digest: str, *models: str) -> InputsLogged:
    schema = '{"mlflow_colspec": [{"type": "double", "name": "ash", "required": true}]}'
    dataset = DatasetInput(
        name=name,
        digest=digest,
        source_type="local",
        source=f'{{"uri": "/data/{name}.csv"}}',
        dataset_schema=schema,
        tags=[KeyValue(key="mlflow.data.context", value="train")],
    )
    return InputsLogged(
        run_id=run_id, models=list(models), content=InputsLoggedContent(datasets=[dataset])
    )


def model(model_id: str, name: str, run_id: str) -> LoggedModelCreated:
    return LoggedModelCreated(
        model_id=model_id,
        experiment_id=EXPERIMENT,
        source_run_id=run_id,
        artifact_location=f"{_ROOT}/models/{model_id}/artifacts",
        content=LoggedModelCreatedContent(name=name),
    )


def version(model_name: str, number: int, model_id: str | None, source: str) -> Event:
    return ModelVersionCreated(
        model_uid=f"uid-{model_name}",
        name=model_name,
        version_uid=f"uid-{model_name}-v{number}",
        model_id=model_id,
        content=ModelVersionCreatedContent(source=source, user_id="alice"),
    )


def named(model_name: str, number: int) -> dict[str, object]:
    uid = f"uid-{model_name}"
    return {
        "model_uid": uid,
        "name": model_name,
        "version_uid": f"{uid}-v{number}",
        "version": number,
    }


def requirements(ledger: Ledger, model_id: str) -> ArtifactLogged:
    digest, size_bytes = ledger.carrier.put(REQUIREMENTS)
    return ArtifactLogged(
        digest=digest,
        path=f"7/models/{model_id}/artifacts/requirements.txt",
        size_bytes=size_bytes,
        owner=f"logged_models:/{model_id}",
        written_ns=1,
    )


def events(ledger: Ledger) -> list[Event]:
    measured = MetricModel(model_id=STUDENT, dataset_name="holdout", dataset_digest="d-hold")
    points = [Point("accuracy", 0.9, 1, 0, measured)]
    trace = {"trace_id": TRACE}
    return [
        ExperimentCreated(experiment_id=EXPERIMENT, name="cellar", artifact_location=_ROOT),
        run(SWEEP, "sweep"),
        reads(SWEEP, "wine", "d-wine"),
        run(TRAIN, "train", SWEEP),
        model(TEACHER, "teacher", TRAIN),
        OutputsLogged(run_id=TRAIN, models=[ModelOutput(model_id=TEACHER)]),
        RunUpdated(run_id=TRAIN, status="FINISHED", end_time_ms=1_700_000_060_000),
        run(DISTIL, "distil"),
        reads(DISTIL, "prompts", "d-prompts", TEACHER),
        model(STUDENT, "student", DISTIL),
        OutputsLogged(run_id=DISTIL, models=[ModelOutput(model_id=STUDENT)]),
        requirements(ledger, STUDENT),
        RegisteredModelCreated(model_uid="uid-cellar", name="cellar"),
        version("cellar", 1, STUDENT, f"models:/{STUDENT}"),
        RegisteredModelCreated(model_uid="uid-shop", name="shop"),
        version("shop", 1, None, "models:/cellar/1"),
        ModelVersionStageChanged(**named("cellar", 1), stage="Production"),
        RegisteredModelAliasSet(**named("shop", 1), alias="live"),
        run(JUDGE, "judge"),
        reads(JUDGE, "holdout", "d-hold", STUDENT),
        RunDataLogged(run_id=JUDGE, content=RunDataLoggedContent(**metric_columns(points))),
        RunUpdated(run_id=JUDGE, status="FAILED", end_time_ms=1_700_000_090_000),
        TraceStarted(
            **trace,
            experiment_id=EXPERIMENT,
            artifact_uri=f"{_ROOT}/traces/{TRACE}/artifacts",
            start_ms=1_700_000_100_000,
            state="OK",
            spans_location="TRACKING_STORE",
            content=TraceStartedContent(metadata=[KeyValue(key="mlflow.modelId", value=STUDENT)]),
        ),
        AssessmentCreated(
            **trace,
            assessment_id="a-1",
            assessment_type="feedback",
            source_type="HUMAN",
            created_ms=1_700_000_110_000,
            updated_ms=1_700_000_110_000,
            content=AssessmentContent(name="helpful", value="true", source_id="carol"),
        ),
    ]
