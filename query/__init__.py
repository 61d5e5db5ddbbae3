"""How it is asked: search, SQL, lineage, audit."""

from .artifacts import ArtifactRow, artifact_at, artifacts_below
from .conditions import Filter, Order, Sql, compare, ilike_duckdb, ilike_sqlite
from .datasets import dataset_summaries
from .experiments import ExperimentRow, experiment_by_name, experiment_row, find_experiments
from .logged_models import (
    LoggedModelRow,
    ModelDataset,
    ModelOrder,
    deleted_logged_models,
    find_logged_models,
    logged_model_row,
    model_attribute,
)
from .registry import (
    DELETED_STAGE,
    ModelRow,
    VersionRow,
    alias_version,
    find_models,
    find_versions,
    latest_versions,
    model_row,
    model_uid,
    version_row,
)
from .runs import (
    DatasetRow,
    Details,
    MetricPoint,
    RunRow,
    deleted_run_ids,
    metric_history,
    run_details,
    run_row,
    run_rows,
)
from .search_runs import RunSearch, find_runs
from .webhooks import WebhookRow, webhook_row, webhook_rows

__all__ = [
    "DELETED_STAGE",
    "ArtifactRow",
    "DatasetRow",
    "Details",
    "ExperimentRow",
    "Filter",
    "LoggedModelRow",
    "MetricPoint",
    "ModelDataset",
    "ModelOrder",
    "ModelRow",
    "Order",
    "RunRow",
    "RunSearch",
    "Sql",
    "VersionRow",
    "WebhookRow",
    "alias_version",
    "artifact_at",
    "artifacts_below",
    "compare",
    "dataset_summaries",
    "deleted_logged_models",
    "deleted_run_ids",
    "experiment_by_name",
    "experiment_row",
    "find_experiments",
    "find_logged_models",
    "find_models",
    "find_runs",
    "find_versions",
    "ilike_duckdb",
    "ilike_sqlite",
    "latest_versions",
    "logged_model_row",
    "metric_history",
    "model_attribute",
    "model_row",
    "model_uid",
    "run_details",
    "run_row",
    "run_rows",
    "version_row",
    "webhook_row",
    "webhook_rows",
]
