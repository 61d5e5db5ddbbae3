"""Events about versions of MCP servers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Text
from .items import ItemEvent, ItemTagsContent

__all__ = [
    "MCPServerVersionContent",
    "MCPServerVersionCreated",
    "MCPServerVersionDeleted",
    "MCPServerVersionEvent",
    "MCPServerVersionTagDeleted",
    "MCPServerVersionTagSet",
    "MCPServerVersionUpdated",
]


class MCPServerVersionEvent(ItemEvent):
    """Anything that happens to one version; ``version_id`` is its writer's, ``name`` its server's.

    ``version`` is a semantic version, which its server has only once.
    """

    kind: ClassVar[str] = "mcp_server_versions"
    id_field: ClassVar[str] = "version_id"
    version_id: str
    name: str
    version: str


class MCPServerVersionContent(Content):
    """What a version is, as MLflow writes it in JSON."""

    server_json: Text = None
    tools: Text = None
    connect_options: Text = None
    source: str | None = None
    created_by: str | None = None
    last_updated_by: str | None = None


class MCPServerVersionCreated(MCPServerVersionEvent):
    """A version was registered; the four fields after ``status`` are what it is ordered by."""

    topic_name: ClassVar[str] = "catalog"
    server_id: str
    status: str
    major: int
    minor: int
    patch: int
    prerelease_key: str
    content: MCPServerVersionContent | None = None


class MCPServerVersionUpdated(MCPServerVersionEvent):
    """A version changed; what is absent stays as it was, unless it is ``cleared``."""

    topic_name: ClassVar[str] = "catalog"
    status: str | None = None
    cleared: list[str] = Field(default_factory=list)
    content: MCPServerVersionContent | None = None


class MCPServerVersionDeleted(MCPServerVersionEvent):
    """A version was deleted, with aliases and endpoints that name it; its number stays taken."""

    topic_name: ClassVar[str] = "catalog"


class MCPServerVersionTagSet(MCPServerVersionEvent):
    """A tag of a version was set."""

    topic_name: ClassVar[str] = "catalog"
    content: ItemTagsContent | None = None


class MCPServerVersionTagDeleted(MCPServerVersionEvent):
    """A tag of a version was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str
