"""Logged models, as MLflow's tracking store has them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from mlflow.entities import (
    LoggedModel,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.search_logged_model_utils import parse_filter_string
from mlflow.utils.search_utils import SearchLoggedModelsPaginationToken
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_logged_model_name

from mlflow_ledger.query import (
    Filter,
    LoggedModelRow,
    ModelDataset,
    ModelOrder,
    deleted_logged_models,
    find_logged_models,
    is_logged_model,
    logged_model_row,
    model_attribute,
)
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    LoggedModelCreated,
    LoggedModelCreatedContent,
    LoggedModelDeleted,
    LoggedModelEvent,
    LoggedModelFinalized,
    LoggedModelParamsLogged,
    LoggedModelParamsLoggedContent,
    LoggedModelPurged,
    LoggedModelTagDeleted,
    LoggedModelTagsSet,
    LoggedModelTagsSetContent,
    Reason,
    Refused,
)

from .edge import LedgerStore, now_ms, text, whole
from .experiments import active_experiment
from .older_mlflow import SINCE_3_18, parse_experiment_ids

__all__ = ["LoggedModels"]


class LoggedModels(LedgerStore):
    """Create, finalize, tag, search, delete and purge logged models."""

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: list[LoggedModelTag] | None = None,
        params: list[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Create a logged model, pending, in an active experiment."""
        _validate_logged_model_name(name)
        model_id = f"m-{uuid.uuid4().hex}"

        def decide(db: sqlite3.Connection) -> list[Event]:
            experiment = active_experiment(db, experiment_id)
            event = LoggedModelCreated(
                model_id=model_id,
                experiment_id=str(experiment.experiment_id),
                source_run_id=source_run_id,
                artifact_location=append_to_uri_path(
                    experiment.artifact_location, "models", model_id, "artifacts"
                ),
                content=LoggedModelCreatedContent(
                    name=name or _generate_random_name(),
                    model_type=model_type,
                    tags=_pairs(tags or ()),
                    params=_pairs(params or ()),
                ),
            )
            _refuse_repeated(event, tags or ())
            _refuse_repeated(event, params or ())
            return [event]

        self._decide(decide)
        return self.get_logged_model(model_id)

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """A logged model; a deleted one only where that is allowed."""
        row = self._ask(lambda db: logged_model_row(db, model_id))
        if row is None or (row.lifecycle == "deleted" and not allow_deleted):
            raise Refused(Reason.MISSING, f"Logged model with ID '{model_id}' not found.")
        return _entity(row)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Give a logged model its final status."""
        if not isinstance(status, LoggedModelStatus):
            self.get_logged_model(model_id, allow_deleted=True)  # what is missing is told first
            raise MlflowException(f"{status!r} is no LoggedModelStatus", INTERNAL_ERROR)
        self._about_model(lambda: LoggedModelFinalized(model_id=model_id, status=status.value))
        return self.get_logged_model(model_id, allow_deleted=True)

    def set_logged_model_tags(self, model_id: str, tags: list[LoggedModelTag]) -> None:
        """Set tags; of a key that is given twice the last value stays."""
        self._about_model(
            lambda: LoggedModelTagsSet(
                model_id=model_id, content=LoggedModelTagsSetContent(tags=_pairs(tags))
            )
        )

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag that is there."""
        self._about_model(lambda: LoggedModelTagDeleted(model_id=model_id, tag=key))

    def log_logged_model_params(self, model_id: str, params: list[LoggedModelParameter]) -> None:
        """Add params, none of which may be there."""
        self._about_model(
            lambda: LoggedModelParamsLogged(
                model_id=model_id, content=LoggedModelParamsLoggedContent(params=_pairs(params))
            )
        )

    def delete_logged_model(self, model_id: str) -> None:
        """Soft-delete a logged model."""
        self._about_model(lambda: LoggedModelDeleted(model_id=model_id))

    def _hard_delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model for good (``mlflow gc``)."""
        self._about_model(lambda: LoggedModelPurged(model_id=model_id))

    def _get_deleted_logged_models(self, older_than: int = 0) -> list[str]:
        """The ids of logged models deleted at least ``older_than`` milliseconds ago."""
        before_ms = now_ms() - older_than
        ids: list[str] = self._ask(lambda db: deleted_logged_models(db, before_ms))
        return ids

    def search_logged_models(
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: list[dict[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """A page of the logged models that match, with the token of the next page."""
        if datasets and not all(d.get("dataset_name") for d in datasets):
            raise MlflowException(
                "`dataset_name` in the `datasets` clause must be specified.",
                INVALID_PARAMETER_VALUE,
            )
        offset = 0
        if page_token:
            token = SearchLoggedModelsPaginationToken.decode(page_token)
            token.validate(experiment_ids, filter_string, order_by)
            offset = token.offset
        size = max_results or SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT
        measured = [
            ModelDataset(d["dataset_name"], d.get("dataset_digest"), "dataset_digest" not in d)
            for d in datasets or ()
        ]

        def question(db: sqlite3.Connection) -> list[LoggedModelRow]:
            filters = _filters(filter_string)
            numbers = [whole(number) or 0 for number in parse_experiment_ids(list(experiment_ids))]
            orders = [_order(clause) for clause in order_by or ()]
            return find_logged_models(
                db, numbers, filters, measured, orders, size + 1, offset, latest=SINCE_3_18
            )

        rows = self._ask(question)
        following = None
        if len(rows) > size:
            following = SearchLoggedModelsPaginationToken(
                offset=offset + size,
                experiment_ids=experiment_ids,
                filter_string=filter_string,
                order_by=order_by,
            ).encode()
        return PagedList([_entity(row) for row in rows[:size]], following)

    def _about_model(self, say: Callable[[], LoggedModelEvent]) -> None:
        """Say something about a logged model that is there, deleted or not."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            event = say()
            if not is_logged_model(db, event.model_id):
                raise Refused(
                    Reason.MISSING, f"Logged model with ID '{event.model_id}' not found.", event
                )
            return [event]

        self._decide(decide)


def _entity(row: LoggedModelRow) -> LoggedModel:
    return LoggedModel(
        model_id=row.model_id,
        experiment_id=str(row.experiment_id),
        name=row.name,
        artifact_location=row.artifact_location,
        creation_timestamp=row.created_ms,
        last_updated_timestamp=row.updated_ms,
        status=LoggedModelStatus(row.status),
        model_type=row.model_type,
        source_run_id=row.source_run_id,
        status_message=None,
        tags=dict(row.tags) or None,
        params=dict(row.params) or None,
        metrics=[
            Metric(
                key, value, timestamp_ms, step, row.model_id, dataset_name, dataset_digest, run_id
            )
            for key, value, timestamp_ms, step, run_id, dataset_name, dataset_digest in row.metrics
        ]
        or None,
    )


def _pairs(pairs: Sequence[Any]) -> list[KeyValue]:
    return [KeyValue(key=p.key, value=text(p.value)) for p in pairs]


def _refuse_repeated(event: Event, pairs: Sequence[Any]) -> None:
    keys = [pair.key for pair in pairs]
    if len(set(keys)) < len(keys):
        raise Refused(Reason.BAD_REQUEST, f"a key is given twice among {keys}", event)


def _filters(filter_string: str | None) -> list[Filter]:
    filters = []
    for comparison in parse_filter_string(filter_string):
        kind, key = comparison.entity.type.value, comparison.entity.key
        if kind == "attributes" and not model_attribute(key):
            raise MlflowException(f"Logged models have no attribute {key!r}")
        value = comparison.value
        if SINCE_3_18 and (kind, key) == ("attributes", "status"):
            value = _status_codes(comparison.op, value)
        filters.append(Filter(kind, key, comparison.op, value))
    return filters


def _status_codes(operator: str, value: Any) -> Any:
    """States as the numbers that they are searched by."""
    several = operator in ("IN", "NOT IN")
    if not several and operator not in ("=", "!="):
        raise MlflowException.invalid_parameter_value(
            f"Invalid comparison operator for status: {operator}"
        )
    try:
        codes = [LoggedModelStatus(name).to_int() for name in (value if several else [value])]
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(
            f"Unknown model status in filter: {value!r}"
        ) from error
    return codes if several else codes[0]


def _order(clause: dict[str, Any]) -> ModelOrder:
    field: Any = clause.get("field_name")
    ascending = clause.get("ascending", True)
    dataset = (clause.get("dataset_name"), clause.get("dataset_digest"))
    if "." in field:
        entity = field.split(".", 1)[0]
        if entity != "metrics":
            raise MlflowException.invalid_parameter_value(
                f"Invalid order by field name: {field}. Only metrics are supported."
            )
        return ModelOrder(field, ascending, dataset)
    aliases = {
        "creation_time": "creation_timestamp_ms",
        "creation_timestamp": "creation_timestamp_ms",
        "last_updated_timestamp": "last_updated_timestamp_ms",
    }
    name = aliases.get(field, field)
    if not model_attribute(name):
        raise MlflowException.invalid_parameter_value(f"Invalid order by field name: {field}")
    return ModelOrder(name, ascending)
