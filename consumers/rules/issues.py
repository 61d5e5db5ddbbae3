"""Rules about issues."""

from __future__ import annotations

from mlflow_ledger.schemas import IssueCreated, IssueUpdated

from .items import Family

__all__: list[str] = []

(
    Family(
        parent="experiment_id",
        missing="Issue with ID '{id}' not found",
        exists="Issue with ID '{id}' already exists",
    )
    .created(IssueCreated)
    .updated(IssueUpdated)
)
