"""Events about experiments, on the catalog because experiment names are unique."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Event, KeyValue

__all__ = [
    "ExperimentCreated",
    "ExperimentCreatedContent",
    "ExperimentDeleted",
    "ExperimentEvent",
    "ExperimentPurged",
    "ExperimentRenamed",
    "ExperimentRestored",
    "ExperimentTagDeleted",
    "ExperimentTagSet",
    "ExperimentTagSetContent",
]


class ExperimentEvent(Event):
    """Anything that happens to one experiment."""

    experiment_id: str

    @property
    def key(self) -> str:
        """The experiment's id."""
        return self.experiment_id

    @property
    def subject(self) -> str:
        """``experiments:/<id>``."""
        return f"experiments:/{self.experiment_id}"


class ExperimentCreatedContent(Content):
    """The tags given at creation."""

    tags: list[KeyValue] = Field(default_factory=list)


class ExperimentCreated(ExperimentEvent):
    """An experiment was created; refused where its name or id is taken."""

    topic_name: ClassVar[str] = "catalog"
    name: str
    artifact_location: str
    content: ExperimentCreatedContent | None = None


class ExperimentRenamed(ExperimentEvent):
    """An experiment got another name."""

    topic_name: ClassVar[str] = "catalog"
    name: str


class ExperimentDeleted(ExperimentEvent):
    """An experiment and all its runs were soft-deleted; raises the experiment's epoch."""

    topic_name: ClassVar[str] = "catalog"


class ExperimentRestored(ExperimentEvent):
    """An experiment and all its runs were restored; raises the experiment's epoch."""

    topic_name: ClassVar[str] = "catalog"


class ExperimentPurged(ExperimentEvent):
    """An experiment was deleted for good (``mlflow gc``); its name is free again."""

    topic_name: ClassVar[str] = "catalog"


class ExperimentTagSetContent(Content):
    """The tag's value."""

    value: str | None = None


class ExperimentTagSet(ExperimentEvent):
    """A tag of an experiment was set."""

    topic_name: ClassVar[str] = "catalog"
    tag: str
    content: ExperimentTagSetContent | None = None


class ExperimentTagDeleted(ExperimentEvent):
    """A tag of an experiment was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str
