"""MCP servers, their versions and access endpoints."""

from __future__ import annotations

from typing import Any

from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    ItemTagsContent,
    KeyValue,
    MCPAccessEndpointContent,
    MCPAccessEndpointCreated,
    MCPAccessEndpointDeleted,
    MCPAccessEndpointUpdated,
    MCPServerAliasDeleted,
    MCPServerAliasSet,
    MCPServerContent,
    MCPServerCreated,
    MCPServerDeleted,
    MCPServerTagDeleted,
    MCPServerTagSet,
    MCPServerUpdated,
    MCPServerVersionContent,
    MCPServerVersionCreated,
    MCPServerVersionDeleted,
    MCPServerVersionTagDeleted,
    MCPServerVersionTagSet,
    MCPServerVersionUpdated,
)

_LARGE = ClaimCheck(digest="sha256:" + "3" * 64, size_bytes=2**20)
_TAGS = ItemTagsContent(tags=[KeyValue(key="team", value="käse")])
_SERVER: dict[str, Any] = {"server_id": "ms1", "name": "org.example/weather"}
_VERSION: dict[str, Any] = {"version_id": "mv1", "name": "org.example/weather", "version": "name1"}
_ABOUT = MCPServerContent(
    display_name="Weather",
    description=_LARGE,
    icons='[{"src": "https://example.org/i.png"}]',
    created_by="zoë",
    last_updated_by="bob",
)
_WHAT = MCPServerVersionContent(
    server_json=_LARGE,
    tools="[]",
    connect_options="{}",
    source="https://example.org",
    created_by="zoë",
    last_updated_by="bob",
)
_WHERE = MCPAccessEndpointContent(
    url="https://example.org/mcp", created_by="zoë", last_updated_by="bob"
)

FULL: tuple[Event, ...] = (
    MCPServerCreated(**_SERVER, content=_ABOUT),
    MCPServerVersionCreated(
        **_VERSION,
        server_id="ms1",
        status="draft",
        major=1,
        minor=2,
        patch=3,
        prerelease_key="2",
        content=_WHAT,
    ),
    MCPAccessEndpointCreated(
        endpoint_id="ae1",
        server_name="org.example/weather",
        server_id="ms1",
        transport_type="sse",
        server_version="name1",
        server_alias="latest",
        content=_WHERE,
    ),
    MCPServerUpdated(**_SERVER, cleared=["icons"], content=_ABOUT),
    MCPServerTagSet(**_SERVER, content=_TAGS),
    MCPServerTagDeleted(**_SERVER, tag="team"),
    MCPServerAliasSet(**_SERVER, alias="champion", version="name1"),
    MCPServerAliasDeleted(**_SERVER, alias="champion"),
    MCPServerVersionUpdated(**_VERSION, status="active", cleared=["tools"], content=_WHAT),
    MCPServerVersionTagSet(**_VERSION, content=_TAGS),
    MCPServerVersionTagDeleted(**_VERSION, tag="team"),
    MCPAccessEndpointUpdated(
        endpoint_id="ae1",
        server_name="org.example/weather",
        transport_type="streamable-http",
        server_version="name1",
        server_alias="latest",
        cleared=["last_updated_by"],
        content=_WHERE,
    ),
    MCPAccessEndpointDeleted(endpoint_id="ae1", server_name="org.example/weather"),
    MCPServerVersionDeleted(**_VERSION),
    MCPServerDeleted(**_SERVER),
)
