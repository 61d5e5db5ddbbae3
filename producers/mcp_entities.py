"""MCP servers, versions and access endpoints as MLflow's entities."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities.mcp_access_endpoint import MCPAccessEndpoint
from mlflow.entities.mcp_server import MCPRemoteTransportType, MCPServer, MCPStatus, MCPTool
from mlflow.entities.mcp_server_version import ConnectOptionSettings, MCPServerVersion

from mlflow_ledger.query import Item, McpServer

__all__ = ["Arrived", "endpoint_entity", "server_entity", "version_entity"]

Arrived = Callable[[str | bytes | Mapping[str, Any] | None], str | None]
"""Redeems a claim check."""


def server_entity(server: McpServer, arrived: Arrived) -> MCPServer:
    """A server with the endpoints that lead to a version; what it lacks, its latest one says."""
    # It brings SQLAlchemy along, which no other part of this store needs.
    from mlflow.store.tracking.dbmodels.models import _resolve_mcp_server_icons

    fields, latest = server.item.fields, server.latest()
    described = {} if latest is None else _json(latest, "server_json", arrived, {})
    description = arrived(fields.get("description"))
    return MCPServer(
        name=server.item.name or "",
        display_name=fields.get("display_name"),
        description=described.get("description") if description is None else description,
        icons=_resolve_mcp_server_icons(
            _json(server.item, "icons", arrived), described.get("icons")
        ),
        workspace=server.item.workspace,
        status=None if latest is None else MCPStatus(latest.fields["status"]),
        tags=server.tags,
        aliases=server.aliases,
        access_endpoints=[
            endpoint_entity(server, endpoint, arrived)
            for endpoint in sorted(server.endpoints, key=lambda endpoint: endpoint.item_id)
            if server.target(endpoint) is not None
        ],
        latest_version=None if latest is None else latest.name,
        **_said(server.item),
    )


def version_entity(server: McpServer, version: Item, arrived: Arrived) -> MCPServerVersion:
    """A version of a server, with the aliases that name it."""
    fields = version.fields
    tools = _json(version, "tools", arrived)
    options = _json(version, "connect_options", arrived) or {}
    return MCPServerVersion(
        name=server.item.name or "",
        version=version.name or "",
        server_json=_json(version, "server_json", arrived, {}),
        status=MCPStatus(fields["status"]),
        tools=None if tools is None else [MCPTool.from_dict(tool) for tool in tools],
        aliases=[alias for alias, named in server.aliases.items() if named == version.name],
        tags=server.version_tags.get(version.item_id, {}),
        connect_options={name: ConnectOptionSettings(**given) for name, given in options.items()},
        source=fields.get("source"),
        workspace=version.workspace,
        **_said(version),
    )


def endpoint_entity(server: McpServer, endpoint: Item, arrived: Arrived) -> MCPAccessEndpoint:
    """An endpoint with the version that it leads to."""
    fields, target = endpoint.fields, server.target(endpoint)
    return MCPAccessEndpoint(
        id=endpoint.item_id,
        server_name=server.item.name or "",
        url=fields.get("url", ""),
        transport_type=MCPRemoteTransportType(fields["transport_type"]),
        server_version=fields.get("server_version"),
        server_alias=fields.get("server_alias"),
        resolved_version=None if target is None else version_entity(server, target, arrived),
        workspace=endpoint.workspace,
        **_said(endpoint),
    )


def _said(item: Item) -> dict[str, Any]:
    """By whom, and when."""
    return {
        "created_by": item.fields.get("created_by"),
        "last_updated_by": item.fields.get("last_updated_by"),
        "creation_timestamp": item.created_ms,
        "last_updated_timestamp": item.updated_ms,
    }


def _json(item: Item, field: str, arrived: Arrived, absent: Any = None) -> Any:
    text = arrived(item.fields.get(field))
    return absent if text is None else json.loads(text)
