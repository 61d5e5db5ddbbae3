"""Inputs and outputs of runs: data sets and logged models."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mlflow.entities import (
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    _DatasetSummary,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.utils.validation import (
    _validate_dataset_inputs,
    _validate_run_id,
)

from mlflow_ledger import schemas
from mlflow_ledger.query import dataset_summaries
from mlflow_ledger.schemas import (
    Event,
    InputsLogged,
    InputsLoggedContent,
    KeyValue,
    ModelOutput,
    OutputsLogged,
)

from .edge import LedgerStore, whole
from .older_mlflow import parse_experiment_ids
from .runs import active_run

__all__ = ["RunInputsLogging"]

_PER_EVENT = 8


class RunInputsLogging(LedgerStore):
    """Log what runs use and make."""

    def log_inputs(
        self,
        run_id: str,
        datasets: list[DatasetInput] | None = None,
        models: list[LoggedModelInput] | None = None,
    ) -> None:
        """Name data sets and logged models as inputs; a data set is an input once."""
        _validate_run_id(run_id)
        if datasets is not None:
            if not isinstance(datasets, list):
                msg = f"Argument 'datasets' should be a list, got '{type(datasets)}'"
                raise TypeError(msg)
            _validate_dataset_inputs(datasets)
        unique = {(d.dataset.name, d.dataset.digest): d for d in reversed(_with_dataset(datasets))}
        described = [self._dataset(dataset) for dataset in reversed(unique.values())]
        batches = [described[i : i + _PER_EVENT] for i in range(0, len(described), _PER_EVENT)]
        named = [model.model_id for model in models or ()]
        events: list[Event] = [
            InputsLogged(
                run_id=run_id,
                models=named if number == 0 else [],
                content=InputsLoggedContent(datasets=batch) if batch else None,
            )
            for number, batch in enumerate(batches or [[]])
        ]

        def decide(db: sqlite3.Connection) -> list[Event]:
            active_run(db, run_id, events[0])
            return events if described or named else []

        self._decide(decide)

    def log_outputs(self, run_id: str, models: list[LoggedModelOutput]) -> None:
        """Name logged models as outputs, each at a step."""
        outputs = [ModelOutput(model_id=m.model_id, step=whole(m.step) or 0) for m in models]
        event = OutputsLogged(run_id=run_id, models=outputs)

        def decide(db: sqlite3.Connection) -> list[Event]:
            active_run(db, run_id, event)
            return [event] if outputs else []

        self._decide(decide)

    def _search_datasets(self, experiment_ids: Sequence[str]) -> list[_DatasetSummary]:
        """The data sets of some experiments with the contexts they are used in."""
        numbers = [whole(number) or 0 for number in parse_experiment_ids(list(experiment_ids))]
        return [
            _DatasetSummary(experiment_id=str(e), name=name, digest=digest, context=context)
            for e, name, digest, context in self._ask(lambda db: dataset_summaries(db, numbers))
        ]

    def _dataset(self, item: DatasetInput) -> schemas.DatasetInput:
        dataset = item.dataset
        return schemas.DatasetInput(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=self._travelling(dataset.source),
            dataset_schema=self._travelling(dataset.schema),
            profile=self._travelling(dataset.profile),
            tags=[_pair(tag) for tag in item.tags],
        )


def _pair(tag: InputTag) -> KeyValue:
    return KeyValue(key=tag.key, value=tag.value)


def _with_dataset(datasets: list[DatasetInput] | None) -> list[DatasetInput]:
    for item in datasets or ():
        if item.dataset is None:
            raise MlflowException(
                "Dataset input must have a dataset associated with it.", INTERNAL_ERROR
            )
    return datasets or []
