"""Rows of the registry as MLflow's entities."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelAlias,
    RegisteredModelTag,
)
from mlflow.entities.model_registry.model_version_status import ModelVersionStatus

from mlflow_ledger.query import ModelRow, VersionRow

from .entities import Arrived

__all__ = ["model_entity", "version_entity"]

_READY = ModelVersionStatus.to_string(ModelVersionStatus.READY)


def model_entity(
    row: ModelRow, latest: Sequence[VersionRow], arrived: Arrived, *, aliases: bool = False
) -> RegisteredModel:
    """A registered model with the latest version of each stage.

    MLflow leaves the aliases of those versions out; ``aliases`` puts them in.
    """
    return RegisteredModel(
        row.name,
        row.created_ms,
        row.updated_ms,
        arrived(row.description),
        [version_entity(version, arrived, aliases=aliases) for version in latest],
        [RegisteredModelTag(key, value) for key, value in row.tags],
        [RegisteredModelAlias(alias, version) for alias, version in row.aliases],
        workspace=row.workspace,
    )


def version_entity(row: VersionRow, arrived: Arrived, *, aliases: bool = True) -> ModelVersion:
    """A version; searches leave its aliases out, as in MLflow."""
    return ModelVersion(
        row.name,
        row.version,  # type: ignore[arg-type]  # a number, as MLflow's own SQL store gives it
        row.created_ms,
        row.updated_ms,
        arrived(row.description),
        row.user_id,
        row.stage,
        row.source,
        row.run_id,
        _READY,
        None,
        [ModelVersionTag(key, value) for key, value in row.tags],
        row.run_link,
        row.aliases if aliases else [],
        workspace=row.workspace,
    )
