"""Label schemas as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList

from mlflow_ledger.query import Item, item_named, item_of, items_of
from mlflow_ledger.schemas import (
    Event,
    LabelSchemaContent,
    LabelSchemaCreated,
    LabelSchemaDeleted,
    LabelSchemaUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore
from .experiments import check_max_results, seen_experiment
from .items import existing_item, of_experiment, page_of

if TYPE_CHECKING:
    from mlflow.genai.label_schemas.label_schemas import LabelSchema

__all__ = ["LabelSchemas"]

_KIND = LabelSchemaCreated.kind


class LabelSchemas(LedgerStore):
    """Create, get, list, change and delete the questions that reviewers are asked."""

    def create_label_schema(
        self,
        experiment_id: str,
        *,
        name: str,
        type: str,  # noqa: A002 - MLflow's name
        input: Any,  # noqa: A002 - MLflow's name
        instruction: str | None = None,
        enable_comment: bool = False,
    ) -> LabelSchema:
        """Create a label schema; its name is unique in its experiment."""
        from mlflow.genai.label_schemas.label_schemas import LabelSchemaType
        from mlflow.genai.label_schemas.validation import validate_schema_for_create

        validate_schema_for_create(
            name=name,
            type=type,
            input=input,
            instruction=instruction,
            enable_comment=enable_comment,
        )
        event = _created(
            experiment_id,
            name=name,
            label_type=str(LabelSchemaType(str(type))),
            enable_comment=enable_comment,
            content=_content(instruction, input),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            seen_experiment(db, experiment_id)
            _refuse_taken(db, experiment_id, name, event)
            return [event]

        self._decide(decide)
        return self.get_label_schema(event.schema_id)

    def get_label_schema(self, schema_id: str) -> LabelSchema:
        """A label schema by its id."""
        found: LabelSchema = self._ask(lambda db: _entity(_existing(db, schema_id)))
        return found

    def get_label_schema_by_name(self, experiment_id: str, name: str) -> LabelSchema:
        """A label schema by its name."""

        def ask(db: sqlite3.Connection) -> Item:
            seen_experiment(db, experiment_id)
            item = item_named(db, _KIND, name, of_experiment(experiment_id))
            if item is None:
                msg = f"Label schema with name '{name}' not found for experiment '{experiment_id}'."
                raise Refused(Reason.MISSING, msg)
            return item

        return _entity(self._ask(ask))

    def list_label_schemas(
        self, experiment_id: str, max_results: int = 100, page_token: str | None = None
    ) -> PagedList[LabelSchema]:
        """A page of them, newest first. The first look makes MLflow's default question."""
        check_max_results(max_results)

        def ask(db: sqlite3.Connection) -> list[Item]:
            seen_experiment(db, experiment_id)
            return items_of(db, _KIND, of_experiment(experiment_id))

        items = self._ask(ask)
        if not any(item.fields.get("is_default") for item in items):
            self._make_default(experiment_id)
            items = self._ask(ask)
        return page_of(items, max_results, page_token, _entity)

    def update_label_schema(
        self,
        schema_id: str,
        *,
        name: str | None = None,
        instruction: str | None = None,
        enable_comment: bool | None = None,
        input: Any = None,  # noqa: A002 - MLflow's name
    ) -> LabelSchema:
        """Change what is given; the type stays."""
        from mlflow.genai.label_schemas.validation import validate_schema_for_update

        attempt = LabelSchemaUpdated(schema_id=schema_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            item = _existing(db, schema_id, attempt)
            validate_schema_for_update(
                existing=_entity(item),
                name=name,
                instruction=instruction,
                enable_comment=enable_comment,
                input=input,
            )
            if name is not None and name != item.name:
                _refuse_taken(db, item.parent_id, name, attempt)
            update = {
                "name": name,
                "enable_comment": enable_comment,
                "content": _content(instruction, input),
            }
            return [attempt.model_copy(update=update)]

        self._decide(decide)
        return self.get_label_schema(schema_id)

    def delete_label_schema(self, schema_id: str) -> None:
        """Delete a label schema; one that is not there is no error, as in MLflow."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            item = item_of(db, _KIND, schema_id)
            if item is None:
                return []
            if item.fields.get("is_default"):
                raise MlflowException(
                    "The experiment's default question cannot be deleted.", INVALID_PARAMETER_VALUE
                )
            return [LabelSchemaDeleted(schema_id=schema_id)]

        self._decide(decide)

    def _make_default(self, experiment_id: str) -> None:
        """Ask MLflow's default question in an experiment that has none yet."""
        from mlflow.genai.label_schemas.label_schemas import InputText, LabelSchemaType
        from mlflow.genai.label_schemas.validation import (
            DEFAULT_LABEL_SCHEMA_INSTRUCTION,
            DEFAULT_LABEL_SCHEMA_NAME,
        )

        event = _created(
            experiment_id,
            name=DEFAULT_LABEL_SCHEMA_NAME,
            label_type=str(LabelSchemaType.FEEDBACK),
            is_default=True,
            content=_content(DEFAULT_LABEL_SCHEMA_INSTRUCTION, InputText()),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            taken = item_named(db, _KIND, DEFAULT_LABEL_SCHEMA_NAME, of_experiment(experiment_id))
            return [] if taken else [event]

        self._decide(decide)  # who loses a race decides again, and finds it asked


def _created(experiment_id: str, **said: Any) -> LabelSchemaCreated:
    schema_id = f"ls-{uuid.uuid4().hex}"
    return LabelSchemaCreated(schema_id=schema_id, experiment_id=str(experiment_id), **said)


def _content(instruction: str | None, given: Any) -> LabelSchemaContent:
    # It brings SQLAlchemy along, which no other part of this store needs.
    from mlflow.store.tracking.dbmodels.models import _input_to_dict

    kind, config = (None, None) if given is None else _input_to_dict(given)
    return LabelSchemaContent(instruction=instruction, input_type=kind, input_config=config)


def _existing(db: sqlite3.Connection, schema_id: str, event: Event | None = None) -> Item:
    return existing_item(
        db, _KIND, schema_id, f"Label schema with id '{schema_id}' not found.", event
    )


def _refuse_taken(db: sqlite3.Connection, experiment_id: str, name: str, event: Event) -> None:
    if item_named(db, _KIND, name, of_experiment(experiment_id)):
        msg = f"Label schema with name '{name}' already exists for experiment '{experiment_id}'."
        raise Refused(Reason.EXISTS, msg, event)


def _entity(item: Item) -> LabelSchema:
    from mlflow.genai.label_schemas.label_schemas import LabelSchema, LabelSchemaType
    from mlflow.store.tracking.dbmodels.models import _input_from_dict

    fields = item.fields
    return LabelSchema(
        name=item.name or "",
        type=LabelSchemaType(fields["label_type"]),
        input=_input_from_dict(
            fields.get("input_type", "text"), json.loads(fields.get("input_config", "{}"))
        ),
        instruction=fields.get("instruction"),
        enable_comment=fields.get("enable_comment", False),
        schema_id=item.item_id,
        experiment_id=item.parent_id,
        created_by=None,
        created_at=item.created_ms,
        updated_at=item.updated_ms,
        is_default=fields.get("is_default", False),
    )
