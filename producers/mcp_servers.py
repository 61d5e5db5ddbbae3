"""MCP servers, their tags and aliases, as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import Any

from mlflow.entities.mcp_server import MCPServer, validate_mcp_server_name
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.mcp_server_registry import abstract_mixin
from mlflow.store.tracking.mcp_server_registry.abstract_mixin import MCPIcon
from mlflow.utils.search_utils import SearchMCPServerUtils
from mlflow.utils.validation import _strip_mcp_icon_response_fields

from mlflow_ledger.query import (
    Item,
    McpServer,
    find_mcp_servers,
    item_named,
    item_tags,
    mcp_servers,
)
from mlflow_ledger.schemas import (
    Event,
    ItemTagsContent,
    KeyValue,
    MCPServerAliasDeleted,
    MCPServerAliasSet,
    MCPServerContent,
    MCPServerCreated,
    MCPServerDeleted,
    MCPServerTagDeleted,
    MCPServerTagSet,
    MCPServerUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore, start_offset, text
from .experiments import check_max_results
from .items import found_page
from .mcp_conditions import orders_of, server_filters
from .mcp_entities import server_entity
from .older_mlflow import validate_icons

__all__ = ["NOT_SET", "McpServers", "existing_server", "given_fields", "server_named"]

NOT_SET: Any = abstract_mixin.NOT_SET
"""MLflow's mark of what an update leaves as it is."""

_KIND = MCPServerCreated.kind
_MOST = 1000
_LATEST = "latest"


class McpServers(LedgerStore):
    """Create, get, search, change, tag and delete servers, and give aliases to their versions."""

    def create_mcp_server(
        self,
        name: str,
        description: str | None = None,
        icons: list[MCPIcon] | None = None,
        created_by: str | None = None,
    ) -> MCPServer:
        """Register a server; its name is unique."""
        validate_mcp_server_name(name)
        content = MCPServerContent(
            description=self._travelling(description),
            icons=self._travelling(_icons_text(icons)),
            created_by=created_by,
            last_updated_by=created_by,
        )
        self._write(MCPServerCreated(server_id=uuid.uuid4().hex, name=name, content=content))
        return self.get_mcp_server(name)

    def get_mcp_server(self, name: str) -> MCPServer:
        """A server by its name."""

        def ask(db: sqlite3.Connection) -> McpServer:
            server = server_named(db, name)
            if server is None:
                raise Refused(Reason.MISSING, f"MCP server '{name}' not found")
            return server

        return server_entity(self._ask(ask), self._arrived)

    def search_mcp_servers(
        self,
        filter_string: str | None = None,
        max_results: int = _MOST,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[MCPServer]:
        """A page of the servers that match."""
        check_max_results(max_results)
        if max_results > _MOST:
            raise MlflowException(
                f"Invalid value for max_results. It must be at most {_MOST}, but got {max_results}",
                INVALID_PARAMETER_VALUE,
            )
        offset = start_offset(page_token)
        filters = server_filters(SearchMCPServerUtils.parse_search_filter(filter_string))
        orders = orders_of(order_by, {"name", "created_at", "last_updated_at"}, ["name"])

        def ask(db: sqlite3.Connection) -> list[McpServer]:
            found = find_mcp_servers(db, filters, orders, max_results + 1, offset)
            return mcp_servers(db, found)

        return found_page(
            self._ask(ask),
            max_results,
            offset,
            lambda server: server_entity(server, self._arrived),
        )

    def update_mcp_server(
        self,
        name: str,
        description: str | None = NOT_SET,
        display_name: str | None = NOT_SET,
        icons: list[MCPIcon] | None = NOT_SET,
        last_updated_by: str | None = None,
    ) -> MCPServer:
        """Change what is given; the name stays."""
        said, cleared = given_fields(
            description=description,
            display_name=display_name,
            icons=icons if icons is NOT_SET else _icons_text(icons),
            last_updated_by=last_updated_by,
        )
        for field in ("description", "icons"):
            if field in said:
                said[field] = self._travelling(said[field])
        content = MCPServerContent(**said)

        def decide(db: sqlite3.Connection) -> list[Event]:
            server_id = existing_server(db, name).item_id
            return [
                MCPServerUpdated(server_id=server_id, name=name, cleared=cleared, content=content)
            ]

        self._decide(decide)
        return self.get_mcp_server(name)

    def delete_mcp_server(self, name: str) -> None:
        """Delete a server, unless one of its versions is active."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            return [MCPServerDeleted(server_id=existing_server(db, name).item_id, name=name)]

        self._decide(decide)

    def set_mcp_server_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a server."""
        content = ItemTagsContent(tags=[KeyValue(key=key, value=text(value))])

        def decide(db: sqlite3.Connection) -> list[Event]:
            server_id = existing_server(db, name).item_id
            return [MCPServerTagSet(server_id=server_id, name=name, content=content)]

        self._decide(decide)

    def delete_mcp_server_tag(self, name: str, key: str) -> None:
        """Delete a tag of a server, which must be there."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            server = item_named(db, _KIND, name)
            if server is None or key not in item_tags(db, _KIND, [server.item_id])[server.item_id]:
                msg = f"Tag '{key}' not found on MCP server '{name}'"
                raise Refused(Reason.MISSING, msg)
            return [MCPServerTagDeleted(server_id=server.item_id, name=name, tag=key)]

        self._decide(decide)

    def set_mcp_server_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""
        if alias == _LATEST:
            raise MlflowException(
                "The alias name 'latest' is reserved for automatic resolution",
                INVALID_PARAMETER_VALUE,
            )

        def decide(db: sqlite3.Connection) -> list[Event]:
            server_id = existing_server(db, name).item_id
            return [MCPServerAliasSet(server_id=server_id, name=name, alias=alias, version=version)]

        self._decide(decide)

    def delete_mcp_server_alias(self, name: str, alias: str) -> None:
        """Delete an alias, and the endpoints that name it."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            server = server_named(db, name)
            if server is None or alias not in server.aliases:
                msg = f"Alias '{alias}' not found on MCP server '{name}'"
                raise Refused(Reason.MISSING, msg)
            return [MCPServerAliasDeleted(server_id=server.item.item_id, name=name, alias=alias)]

        self._decide(decide)


def server_named(db: sqlite3.Connection, name: str) -> McpServer | None:
    """A server with all that belongs to it, or None."""
    item = item_named(db, _KIND, name)
    return None if item is None else mcp_servers(db, [item.item_id])[0]


def existing_server(db: sqlite3.Connection, name: str) -> Item:
    """A server that must be there.

    Raises:
        Refused: it is not.
    """
    item = item_named(db, _KIND, name)
    if item is None:
        raise Refused(Reason.MISSING, f"MCPServer not found (name='{name}')")
    return item


def given_fields(**given: Any) -> tuple[dict[str, Any], list[str]]:
    """What an update says, and the names of what becomes nothing."""
    said = {name: value for name, value in given.items() if value is not NOT_SET}
    cleared = [name for name, value in said.items() if value is None]
    return {name: value for name, value in said.items() if value is not None}, cleared


def _icons_text(icons: Any) -> str | None:
    """Icons as MLflow writes them in JSON, once they are checked."""
    stripped = _strip_mcp_icon_response_fields(icons)
    validate_icons(stripped, "icons")
    return None if stripped is None else json.dumps(stripped)
