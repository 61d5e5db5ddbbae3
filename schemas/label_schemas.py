"""Events about label schemas: the questions that reviewers of traces are asked."""

from __future__ import annotations

from typing import ClassVar

from .event import Content
from .items import ItemEvent

__all__ = [
    "LabelSchemaContent",
    "LabelSchemaCreated",
    "LabelSchemaDeleted",
    "LabelSchemaEvent",
    "LabelSchemaUpdated",
]


class LabelSchemaEvent(ItemEvent):
    """Anything that happens to one label schema."""

    kind: ClassVar[str] = "label_schemas"
    id_field: ClassVar[str] = "schema_id"
    schema_id: str


class LabelSchemaContent(Content):
    """The question, and what may be answered, as MLflow names and writes it in JSON."""

    instruction: str | None = None
    input_type: str | None = None
    input_config: str | None = None


class LabelSchemaCreated(LabelSchemaEvent):
    """A label schema was created; its name is unique in its experiment."""

    topic_name: ClassVar[str] = "catalog"
    experiment_id: str
    name: str
    label_type: str
    enable_comment: bool = False
    is_default: bool = False
    content: LabelSchemaContent | None = None


class LabelSchemaUpdated(LabelSchemaEvent):
    """A label schema changed; what is absent stays as it was."""

    topic_name: ClassVar[str] = "catalog"
    name: str | None = None
    enable_comment: bool | None = None
    content: LabelSchemaContent | None = None


class LabelSchemaDeleted(LabelSchemaEvent):
    """A label schema was deleted."""

    topic_name: ClassVar[str] = "catalog"
