"""The event that says that contents were erased."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Event

__all__ = ["ContentRedacted", "ContentRedactedContent"]


class ContentRedactedContent(Content):
    """Why."""

    reason: str


class ContentRedacted(Event):
    """The contents of all earlier events about an entity were erased.

    These are the events whose subject is one of ``subjects`` or stands below one; where there are
    ``model_uids`` or ``version_uids``, of those only the ones about such a model or version.
    ``redaction_id`` is given by the writer. In Kafka ``key_ids`` are the keys that are lost for
    ever by it; one redaction may be said in several such events.
    """

    topic_name: ClassVar[str] = "catalog"
    redaction_id: str
    entity: str
    subjects: list[str]
    model_uids: list[str] = Field(default_factory=list)
    version_uids: list[str] = Field(default_factory=list)
    key_ids: list[str] = Field(default_factory=list)
    content: ContentRedactedContent | None = None

    @property
    def key(self) -> str:
        """The entity."""
        return self.entity

    @property
    def subject(self) -> str:
        """The entity."""
        return self.entity

    @property
    def sealed_as(self) -> None:
        """Nobody: why something was erased stays."""
        return
