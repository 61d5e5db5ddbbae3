"""Experiments, as MLflow's tracking store has them."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from mlflow.entities import Experiment, ExperimentTag, LifecycleStage, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT, SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.utils.search_utils import SearchExperimentsUtils
from mlflow.utils.uri import append_to_uri_path, resolve_uri_if_local
from mlflow.utils.validation import (
    _validate_experiment_artifact_location_length,
    _validate_experiment_name,
    _validate_experiment_tag,
)

from mlflow_ledger.query import (
    ExperimentRow,
    Filter,
    Order,
    experiment_by_name,
    experiment_row,
    find_experiments,
)
from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    ExperimentCreatedContent,
    ExperimentDeleted,
    ExperimentEvent,
    ExperimentPurged,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    ExperimentTagSetContent,
    KeyValue,
    Reason,
    Refused,
)

from .archival_retention import with_retention
from .edge import LedgerStore, first, start_offset, text, whole
from .entities import experiment_entity
from .older_mlflow import SINCE_3_18, parse_experiment_id

__all__ = [
    "DEFAULT_EXPERIMENT_ID",
    "Experiments",
    "active_experiment",
    "check_max_results",
    "existing_experiment",
    "experiment_no",
    "seen_experiment",
]

DEFAULT_EXPERIMENT_ID = "0"


class Experiments(LedgerStore):
    """Create, get, search, tag, rename, delete, restore and purge experiments."""

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: list[ExperimentTag] | None = None,
    ) -> str:
        """Create an experiment; returns its id, 18 digits that no other machine draws.

        Like MLflow's numbers they sort by creation: the clock's first, three random ones last.
        """
        _validate_experiment_name(name)
        if artifact_location:
            artifact_location = resolve_uri_if_local(artifact_location)
            _validate_experiment_artifact_location_length(artifact_location)
        for tag in tags or ():
            _validate_experiment_tag(tag.key, tag.value)
        pairs = [KeyValue(key=tag.key, value=text(tag.value)) for tag in tags or ()]
        place = self._placing()

        def decide(_: sqlite3.Connection) -> list[Event]:
            experiment_id = f"{time.time_ns() // 10_000}{secrets.randbelow(1000):03}"
            event = ExperimentCreated(
                experiment_id=experiment_id,
                name=name,
                artifact_location=artifact_location or append_to_uri_path(place(), experiment_id),
                content=ExperimentCreatedContent(tags=pairs) if pairs else None,
            )
            if len({pair.key for pair in pairs}) < len(pairs):
                # The code is that of MLflow's SQL store, which takes it for a name that is taken.
                raise Refused(
                    Reason.EXISTS, f"Experiment(name={name}) already exists or repeats a tag", event
                )
            return [event]

        return first(self._decide(decide)).key

    def get_experiment(self, experiment_id: str | None) -> Experiment:
        """An experiment, active or deleted; none named means the default one."""
        number = experiment_no(experiment_id or DEFAULT_EXPERIMENT_ID)
        row = self._ask(lambda db: _existing(db, number))
        return with_retention(self, experiment_entity(row))[0]

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """The experiment of this name, active or deleted, or None."""
        row = self._ask(lambda db: experiment_by_name(db, experiment_name))
        return with_retention(self, experiment_entity(row))[0] if row else None

    def filter_active_experiment_ids(self, experiment_ids: list[str]) -> list[str]:
        """Those of some experiments that are there and active."""
        numbers = sorted({experiment_no(given) for given in experiment_ids})
        rows = self._ask(lambda db: [experiment_row(db, number) for number in numbers])
        return [
            str(row.experiment_id) for row in rows if row and row.lifecycle == LifecycleStage.ACTIVE
        ]

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Give an active experiment another name."""
        _validate_experiment_name(new_name)
        self._about_experiment(experiment_id, ExperimentRenamed, name=new_name)

    def delete_experiment(self, experiment_id: str) -> None:
        """Soft-delete an experiment and its runs."""
        self._about_experiment(experiment_id, ExperimentDeleted)

    def restore_experiment(self, experiment_id: str) -> None:
        """Restore an experiment and its runs."""
        self._about_experiment(experiment_id, ExperimentRestored)

    def _hard_delete_experiment(self, experiment_id: str) -> None:
        """Delete a deleted experiment for good (``mlflow gc``)."""
        self._about_experiment(experiment_id, ExperimentPurged)

    def set_experiment_tag(self, experiment_id: str, tag: ExperimentTag) -> None:
        """Set a tag of an active experiment."""
        _validate_experiment_tag(tag.key, tag.value)
        content = ExperimentTagSetContent(value=text(tag.value))
        self._about_experiment(experiment_id, ExperimentTagSet, tag=tag.key, content=content)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag of an active experiment."""
        self._about_experiment(experiment_id, ExperimentTagDeleted, tag=key)

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = SEARCH_MAX_RESULTS_DEFAULT,
        filter_string: str | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Experiment]:
        """The experiments that match, a page of them, with the token of the next page."""
        check_max_results(max_results)
        filters = _filters(filter_string)
        orders = _orders(order_by)
        offset = start_offset(page_token)
        rows = self._ask(
            lambda db: find_experiments(
                db,
                LifecycleStage.view_type_to_stages(view_type),
                filters,
                orders,
                max_results + 1,
                offset,
            )
        )
        token = None
        if len(rows) > max_results:
            token = SearchExperimentsUtils.create_page_token(offset + max_results)
        found = with_retention(self, *(experiment_entity(row) for row in rows[:max_results]))
        return PagedList(found, token)

    def _placing(self) -> Callable[[], str]:
        """What tells, once the ledger has begun, below what artifacts of new experiments go."""
        return self._ledger.root

    def _about_experiment(
        self, experiment_id: str, kind: type[ExperimentEvent], **fields: Any
    ) -> None:
        """Say something about an experiment that is there; unlike a read it must be named."""
        number = experiment_no(experiment_id)
        event = kind(experiment_id=str(number), **fields)

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, number, event)
            return [event]

        self._decide(decide)


def active_experiment(db: sqlite3.Connection, experiment_id: str) -> ExperimentRow:
    """The experiment that something is to be created in.

    Raises:
        Refused: there is none, or it is deleted.
    """
    number = experiment_no(experiment_id)
    row = _existing(db, number)
    if row.lifecycle != LifecycleStage.ACTIVE:
        raise Refused(
            Reason.INVALID,
            f"The experiment {number} must be in the 'active' state. "
            f"Current state is {row.lifecycle}.",
        )
    return row


def seen_experiment(db: sqlite3.Connection, experiment_id: str) -> int:
    """The number of an experiment, where to the caller a deleted one is none.

    Raises:
        Refused: there is none, or it is deleted.
    """
    number = experiment_no(experiment_id)
    if _existing(db, number).lifecycle != LifecycleStage.ACTIVE:
        raise Refused(Reason.MISSING, f"No Experiment with id={number} exists")
    return number


def check_max_results(max_results: int | None, *, allow_null: bool = False) -> None:
    """MLflow's limits on the size of a page."""
    if max_results is None and allow_null:
        return
    if not isinstance(max_results, int) or max_results < 1:
        raise MlflowException(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a "
            "positive integer",
            INVALID_PARAMETER_VALUE,
        )
    if max_results > SEARCH_MAX_RESULTS_THRESHOLD:
        raise MlflowException(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be at "
            f"most {SEARCH_MAX_RESULTS_THRESHOLD}",
            INVALID_PARAMETER_VALUE,
        )


def _existing(db: sqlite3.Connection, number: int, event: Event | None = None) -> ExperimentRow:
    row = experiment_row(db, number)
    if row is None:
        raise Refused(Reason.MISSING, f"No Experiment with id={number} exists", event)
    return row


def existing_experiment(db: sqlite3.Connection, experiment_id: str | None) -> ExperimentRow:
    """An experiment, active or deleted; none named means the default one.

    Raises:
        Refused: there is none.
    """
    return _existing(db, experiment_no(experiment_id or DEFAULT_EXPERIMENT_ID))


def experiment_no(experiment_id: str) -> int:
    """An experiment's id as a number; nonsense gets MLflow's error."""
    return whole(parse_experiment_id(experiment_id)) or 0


def _filters(filter_string: str | None) -> list[Filter]:
    """Parse a filter, with the checks of MLflow's SQL store."""
    filters = []
    for parsed in SearchExperimentsUtils.parse_search_filter(filter_string):
        kind, key = parsed["type"], parsed["key"]
        comparator, value = parsed["comparator"], parsed["value"]
        if SINCE_3_18:  # which takes `like` for LIKE
            comparator = comparator.upper()
        if kind == "attribute":
            value = _attribute_value(kind, key, comparator, value)
        elif kind == "tag":
            allowed = ("=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL")
            _check(comparator in allowed, f"Invalid comparator for tag: {comparator}")
        else:
            _check(False, f"Invalid token type: {kind}")
        filters.append(Filter(kind, key, comparator, value))
    return filters


def _attribute_value(kind: str, key: str, comparator: str, value: Any) -> Any:
    if key == "experiment_id":
        known = comparator in ("=", "!=", "IN", "NOT IN")
        _check(known, f"Invalid comparator for experiment_id: {comparator}")
        if isinstance(value, tuple):
            return tuple(whole(parse_experiment_id(v)) for v in value)
        return whole(parse_experiment_id(value))
    if SearchExperimentsUtils.is_string_attribute(kind, key, comparator):
        known = comparator in ("=", "!=", "LIKE", "ILIKE")
        _check(known, f"Invalid comparator for string attribute: {comparator}")
    if SearchExperimentsUtils.is_numeric_attribute(kind, key, comparator):
        known = comparator in ("=", "!=", "<", "<=", ">", ">=")
        _check(known, f"Invalid comparator for numeric attribute: {comparator}")
        message = f"Invalid value for numeric attribute '{key}': "
        _check(not isinstance(value, float), f"{message}{str(value)!r}")
        try:
            return whole(int(value))
        except (TypeError, ValueError):
            _check(False, f"{message}{value!r}")
    return value


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise MlflowException.invalid_parameter_value(message)


def _orders(order_by: list[str] | None) -> list[Order]:
    orders = []
    for clause in order_by or ["creation_time DESC", "experiment_id ASC"]:
        kind, key, ascending = SearchExperimentsUtils.parse_order_by_for_search_experiments(clause)
        _check(kind == "attribute", f"Invalid order_by entity: {kind}")
        orders.append(Order(kind, key, ascending))
    if not any(order.key == "experiment_id" for order in orders):
        orders.append(Order("attribute", "experiment_id", ascending=False))
    return orders
