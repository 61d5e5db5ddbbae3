"""Rules about MCP servers: a version that is deleted keeps its number, and nothing points to it."""

from __future__ import annotations

import json
from typing import Any

from mlflow_ledger.schemas import (
    MCPAccessEndpointCreated,
    MCPAccessEndpointDeleted,
    MCPAccessEndpointUpdated,
    MCPServerAliasDeleted,
    MCPServerAliasSet,
    MCPServerCreated,
    MCPServerDeleted,
    MCPServerTagDeleted,
    MCPServerTagSet,
    MCPServerUpdated,
    MCPServerVersionCreated,
    MCPServerVersionDeleted,
    MCPServerVersionTagDeleted,
    MCPServerVersionTagSet,
    MCPServerVersionUpdated,
    Reason,
    Refused,
)

from .context import Context, rule
from .items import Family, forget_children

__all__ = ["ALIASES", "MCP_LATEST", "refuse_transition"]

ALIASES = "mcp_server_aliases"
"""The kind of items that aliases are; the name of one is the alias."""
MCP_LATEST = "latest"
"""The alias that each server has of itself."""

_SERVERS, _VERSIONS = MCPServerCreated.kind, MCPServerVersionCreated.kind
_ENDPOINTS = MCPAccessEndpointCreated.kind
_NO_SERVER = "MCPServer not found (name='{name}')"
_NO_VERSION = "MCP server version '{name}' version '{version}' not found"
_TRANSITIONS = {
    "draft": ("active", "deleted"),
    "active": ("deprecated", "draft"),
    "deprecated": ("active", "deleted"),
}

_servers = (
    Family(
        name="name",
        missing=_NO_SERVER,
        exists="MCP server with name '{name}' already exists",
        tag_missing="Tag '{tag}' not found on MCP server '{name}'",
    )
    .created(MCPServerCreated)
    .updated(MCPServerUpdated)
    .tags_set(MCPServerTagSet)
    .tag_deleted(MCPServerTagDeleted)
)
_versions = (
    Family(
        name="version",
        parent="server_id",
        parent_kind=_SERVERS,
        parent_missing=_NO_SERVER,
        missing=_NO_VERSION,
        exists="MCP server version '{name}' version '{version}' already exists",
        dead=("status", "deleted"),
        tag_missing="Tag '{tag}' not found on MCP server version '{name}' version '{version}'",
    )
    .created(MCPServerVersionCreated)
    .tags_set(MCPServerVersionTagSet)
    .tag_deleted(MCPServerVersionTagDeleted)
)
_endpoints = (
    Family(
        parent="server_id",
        parent_kind=_SERVERS,
        parent_missing="MCPServer not found (name='{server_name}')",
        missing="MCPAccessEndpoint not found (id='{id}')",
        exists="MCPAccessEndpoint (id={id}) already exists",
    )
    .created(MCPAccessEndpointCreated)
    .deleted(MCPAccessEndpointDeleted)
)


@rule(MCPServerDeleted)
def server_deleted(context: Context, event: MCPServerDeleted) -> None:
    """A server goes with all that it has, unless a version is active."""
    _check_server(context, event.server_id, event.name)
    active = context.row(
        "SELECT name FROM items WHERE parent = ? AND kind = ? "
        "AND json_extract(fields, '$.status') = 'active' ORDER BY created_ms, item_id",
        _parent(event.server_id),
        _VERSIONS,
    )
    if active is not None:
        raise Refused(
            Reason.INVALID,
            f"Cannot delete MCP server '{event.name}' while it still has an active version "
            f"('{active[0]}'). Delete or deactivate the active version first.",
        )
    for table in ("items", "item_tags"):
        context.write(
            f"DELETE FROM {table} WHERE kind = ? AND item_id = ?", _SERVERS, event.server_id
        )
    forget_children(context, _parent(event.server_id))


@rule(MCPServerAliasSet)
def alias_set(context: Context, event: MCPServerAliasSet) -> None:
    """An alias names a version that is not deleted."""
    _check_server(context, event.server_id, event.name)
    _check_version(
        context,
        event.server_id,
        event.name,
        event.version,
        f"Cannot set alias '{event.alias}' to deleted MCP server version",
    )
    context.write(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ALIASES,
        f"{event.server_id}/{event.alias}",
        context.envelope.workspace,
        _parent(event.server_id),
        event.alias,
        context.envelope.time_ms,
        context.envelope.time_ms,
        json.dumps({"version": event.version}),
    )


@rule(MCPServerAliasDeleted)
def alias_deleted(context: Context, event: MCPServerAliasDeleted) -> None:
    """An alias goes with the endpoints that name it."""
    if not _drop_alias(context, event.server_id, event.alias):
        msg = f"Alias '{event.alias}' not found on MCP server '{event.name}'"
        raise Refused(Reason.MISSING, msg)


@rule(MCPServerVersionUpdated)
def version_updated(context: Context, event: MCPServerVersionUpdated) -> None:
    """A version changes, and its status only as MLflow allows."""
    if event.status is not None:
        row = _version_row(context, event.version_id)
        if row is not None and row[1] != "deleted":
            refuse_transition(row[1], event.status)
    _versions.update(context, event)
    if event.status is not None:
        _drop_latest_if_none(context, event.version_id)


@rule(MCPServerVersionDeleted)
def version_deleted(context: Context, event: MCPServerVersionDeleted) -> None:
    """What is deleted stays, so that its number is not given again; what names it goes."""
    row = _version_row(context, event.version_id)
    if row is None:
        raise Refused(Reason.MISSING, _NO_VERSION.format(name=event.name, version=event.version))
    parent, status, version, fields = row
    refuse_transition(status, "deleted")
    server_id = parent.partition(":/")[2]
    for (alias,) in context.db.execute(
        "SELECT name FROM items WHERE parent = ? AND kind = ? "
        "AND json_extract(fields, '$.version') = ?",
        (parent, ALIASES, version),
    ).fetchall():
        _drop_alias(context, server_id, alias)
    _drop_endpoints(context, parent, "server_version", version)
    context.write(
        "UPDATE items SET updated_ms = ?, fields = ? WHERE kind = ? AND item_id = ?",
        context.envelope.time_ms,
        json.dumps(json.loads(fields) | {"status": "deleted"}, sort_keys=True),
        _VERSIONS,
        event.version_id,
    )
    _drop_latest_if_none(context, event.version_id)


@rule(MCPAccessEndpointCreated)
def endpoint_created(context: Context, event: MCPAccessEndpointCreated) -> None:
    """An endpoint names a version that is not deleted, or an alias of one."""
    _check_server(context, event.server_id, event.server_name)
    _check_target(context, event, event.server_id, "create")
    _endpoints.create(context, event)


@rule(MCPAccessEndpointUpdated)
def endpoint_updated(context: Context, event: MCPAccessEndpointUpdated) -> None:
    """An endpoint changes; what it names from now on is there."""
    row = context.row(
        "SELECT parent FROM items WHERE kind = ? AND item_id = ?", _ENDPOINTS, event.endpoint_id
    )
    if row is not None:
        _check_target(context, event, row[0].partition(":/")[2], "update")
    _endpoints.update(context, event)


def refuse_transition(current: str, new: str) -> None:
    """Refuse what a version of this status cannot become."""
    allowed = _TRANSITIONS.get(current, ())
    if new not in allowed:
        raise Refused(
            Reason.INVALID,
            f"Invalid status transition from '{current}' to '{new}'. "
            f"Allowed transitions: {sorted(allowed)}",
        )


def _check_server(context: Context, server_id: str, name: str) -> None:
    if not context.row("SELECT 1 FROM items WHERE kind = ? AND item_id = ?", _SERVERS, server_id):
        raise Refused(Reason.MISSING, _NO_SERVER.format(name=name))


def _check_version(context: Context, server_id: str, name: str, version: str, refused: str) -> None:
    row = context.row(
        "SELECT json_extract(fields, '$.status') FROM items "
        "WHERE parent = ? AND kind = ? AND name = ?",
        _parent(server_id),
        _VERSIONS,
        version,
    )
    if row is None:
        raise Refused(Reason.MISSING, _NO_VERSION.format(name=name, version=version))
    if row[0] == "deleted":
        raise Refused(Reason.INVALID, f"{refused} '{name}' version '{version}'")


def _check_target(
    context: Context,
    event: MCPAccessEndpointCreated | MCPAccessEndpointUpdated,
    server_id: str,
    verb: str,
) -> None:
    name, alias = event.server_name, event.server_alias
    if event.server_version is not None:
        refused = f"Cannot {verb} MCP access endpoint to deleted MCP server version"
        _check_version(context, server_id, name, event.server_version, refused)
    if alias == MCP_LATEST:
        if not _any_live(context, _parent(server_id)):
            msg = f"No resolved latest version found for MCP server '{name}'"
            raise Refused(Reason.MISSING, msg)
    elif alias is not None:
        row = context.row(
            "SELECT json_extract(fields, '$.version') FROM items WHERE kind = ? AND item_id = ?",
            ALIASES,
            f"{server_id}/{alias}",
        )
        if row is None:
            msg = f"Alias '{alias}' not found for MCP server '{name}'"
            raise Refused(Reason.MISSING, msg)
        dead = context.row(
            "SELECT 1 FROM items WHERE parent = ? AND kind = ? AND name = ? "
            "AND json_extract(fields, '$.status') = 'deleted'",
            _parent(server_id),
            _VERSIONS,
            row[0],
        )
        if dead:
            raise Refused(
                Reason.INVALID,
                f"Alias '{alias}' for MCP server '{name}' points to deleted version '{row[0]}'",
            )


def _version_row(context: Context, version_id: str) -> Any:
    return context.row(
        "SELECT parent, json_extract(fields, '$.status'), name, fields FROM items "
        "WHERE kind = ? AND item_id = ?",
        _VERSIONS,
        version_id,
    )


def _any_live(context: Context, parent: str) -> bool:
    return bool(
        context.row(
            "SELECT 1 FROM items WHERE parent = ? AND kind = ? "
            "AND json_extract(fields, '$.status') <> 'deleted'",
            parent,
            _VERSIONS,
        )
    )


def _drop_latest_if_none(context: Context, version_id: str) -> None:
    """Where no version is left that ``latest`` could name, endpoints that name it go."""
    parent, *_ = _version_row(context, version_id)
    if not _any_live(context, parent):
        _drop_endpoints(context, parent, "server_alias", MCP_LATEST)


def _drop_alias(context: Context, server_id: str, alias: str) -> int:
    gone = context.write(
        "DELETE FROM items WHERE kind = ? AND item_id = ?", ALIASES, f"{server_id}/{alias}"
    )
    if gone:
        _drop_endpoints(context, _parent(server_id), "server_alias", alias)
    return gone


def _drop_endpoints(context: Context, parent: str, field: str, value: str) -> None:
    context.write(
        "DELETE FROM items WHERE parent = ? AND kind = ? AND json_extract(fields, ?) = ?",
        parent,
        _ENDPOINTS,
        f"$.{field}",
        value,
    )


def _parent(server_id: str) -> str:
    return f"{_SERVERS}:/{server_id}"
