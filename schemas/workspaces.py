"""Events about workspaces: names under which experiments, models and all else live apart."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Text
from .items import ItemEvent

__all__ = [
    "DEFAULT_WORKSPACE",
    "WorkspaceContent",
    "WorkspaceCreated",
    "WorkspaceDeleted",
    "WorkspaceEvent",
    "WorkspaceUpdated",
]

DEFAULT_WORKSPACE = "default"
"""The workspace that is always there, and the only one where nobody asks for others."""


class WorkspaceEvent(ItemEvent):
    """Anything that happens to one workspace; its name is its id."""

    kind: ClassVar[str] = "workspaces"
    id_field: ClassVar[str] = "name"
    name: str


class WorkspaceContent(Content):
    """What people read of a workspace."""

    description: Text = None


class WorkspaceCreated(WorkspaceEvent):
    """A workspace was created."""

    topic_name: ClassVar[str] = "catalog"
    default_artifact_root: str | None = None
    trace_archival_location: str | None = None
    trace_archival_retention: str | None = None
    content: WorkspaceContent | None = None


class WorkspaceUpdated(WorkspaceEvent):
    """A workspace changed; what is absent stays as it was, unless it is ``cleared``."""

    topic_name: ClassVar[str] = "catalog"
    default_artifact_root: str | None = None
    trace_archival_location: str | None = None
    trace_archival_retention: str | None = None
    cleared: list[str] = Field(default_factory=list)
    content: WorkspaceContent | None = None


class WorkspaceDeleted(WorkspaceEvent):
    """A workspace was deleted; ``mode`` is MLflow's word for what becomes of what is in it."""

    topic_name: ClassVar[str] = "catalog"
    mode: str
