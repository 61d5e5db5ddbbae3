"""Evaluation data sets as MLflow's tracking store keeps them; their records are a module apart."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable
from typing import Any

from mlflow.entities import EvaluationDataset
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.mlflow_tags import MLFLOW_USER
from mlflow.utils.search_utils import SearchEvaluationDatasetsUtils, SearchUtils

from mlflow_ledger.query import (
    Filter,
    Item,
    Order,
    experiment_row,
    find_evaluation_datasets,
    item_of,
    item_tags,
)
from mlflow_ledger.schemas import (
    EvaluationDatasetContent,
    EvaluationDatasetCreated,
    EvaluationDatasetDeleted,
    EvaluationDatasetLinked,
    EvaluationDatasetTagDeleted,
    EvaluationDatasetTagsSet,
    EvaluationDatasetUnlinked,
    Event,
    ItemTagsContent,
    KeyValue,
    Reason,
    Refused,
)

from .edge import LedgerStore, start_offset, text, whole
from .experiments import check_max_results
from .items import existing_item

__all__ = ["EvaluationDatasets"]

_KIND = EvaluationDatasetCreated.kind
_MAX_DIGITS = 18
_NAMELESS = "dataset"  # as MLflow calls it


class EvaluationDatasets(LedgerStore):
    """Create, get, search, tag and delete evaluation data sets, and say what they are for."""

    def create_dataset(
        self,
        name: str,
        tags: dict[str, str] | None = None,
        experiment_ids: list[str] | None = None,
    ) -> EvaluationDataset:
        """Create a data set; neither is its name unique, nor need the experiments be there."""
        linked = [str(experiment_id) for experiment_id in experiment_ids or ()]
        event = EvaluationDatasetCreated(
            dataset_id=f"d-{uuid.uuid4().hex}",
            experiment_ids=linked,
            content=EvaluationDatasetContent(
                name=_NAMELESS if name is None else name,
                created_by=text((tags or {}).get(MLFLOW_USER)),
                tags=_pairs((tags or {}).items()),
            ),
        )

        def decide(_: sqlite3.Connection) -> list[Event]:
            _refuse_repeated(linked, event)
            return [event]

        dataset: EvaluationDataset = self._decide_and_ask(
            decide, lambda db: _existing_entity(db, event.dataset_id)
        )
        dataset.experiment_ids = experiment_ids or []
        return dataset

    def get_dataset(self, dataset_id: str) -> EvaluationDataset:
        """A data set; its records and experiments are read when they are asked for."""
        dataset: EvaluationDataset = self._ask(lambda db: _existing_entity(db, dataset_id))
        return dataset

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a data set with its records; one that is not there is no error, as in MLflow."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            there = item_of(db, _KIND, dataset_id)
            return [EvaluationDatasetDeleted(dataset_id=dataset_id)] if there else []

        self._decide(decide)

    def search_datasets(
        self,
        experiment_ids: list[str] | None = None,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[EvaluationDataset]:
        """A page of the data sets that match; those that runs used are another thing."""
        check_max_results(max_results)
        offset = start_offset(page_token)
        filters, orders = _filters(filter_string), _orders(order_by)
        given = [experiment_ids] if isinstance(experiment_ids, str) else experiment_ids or ()
        linked = [str(experiment_id) for experiment_id in given]

        def ask(db: sqlite3.Connection) -> tuple[list[Item], dict[str, dict[str, str]]]:
            items = find_evaluation_datasets(db, linked, filters, orders, max_results + 1, offset)
            return items, item_tags(db, _KIND, [item.item_id for item in items])

        items, tags = self._ask(ask)
        token = None
        if len(items) > max_results:
            token = SearchUtils.create_page_token(offset + max_results)
        return PagedList([_entity(item, tags[item.item_id]) for item in items[:max_results]], token)

    def set_dataset_tags(self, dataset_id: str, tags: dict[str, Any]) -> None:
        """Set tags; a value of None changes nothing."""
        pairs = _pairs((key, value) for key, value in tags.items() if value is not None)
        event = EvaluationDatasetTagsSet(dataset_id=dataset_id, content=ItemTagsContent(tags=pairs))

        def decide(db: sqlite3.Connection) -> list[Event]:
            missing = f"Could not find evaluation dataset with ID {dataset_id}"
            existing_item(db, _KIND, dataset_id, missing, event)
            return [event] if pairs else []

        self._decide(decide)

    def delete_dataset_tag(self, dataset_id: str, key: str) -> None:
        """Delete a tag, if data set and tag are there."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            there = key in item_tags(db, _KIND, [dataset_id])[dataset_id]
            return [EvaluationDatasetTagDeleted(dataset_id=dataset_id, tag=key)] if there else []

        self._decide(decide)

    def get_dataset_experiment_ids(self, dataset_id: str) -> list[str]:
        """The experiments that a data set is for, in the order in which they were added."""
        item = self._ask(lambda db: item_of(db, _KIND, dataset_id))
        linked = {} if item is None else item.fields["experiments"]
        return sorted(linked, key=lambda experiment_id: (linked[experiment_id], experiment_id))

    def add_dataset_to_experiments(
        self, dataset_id: str, experiment_ids: list[str]
    ) -> EvaluationDataset:
        """Have a data set be for more experiments, which must be there."""
        event = EvaluationDatasetLinked(
            dataset_id=dataset_id, experiment_ids=[str(given) for given in experiment_ids]
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            item = existing_item(db, _KIND, dataset_id, f"Dataset '{dataset_id}' not found", event)
            for experiment_id in event.experiment_ids:
                if not _is_experiment(db, experiment_id):
                    msg = f"No Experiment with id={experiment_id}"
                    raise Refused(Reason.MISSING, msg, event)
            linked = item.fields["experiments"]
            _refuse_repeated([id_ for id_ in event.experiment_ids if id_ not in linked], event)
            return [event]

        return self._relinked(decide, dataset_id)

    def remove_dataset_from_experiments(
        self, dataset_id: str, experiment_ids: list[str]
    ) -> EvaluationDataset:
        """Have a data set no longer be for some experiments; for others it never was."""
        event = EvaluationDatasetUnlinked(
            dataset_id=dataset_id, experiment_ids=[str(given) for given in experiment_ids]
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            item = existing_item(db, _KIND, dataset_id, f"Dataset '{dataset_id}' not found", event)
            return [event] if item.fields["experiments"].keys() & event.experiment_ids else []

        return self._relinked(decide, dataset_id)

    def _relinked(self, decide: Any, dataset_id: str) -> EvaluationDataset:
        dataset: EvaluationDataset = self._decide_and_ask(
            decide, lambda db: _existing_entity(db, dataset_id)
        )
        return dataset


def _existing_entity(db: sqlite3.Connection, dataset_id: str) -> EvaluationDataset:
    missing = f"Evaluation dataset with id '{dataset_id}' not found"
    item = existing_item(db, _KIND, dataset_id, missing)
    return _entity(item, item_tags(db, _KIND, [dataset_id])[dataset_id])


def _entity(item: Item, tags: dict[str, str]) -> EvaluationDataset:
    fields = item.fields
    return EvaluationDataset(
        dataset_id=item.item_id,
        name=fields.get("name", ""),
        digest=fields["digest"],
        created_time=item.created_ms,
        last_update_time=item.updated_ms,
        tags=tags,
        schema=fields.get("dataset_schema"),
        profile=fields.get("profile"),
        created_by=fields.get("created_by"),
        last_updated_by=fields.get("last_updated_by"),
    )


def _pairs(tags: Iterable[tuple[str, Any]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=text(value)) for key, value in tags]


def _refuse_repeated(experiment_ids: list[str], event: Event) -> None:
    if len(set(experiment_ids)) < len(experiment_ids):
        raise Refused(Reason.BAD_REQUEST, "An experiment is given twice", event)


def _is_experiment(db: sqlite3.Connection, experiment_id: str) -> bool:
    """Whether an experiment has just this id: links are compared as texts, so ``07`` is none."""
    if not (experiment_id.isascii() and experiment_id.isdigit()):
        return False
    number = experiment_id if len(experiment_id) <= _MAX_DIGITS else "-1"
    return str(int(number)) == experiment_id and experiment_row(db, int(number)) is not None


def _filters(filter_string: str | None) -> list[Filter]:
    """Parse a filter, with the checks of MLflow's SQL store."""
    if not filter_string:
        return []
    return [
        Filter(
            parsed["type"],
            parsed["key"],
            parsed["comparator"],
            _checked(parsed["type"], parsed["key"], parsed["comparator"], parsed["value"]),
        )
        for parsed in SearchEvaluationDatasetsUtils.parse_search_filter(filter_string)
    ]


def _checked(kind: str, key: str, comparator: str, value: Any) -> Any:
    """The value of a comparison, which must make sense."""
    if kind == "tag":
        known = comparator in ("=", "!=", "LIKE", "ILIKE")
        _check(known, f"Invalid comparator for tag: {comparator}")
        return value
    _check(kind == "attribute", f"Invalid token type: {kind}")
    if SearchEvaluationDatasetsUtils.is_string_attribute(kind, key, comparator):
        known = comparator in ("=", "!=", "LIKE", "ILIKE") or (key == "name" and comparator == "IN")
        _check(known, f"Invalid comparator for string attribute: {comparator}")
    if key not in SearchEvaluationDatasetsUtils.NUMERIC_ATTRIBUTES:
        return value
    known = comparator in SearchEvaluationDatasetsUtils.VALID_NUMERIC_ATTRIBUTE_COMPARATORS
    _check(known, f"Invalid comparator for numeric attribute: {comparator}")
    message = f"Invalid value for numeric attribute '{key}': "
    _check(not isinstance(value, float), f"{message}{str(value)!r}")
    try:
        return whole(int(value))
    except (TypeError, ValueError):
        _check(False, f"{message}{value!r}")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise MlflowException.invalid_parameter_value(message)


def _orders(order_by: list[str] | None) -> list[Order]:
    orders = []
    for clause in order_by or ["created_time DESC"]:
        kind, key, ascending = (
            SearchEvaluationDatasetsUtils.parse_order_by_for_search_evaluation_datasets(clause)
        )
        _check(kind == "attribute", f"Invalid order_by entity: {kind}")
        orders.append(Order(kind, key, ascending))
    return [*orders, Order("attribute", "dataset_id", ascending=False)]
