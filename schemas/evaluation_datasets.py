"""Events about evaluation data sets: their records, and the experiments they are for."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, KeyValue, Part, Text
from .items import ItemEvent, ItemTagsContent

__all__ = [
    "EvaluationDatasetContent",
    "EvaluationDatasetCreated",
    "EvaluationDatasetDeleted",
    "EvaluationDatasetEvent",
    "EvaluationDatasetLinked",
    "EvaluationDatasetTagDeleted",
    "EvaluationDatasetTagsSet",
    "EvaluationDatasetUnlinked",
    "EvaluationRecord",
    "EvaluationRecordsContent",
    "EvaluationRecordsDeleted",
    "EvaluationRecordsUpserted",
]


class EvaluationDatasetEvent(ItemEvent):
    """Anything that happens to one evaluation data set."""

    kind: ClassVar[str] = "evaluation_datasets"
    id_field: ClassVar[str] = "dataset_id"
    dataset_id: str


class EvaluationDatasetContent(Content):
    """Name, who made it, tags."""

    name: str | None = None
    created_by: str | None = None
    tags: list[KeyValue] = Field(default_factory=list)


class EvaluationDatasetCreated(EvaluationDatasetEvent):
    """An evaluation data set was created, for some experiments, which need not exist."""

    topic_name: ClassVar[str] = "catalog"
    experiment_ids: list[str] = Field(default_factory=list)
    content: EvaluationDatasetContent | None = None


class EvaluationDatasetDeleted(EvaluationDatasetEvent):
    """An evaluation data set was deleted, with its records."""

    topic_name: ClassVar[str] = "catalog"


class EvaluationDatasetTagsSet(EvaluationDatasetEvent):
    """Tags of an evaluation data set were set."""

    topic_name: ClassVar[str] = "catalog"
    content: ItemTagsContent | None = None


class EvaluationDatasetTagDeleted(EvaluationDatasetEvent):
    """A tag of an evaluation data set was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str


class EvaluationDatasetLinked(EvaluationDatasetEvent):
    """An evaluation data set is for more experiments; refused where one is not there."""

    topic_name: ClassVar[str] = "catalog"
    experiment_ids: list[str]


class EvaluationDatasetUnlinked(EvaluationDatasetEvent):
    """An evaluation data set is no longer for some experiments."""

    topic_name: ClassVar[str] = "catalog"
    experiment_ids: list[str]


class EvaluationRecord(Part):
    """A record as JSON; of one that is there, what is absent stays, the rest is merged into it.

    ``input_hash`` is the SHA-256 of its inputs with their keys in order.
    """

    input_hash: str
    inputs: Text = None
    outputs: Text = None
    expectations: str | None = None
    tags: str | None = None
    source: str | None = None
    source_id: str | None = None


class EvaluationRecordsContent(Content):
    """The records, the schema of all records as JSON, and who changed the data set, if anyone."""

    records: list[EvaluationRecord] = Field(default_factory=list)
    dataset_schema: str | None = None
    last_updated_by: str | None = None


class EvaluationRecordsUpserted(EvaluationDatasetEvent):
    """Records were added, or merged into those of equal inputs, whose ids then hold."""

    topic_name: ClassVar[str] = "catalog"
    record_ids: list[str]
    content: EvaluationRecordsContent | None = None


class EvaluationRecordsDeleted(EvaluationDatasetEvent):
    """Records of an evaluation data set were deleted; those that are not there are passed over."""

    topic_name: ClassVar[str] = "catalog"
    record_ids: list[str]
