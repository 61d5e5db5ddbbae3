"""Rows of the state as MLflow's entities."""

from __future__ import annotations

from collections.abc import Callable

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    ExperimentTag,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunTag,
)

from mlflow_ledger.query import DatasetRow, Details, ExperimentRow, RunRow

__all__ = ["experiment_entity", "run_entity", "run_info"]

_NAN = float("nan")

Arrived = Callable[[str | bytes | None], str | None]


def experiment_entity(row: ExperimentRow) -> Experiment:
    """An experiment with its tags."""
    return Experiment(
        experiment_id=str(row.experiment_id),
        name=row.name,
        artifact_location=row.artifact_location,
        lifecycle_stage=row.lifecycle,
        tags=[ExperimentTag(key, value) for key, value in row.tags],
        creation_time=row.created_ms,
        last_update_time=row.updated_ms,
        workspace=row.workspace,
    )


def run_info(row: RunRow) -> RunInfo:
    """The info of a run."""
    return RunInfo(
        run_id=row.run_id,
        run_name=row.name,
        experiment_id=str(row.experiment_id),
        user_id=row.user_id or "",
        status=row.status,
        start_time=row.start_ms or 0,
        end_time=row.end_ms,
        lifecycle_stage=row.lifecycle,
        artifact_uri=row.artifact_uri,
    )


def run_entity(row: RunRow, details: Details, arrived: Arrived, *, inputs: bool = True) -> Run:
    """A run with its data; ``inputs`` tells whether models as inputs are part of the answer.

    MLflow's ``search_runs`` leaves them out, its ``get_run`` does not.
    """
    number = row.run_no
    data = RunData(
        metrics=[
            Metric(key, _NAN if is_nan else value, timestamp_ms, step)
            for _, key, value, is_nan, timestamp_ms, step in details.metrics.get(number, ())
        ],
        params=[Param(key, value) for _, key, value in details.params.get(number, ())],
        tags=[RunTag(key, value) for _, key, value in details.tags.get(number, ())],
    )
    datasets = [_dataset_input(d, arrived) for d in details.datasets.get(number, ())]
    models = (
        [LoggedModelInput(m) for _, m in details.model_inputs.get(number, ())] if inputs else []
    )
    outputs = [
        LoggedModelOutput(model_id=m, step=step)
        for _, m, step in details.model_outputs.get(number, ())
    ]
    return Run(run_info(row), data, RunInputs(datasets, models), RunOutputs(outputs))


def _dataset_input(row: DatasetRow, arrived: Arrived) -> DatasetInput:
    dataset = Dataset(
        name=row.name,
        digest=row.digest,
        source_type=row.source_type,
        source=arrived(row.source) or "",
        schema=arrived(row.dataset_schema),
        profile=arrived(row.profile),
    )
    return DatasetInput(dataset, [InputTag(key, value) for key, value in row.tags])
