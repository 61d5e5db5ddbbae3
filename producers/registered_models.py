"""Registered models, as MLflow's registry store has them."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any

from mlflow.entities.model_registry import RegisteredModel, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.prompt.registry_utils import handle_resource_already_exist_error, has_prompt_tag
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT,
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD,
)
from mlflow.utils.search_utils import SearchModelUtils, SearchUtils
from mlflow.utils.validation import (
    _validate_model_alias_name,
    _validate_model_name,
    _validate_model_renaming,
    _validate_registered_model_tag,
    _validate_tag_name,
)

from mlflow_ledger.query import (
    Filter,
    ModelRow,
    Order,
    find_models,
    latest_versions,
    model_row,
    model_uid,
)
from mlflow_ledger.schemas import (
    DescriptionContent,
    Event,
    KeyValue,
    Reason,
    Refused,
    RegisteredModelAliasDeleted,
    RegisteredModelCreated,
    RegisteredModelCreatedContent,
    RegisteredModelDeleted,
    RegisteredModelEvent,
    RegisteredModelRenamed,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
    RegisteredModelUpdated,
    TagContent,
)

from .edge import LedgerStore, start_offset, text
from .registry_entities import model_entity

__all__ = ["RegisteredModels", "asks_for_prompts", "existing_model", "is_prompt_filter"]


class RegisteredModels(LedgerStore):
    """Create, get, search, tag, rename, delete registered models."""

    def create_registered_model(
        self,
        name: str,
        tags: list[RegisteredModelTag] | None = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> RegisteredModel:
        """Create a registered model of a name that is free."""
        _validate_model_name(name)
        for tag in tags or ():
            _validate_registered_model_tag(tag.key, tag.value)
        unique = {tag.key: tag.value for tag in tags or ()}
        event = RegisteredModelCreated(
            model_uid=str(uuid.uuid4()),
            name=name,
            content=RegisteredModelCreatedContent(
                description=self._travelling(description),
                tags=[KeyValue(key=key, value=text(value)) for key, value in unique.items()],
            ),
        )
        try:
            self._write(event)
        except Refused as refused:
            existing = self._ask(lambda db: model_row(db, name))
            if refused.reason is Reason.EXISTS and existing is not None:
                tagged = [RegisteredModelTag(key, value) for key, value in existing.tags]
                handle_resource_already_exist_error(
                    name, has_prompt_tag(tagged), has_prompt_tag(tags)
                )
            raise
        return self.get_registered_model(name)

    def get_registered_model(self, name: str) -> RegisteredModel:
        """A registered model with its latest versions."""

        def question(db: sqlite3.Connection) -> RegisteredModel:
            row = existing_model(db, name)
            return model_entity(row, latest_versions(db, row.model_no), self._arrived)

        model: RegisteredModel = self._ask(question)
        return model

    def update_registered_model(
        self, name: str, description: str | None, deployment_job_id: str | None = None
    ) -> RegisteredModel:
        """Give a registered model another description, or none."""
        content = DescriptionContent(description=self._travelling(description))
        self._about(
            name, lambda uid: RegisteredModelUpdated(model_uid=uid, name=name, content=content)
        )
        return self.get_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        """Give a registered model a name that is free."""
        _validate_model_renaming(new_name)
        self._about(
            name, lambda uid: RegisteredModelRenamed(model_uid=uid, name=name, new_name=new_name)
        )
        return self.get_registered_model(new_name)

    def delete_registered_model(self, name: str) -> None:
        """Delete a registered model with its versions."""
        self._about(name, lambda uid: RegisteredModelDeleted(model_uid=uid, name=name))

    def set_registered_model_tag(self, name: str, tag: RegisteredModelTag) -> None:
        """Set a tag."""
        _validate_model_name(name)
        _validate_registered_model_tag(tag.key, tag.value)
        self._about(
            name,
            lambda uid: RegisteredModelTagSet(
                model_uid=uid, name=name, tag=tag.key, content=TagContent(value=text(tag.value))
            ),
        )

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a tag, if it is there."""
        _validate_model_name(name)
        _validate_tag_name(key)
        self._about(name, lambda uid: RegisteredModelTagDeleted(model_uid=uid, name=name, tag=key))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Delete an alias, if it is there."""
        _validate_model_name(name)
        _validate_model_alias_name(alias)
        self._about(
            name, lambda uid: RegisteredModelAliasDeleted(model_uid=uid, name=name, alias=alias)
        )

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int = SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[RegisteredModel]:
        """A page of the registered models that match, with the token of the next page."""
        if max_results > SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD:
            raise MlflowException(
                "Invalid value for request parameter max_results. It must be at most "
                f"{SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD}, but got value {max_results}",
                INVALID_PARAMETER_VALUE,
            )
        parsed = SearchModelUtils.parse_search_filter(filter_string)
        orders = _orders(order_by)
        offset = start_offset(page_token)
        filters = [_filter(comparison) for comparison in parsed]

        def question(db: sqlite3.Connection) -> PagedList[RegisteredModel]:
            rows = find_models(
                db, filters, orders, max_results + 1, offset,
                prompts=asks_for_prompts(filters),
            )  # fmt: skip
            token = None
            if len(rows) == max_results + 1:
                token = SearchUtils.create_page_token(offset + max_results)
            return PagedList(
                [
                    model_entity(
                        row, latest_versions(db, row.model_no), self._arrived, aliases=False
                    )
                    for row in rows[:max_results]
                ],
                token,
            )

        page: PagedList[RegisteredModel] = self._ask(question)
        return page

    def _about(self, name: str, say: Any, question: Any = lambda _: None, *foreseen: Any) -> Any:
        """Say something about the model of a name, by its uid; the answer to a question then."""
        _validate_model_name(name)

        def decide(db: sqlite3.Connection) -> list[Event]:
            uid = model_uid(db, name)
            if uid is None:
                unknown: RegisteredModelEvent = say("")
                raise Refused(
                    Reason.MISSING, f"Registered Model with name={name} not found", unknown
                )
            return [say(uid)]

        return self._decide_and_ask(decide, question, *foreseen)


def existing_model(db: sqlite3.Connection, name: str) -> ModelRow:
    """The registered model of a name.

    Raises:
        Refused: there is none.
    """
    _validate_model_name(name)
    row = model_row(db, name)
    if row is None:
        raise Refused(Reason.MISSING, f"Registered Model with name={name} not found")
    return row


def asks_for_prompts(filters: list[Filter]) -> bool:
    """Whether a filter asks for prompts; searches leave them out otherwise."""
    asked = next((f for f in filters if is_prompt_filter(f)), None)
    if asked is None:
        return False
    return (asked.comparator, str(asked.value).lower()) in {("=", "true"), ("!=", "false")}


def is_prompt_filter(condition: Filter) -> bool:
    """Whether a comparison is about the tag that marks prompts."""
    return condition.kind == "tag" and condition.key == IS_PROMPT_TAG_KEY


def _filter(parsed: dict[str, Any]) -> Filter:
    kind, key = parsed["type"], parsed["key"]
    comparator, value = parsed["comparator"], parsed["value"]
    if kind == "attribute":
        if key != "name":
            raise MlflowException(f"Invalid attribute name: {key}", INVALID_PARAMETER_VALUE)
        if comparator not in ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"):
            raise MlflowException(
                f"Invalid comparator for attribute: {comparator}", INVALID_PARAMETER_VALUE
            )
    elif kind == "tag":
        if comparator not in ("=", "!=", "LIKE", "ILIKE"):
            raise MlflowException.invalid_parameter_value(
                f"Invalid comparator for tag: {comparator}"
            )
    else:
        raise MlflowException(f"Invalid token type: {kind}", INVALID_PARAMETER_VALUE)
    return Filter(kind, key, comparator, value)


def _orders(order_by: list[str] | None) -> list[Order]:
    orders: list[Order] = []
    for clause in order_by or ():
        key, ascending = SearchUtils.parse_order_by_for_search_registered_models(clause)
        if key in SearchUtils.VALID_TIMESTAMP_ORDER_BY_KEYS:
            key = "last_updated_time"
        elif key != "name":
            raise MlflowException(
                f"Invalid order by key '{key}' specified."
                f"Valid keys are '{SearchUtils.RECOMMENDED_ORDER_BY_KEYS_REGISTERED_MODELS}'",
                INVALID_PARAMETER_VALUE,
            )
        if any(order.key == key for order in orders):
            raise MlflowException(f"`order_by` contains duplicate fields: {order_by}")
        orders.append(Order("attribute", key, ascending))
    if not any(order.key == "name" for order in orders):
        orders.append(Order("attribute", "name", ascending=True))
    return orders
