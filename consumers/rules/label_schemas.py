"""Rules about label schemas."""

from __future__ import annotations

from mlflow_ledger.schemas import LabelSchemaCreated, LabelSchemaDeleted, LabelSchemaUpdated

from .items import Family

__all__: list[str] = []

(
    Family(
        name="name",
        parent="experiment_id",
        missing="Label schema with id '{id}' not found.",
        exists="Label schema with name '{name}' already exists for experiment '{parent_id}'.",
    )
    .created(LabelSchemaCreated)
    .updated(LabelSchemaUpdated)
    .deleted(LabelSchemaDeleted)
)
