"""Versions of MCP servers and their tags, as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from dataclasses import asdict, replace
from typing import Any

from mlflow.entities.mcp_server import MCPStatus, MCPTool, validate_mcp_server_name
from mlflow.entities.mcp_server_version import ConnectOptionSettings, MCPServerVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchMCPServerVersionUtils
from mlflow.utils.semver_utils import parse_semver
from mlflow.utils.validation import (
    _strip_mcp_icon_response_fields,
    _validate_mcp_initial_status,
    _validate_mcp_tool_payloads,
)

from mlflow_ledger.query import Item, McpServer, find_mcp_versions, item_named
from mlflow_ledger.schemas import (
    Event,
    ItemTagsContent,
    KeyValue,
    MCPServerContent,
    MCPServerCreated,
    MCPServerVersionContent,
    MCPServerVersionCreated,
    MCPServerVersionDeleted,
    MCPServerVersionTagDeleted,
    MCPServerVersionTagSet,
    MCPServerVersionUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore, start_offset, text
from .experiments import check_max_results
from .items import found_page, say_with_parent
from .mcp_conditions import orders_of, precedence, version_filters
from .mcp_entities import version_entity
from .mcp_servers import NOT_SET, existing_server, given_fields, server_named
from .older_mlflow import validate_icons

__all__ = ["McpServerVersions", "latest_version"]

_Options = dict[str, ConnectOptionSettings]
_LATEST = "latest"


class McpServerVersions(LedgerStore):
    """Register, get, search, change, tag and delete versions of servers."""

    def create_mcp_server_version(
        self,
        server_json: dict[str, Any],
        source: str | None = None,
        status: MCPStatus | None = None,
        tools: list[MCPTool] | None = NOT_SET,
        created_by: str | None = None,
        connect_options: _Options | None = None,
    ) -> MCPServerVersion:
        """Register a version, and its server where that is not there yet."""
        name, version = server_json.get("name"), server_json.get("version")
        if not name or not version:
            raise MlflowException(
                "server_json must contain 'name' and 'version' keys", INVALID_PARAMETER_VALUE
            )
        validate_mcp_server_name(name)
        server_json = _stripped(server_json)
        validate_icons(server_json.get("icons"), "server_json.icons")
        parsed = parse_semver(version, param_name="server_json.version")
        status = status or MCPStatus.DRAFT
        _validate_mcp_initial_status(status)
        tools_text = _tools(None if tools is NOT_SET else tools)
        major, minor, patch, prerelease_key = precedence(parsed)
        event = MCPServerVersionCreated(
            version_id=uuid.uuid4().hex,
            name=name,
            version=version,
            server_id=uuid.uuid4().hex,
            status=status.value,
            major=major,
            minor=minor,
            patch=patch,
            prerelease_key=prerelease_key,
            content=MCPServerVersionContent(
                server_json=self._travelling(json.dumps(server_json)),
                tools=self._travelling(tools_text),
                connect_options=self._travelling(_options(connect_options)),
                source=source,
                created_by=created_by,
                last_updated_by=created_by,
            ),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            server = item_named(db, MCPServerCreated.kind, name)
            if server is not None:
                return [event.model_copy(update={"server_id": server.item_id})]
            content = MCPServerContent(created_by=created_by, last_updated_by=created_by)
            return [MCPServerCreated(server_id=event.server_id, name=name, content=content), event]

        say_with_parent(self._decide, decide)
        return self.get_mcp_server_version(name, version)

    def get_mcp_server_version(self, name: str, version: str) -> MCPServerVersion:
        """A version that is not deleted."""
        return self._version_entity(lambda db: _live(db, name, version))

    def get_mcp_server_version_by_alias(self, name: str, alias: str) -> MCPServerVersion:
        """The version that an alias names; ``latest`` is an alias of every server."""
        if alias == _LATEST:
            return self.get_latest_mcp_server_version(name)

        def ask(db: sqlite3.Connection) -> tuple[McpServer, Item]:
            server = server_named(db, name)
            if server is None or alias not in server.aliases:
                msg = f"Alias '{alias}' not found for MCP server '{name}'"
                raise Refused(Reason.MISSING, msg)
            return _live(db, name, server.aliases[alias])

        return self._version_entity(ask)

    def get_latest_mcp_server_version(self, name: str) -> MCPServerVersion:
        """The highest active version, or the highest of all."""
        return self._version_entity(lambda db: latest_version(db, name))

    def search_mcp_server_versions(
        self,
        name: str,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[MCPServerVersion]:
        """A page of the versions of a server that match."""
        check_max_results(max_results)
        offset = start_offset(page_token)
        filters = version_filters(SearchMCPServerVersionUtils.parse_search_filter(filter_string))
        orders = orders_of(
            order_by, {"version", "created_at", "last_updated_at"}, ["created_at", "version"]
        )

        def ask(db: sqlite3.Connection) -> list[tuple[McpServer, Item]]:
            found = find_mcp_versions(db, name, filters, orders, max_results + 1, offset)
            server = server_named(db, name)
            return [(server, server.versions[version]) for version in found if server is not None]

        return found_page(
            self._ask(ask),
            max_results,
            offset,
            lambda row: version_entity(row[0], row[1], self._arrived),
        )

    def update_mcp_server_version(
        self,
        name: str,
        version: str,
        status: MCPStatus | None = NOT_SET,
        tools: list[MCPTool] | None = NOT_SET,
        last_updated_by: str | None = None,
        connect_options: _Options | None = NOT_SET,
    ) -> MCPServerVersion:
        """Change what is given; a status only as MLflow lets it change."""
        said, cleared = given_fields(
            tools=tools if tools is NOT_SET else _tools(tools),
            connect_options=(
                connect_options if connect_options is NOT_SET else _options(connect_options)
            ),
            last_updated_by=last_updated_by,
        )
        for field in ("tools", "connect_options"):
            if field in said:
                said[field] = self._travelling(said[field])
        content = MCPServerVersionContent(**said)

        def decide(db: sqlite3.Connection) -> list[Event]:
            _, item = _live(db, name, version)
            if status is None:
                raise MlflowException.invalid_parameter_value(
                    "status cannot be null; omit the field to leave it unchanged"
                )
            return [
                MCPServerVersionUpdated(
                    version_id=item.item_id,
                    name=name,
                    version=version,
                    status=None if status is NOT_SET else status.value,
                    cleared=cleared,
                    content=content,
                )
            ]

        self._decide(decide)
        return self._version_entity(lambda db: _any(db, name, version))

    def delete_mcp_server_version(self, name: str, version: str) -> None:
        """Delete a version with the aliases and endpoints that name it."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            _, item = _any(db, name, version)
            return [MCPServerVersionDeleted(version_id=item.item_id, name=name, version=version)]

        self._decide(decide)

    def set_mcp_server_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        content = ItemTagsContent(tags=[KeyValue(key=key, value=text(value))])

        def decide(db: sqlite3.Connection) -> list[Event]:
            _, item = _live(db, name, version)
            return [
                MCPServerVersionTagSet(
                    version_id=item.item_id, name=name, version=version, content=content
                )
            ]

        self._decide(decide)

    def delete_mcp_server_version_tag(self, name: str, version: str, key: str) -> None:
        """Delete a tag of a version, which must be there."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            _, item = _live(db, name, version)
            return [
                MCPServerVersionTagDeleted(
                    version_id=item.item_id, name=name, version=version, tag=key
                )
            ]

        self._decide(decide)

    def _version_entity(self, ask: Any) -> MCPServerVersion:
        server, version = self._ask(ask)
        return version_entity(server, version, self._arrived)


def latest_version(db: sqlite3.Connection, name: str) -> tuple[McpServer, Item]:
    """The version that ``latest`` names.

    Raises:
        Refused: there is no such server, or it has none.
    """
    existing_server(db, name)
    server = server_named(db, name)
    latest = None if server is None else server.latest()
    if server is None or latest is None:
        msg = f"No resolved latest version found for MCP server '{name}'"
        raise Refused(Reason.MISSING, msg)
    return server, latest


def _any(db: sqlite3.Connection, name: str, version: str) -> tuple[McpServer, Item]:
    """A version that there is, or was."""
    server = server_named(db, name)
    if server is None or version not in server.versions:
        msg = f"MCP server version '{name}' version '{version}' not found"
        raise Refused(Reason.MISSING, msg)
    return server, server.versions[version]


def _live(db: sqlite3.Connection, name: str, version: str) -> tuple[McpServer, Item]:
    server, item = _any(db, name, version)
    if item.fields["status"] == MCPStatus.DELETED.value:
        msg = f"MCP server version '{name}' version '{version}' not found"
        raise Refused(Reason.MISSING, msg)
    return server, item


def _stripped(server_json: dict[str, Any]) -> dict[str, Any]:
    if "icons" not in server_json:
        return server_json
    icons = _strip_mcp_icon_response_fields(server_json.get("icons"), "server_json.icons")
    return {**server_json, "icons": icons}


def _tools(tools: list[MCPTool] | None) -> str | None:
    """Tools as MLflow writes them in JSON, once they are checked."""
    if tools is None:
        return None
    tools = [
        replace(tool, icons=_strip_mcp_icon_response_fields(tool.icons, f"tools[{number}].icons"))
        for number, tool in enumerate(tools)
    ]
    _validate_mcp_tool_payloads(tools, "tools")
    for number, tool in enumerate(tools):
        validate_icons(tool.icons, f"tools[{number}].icons")
    return json.dumps([tool.to_dict() for tool in tools])


def _options(options: _Options | None) -> str | None:
    if options is None:
        return None
    return json.dumps({name: asdict(given) for name, given in options.items()})
