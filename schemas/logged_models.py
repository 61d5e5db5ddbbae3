"""Events about logged models (MLflow 3's models of an experiment)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Event, KeyValue

__all__ = [
    "LoggedModelCreated",
    "LoggedModelCreatedContent",
    "LoggedModelDeleted",
    "LoggedModelEvent",
    "LoggedModelFinalized",
    "LoggedModelParamsLogged",
    "LoggedModelParamsLoggedContent",
    "LoggedModelPurged",
    "LoggedModelTagDeleted",
    "LoggedModelTagsSet",
    "LoggedModelTagsSetContent",
]


class LoggedModelEvent(Event):
    """Anything that happens to one logged model."""

    model_id: str

    @property
    def key(self) -> str:
        """The logged model's id."""
        return self.model_id

    @property
    def subject(self) -> str:
        """``logged_models:/<id>``."""
        return f"logged_models:/{self.model_id}"


class LoggedModelCreatedContent(Content):
    """Name, type, tags and params given at creation."""

    name: str
    model_type: str | None = None
    tags: list[KeyValue] = Field(default_factory=list)
    params: list[KeyValue] = Field(default_factory=list)


class LoggedModelCreated(LoggedModelEvent):
    """A logged model was created, pending until it is finalized."""

    topic_name: ClassVar[str] = "runs"
    experiment_id: str
    source_run_id: str | None = None
    artifact_location: str
    content: LoggedModelCreatedContent | None = None


class LoggedModelFinalized(LoggedModelEvent):
    """A logged model became ready or failed; ``status`` is MLflow's name of it."""

    topic_name: ClassVar[str] = "runs"
    status: str


class LoggedModelTagsSetContent(Content):
    """The tags."""

    tags: list[KeyValue] = Field(default_factory=list)


class LoggedModelTagsSet(LoggedModelEvent):
    """Tags of a logged model were set."""

    topic_name: ClassVar[str] = "runs"
    content: LoggedModelTagsSetContent | None = None


class LoggedModelTagDeleted(LoggedModelEvent):
    """A tag of a logged model was deleted."""

    topic_name: ClassVar[str] = "runs"
    tag: str


class LoggedModelParamsLoggedContent(Content):
    """The params."""

    params: list[KeyValue] = Field(default_factory=list)


class LoggedModelParamsLogged(LoggedModelEvent):
    """Params were added to a logged model."""

    topic_name: ClassVar[str] = "runs"
    content: LoggedModelParamsLoggedContent | None = None


class LoggedModelDeleted(LoggedModelEvent):
    """A logged model was soft-deleted."""

    topic_name: ClassVar[str] = "runs"


class LoggedModelPurged(LoggedModelEvent):
    """A logged model was deleted for good (``mlflow gc``)."""

    topic_name: ClassVar[str] = "runs"
