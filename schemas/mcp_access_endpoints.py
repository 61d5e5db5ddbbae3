"""Events about access endpoints: the places where MCP servers are reached."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content
from .items import ItemEvent

__all__ = [
    "MCPAccessEndpointContent",
    "MCPAccessEndpointCreated",
    "MCPAccessEndpointDeleted",
    "MCPAccessEndpointEvent",
    "MCPAccessEndpointUpdated",
]


class MCPAccessEndpointEvent(ItemEvent):
    """Anything that happens to one endpoint; it names a version of its server, or an alias."""

    kind: ClassVar[str] = "mcp_access_endpoints"
    id_field: ClassVar[str] = "endpoint_id"
    endpoint_id: str
    server_name: str


class MCPAccessEndpointContent(Content):
    """Where it is, and who said so."""

    url: str | None = None
    created_by: str | None = None
    last_updated_by: str | None = None


class MCPAccessEndpointCreated(MCPAccessEndpointEvent):
    """An endpoint was registered."""

    topic_name: ClassVar[str] = "catalog"
    server_id: str
    transport_type: str
    server_version: str | None = None
    server_alias: str | None = None
    content: MCPAccessEndpointContent | None = None


class MCPAccessEndpointUpdated(MCPAccessEndpointEvent):
    """An endpoint changed; what is absent stays as it was, unless it is ``cleared``."""

    topic_name: ClassVar[str] = "catalog"
    transport_type: str | None = None
    server_version: str | None = None
    server_alias: str | None = None
    cleared: list[str] = Field(default_factory=list)
    content: MCPAccessEndpointContent | None = None


class MCPAccessEndpointDeleted(MCPAccessEndpointEvent):
    """An endpoint was deleted."""

    topic_name: ClassVar[str] = "catalog"
