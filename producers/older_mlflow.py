"""What the oldest MLflow that we work with lacks, as the newest has it."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.validation import _validate_model_version

__all__ = ["parse_experiment_id", "parse_experiment_ids", "version_number"]


def parse_experiment_id(experiment_id: str | int) -> int:
    """An experiment's id as a number.

    Raises:
        MlflowException: it is none.
    """
    try:
        return int(experiment_id)
    except (ValueError, TypeError) as error:
        raise MlflowException(
            f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.",
            INVALID_PARAMETER_VALUE,
        ) from error


def parse_experiment_ids(experiment_ids: list[str]) -> list[int]:
    """Experiments' ids as numbers; see :func:`parse_experiment_id`."""
    return [parse_experiment_id(experiment_id) for experiment_id in experiment_ids]


def version_number(version: str | int) -> int:
    """A model version's number.

    Raises:
        MlflowException: it is none.
    """
    _validate_model_version(version)
    return int(version)
