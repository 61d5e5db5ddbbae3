"""Events about MCP servers, as a registry knows them, and the aliases of their versions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Text
from .items import ItemEvent, ItemTagsContent

__all__ = [
    "MCPServerAliasDeleted",
    "MCPServerAliasSet",
    "MCPServerContent",
    "MCPServerCreated",
    "MCPServerDeleted",
    "MCPServerEvent",
    "MCPServerTagDeleted",
    "MCPServerTagSet",
    "MCPServerUpdated",
]


class MCPServerEvent(ItemEvent):
    """Anything that happens to one MCP server; ``server_id`` is its writer's."""

    kind: ClassVar[str] = "mcp_servers"
    id_field: ClassVar[str] = "server_id"
    server_id: str
    name: str


class MCPServerContent(Content):
    """What people read of a server; ``icons`` as MLflow writes them in JSON."""

    display_name: str | None = None
    description: Text = None
    icons: Text = None
    created_by: str | None = None
    last_updated_by: str | None = None


class MCPServerCreated(MCPServerEvent):
    """An MCP server was registered; its name is unique and stays."""

    topic_name: ClassVar[str] = "catalog"
    content: MCPServerContent | None = None


class MCPServerUpdated(MCPServerEvent):
    """An MCP server changed; what is absent stays as it was, unless it is ``cleared``."""

    topic_name: ClassVar[str] = "catalog"
    cleared: list[str] = Field(default_factory=list)
    content: MCPServerContent | None = None


class MCPServerDeleted(MCPServerEvent):
    """An MCP server was deleted with all that belongs to it; none of its versions was active."""

    topic_name: ClassVar[str] = "catalog"


class MCPServerTagSet(MCPServerEvent):
    """A tag of an MCP server was set."""

    topic_name: ClassVar[str] = "catalog"
    content: ItemTagsContent | None = None


class MCPServerTagDeleted(MCPServerEvent):
    """A tag of an MCP server was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str


class MCPServerAliasSet(MCPServerEvent):
    """An alias of an MCP server names a version, and no other from now on."""

    topic_name: ClassVar[str] = "catalog"
    alias: str
    version: str


class MCPServerAliasDeleted(MCPServerEvent):
    """An alias of an MCP server was deleted, and with it the endpoints that name it."""

    topic_name: ClassVar[str] = "catalog"
    alias: str
