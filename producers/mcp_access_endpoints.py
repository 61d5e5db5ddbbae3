"""Access endpoints of MCP servers, as MLflow's tracking store keeps them."""

from __future__ import annotations

import sqlite3
import uuid

from mlflow.entities.mcp_access_endpoint import MCPAccessEndpoint
from mlflow.entities.mcp_server import MCPRemoteTransportType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
)
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchMCPAccessEndpointUtils

from mlflow_ledger.query import Item, McpServer, find_mcp_endpoints, item_of, mcp_servers
from mlflow_ledger.schemas import (
    Event,
    MCPAccessEndpointContent,
    MCPAccessEndpointCreated,
    MCPAccessEndpointDeleted,
    MCPAccessEndpointUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore, start_offset
from .experiments import check_max_results
from .items import found_page
from .mcp_conditions import endpoint_filters, orders_of
from .mcp_entities import endpoint_entity
from .mcp_servers import NOT_SET, existing_server, given_fields

__all__ = ["McpAccessEndpoints"]

_KIND = MCPAccessEndpointCreated.kind
_ORDERS = {"id", "server_name", "created_at", "last_updated_at"}


class McpAccessEndpoints(LedgerStore):
    """Register, get, search, change and delete the places where servers are reached."""

    def create_mcp_access_endpoint(
        self,
        server_name: str,
        url: str,
        transport_type: MCPRemoteTransportType = MCPRemoteTransportType.STREAMABLE_HTTP,
        server_version: str | None = None,
        server_alias: str | None = None,
        created_by: str | None = None,
    ) -> MCPAccessEndpoint:
        """Register an endpoint of a version, or of what an alias names at any time."""
        if (server_version is None) == (server_alias is None):
            raise MlflowException(
                "Exactly one of server_version or server_alias must be provided",
                INVALID_PARAMETER_VALUE,
            )
        _check_url(url)
        content = MCPAccessEndpointContent(
            url=url, created_by=created_by, last_updated_by=created_by
        )
        endpoint_id = f"ae-{uuid.uuid4().hex}"

        def decide(db: sqlite3.Connection) -> list[Event]:
            return [
                MCPAccessEndpointCreated(
                    endpoint_id=endpoint_id,
                    server_name=server_name,
                    server_id=existing_server(db, server_name).item_id,
                    transport_type=transport_type.value,
                    server_version=server_version,
                    server_alias=server_alias,
                    content=content,
                )
            ]

        self._decide(decide)
        return self.get_mcp_access_endpoint(server_name, endpoint_id)

    def get_mcp_access_endpoint(self, server_name: str, endpoint_id: str) -> MCPAccessEndpoint:
        """An endpoint that leads to a version."""

        def ask(db: sqlite3.Connection) -> tuple[McpServer, Item]:
            found = _found(db, endpoint_id)
            if found is None or found[0].target(found[1]) is None:
                raise Refused(Reason.MISSING, f"MCPAccessEndpoint {endpoint_id} not found")
            _check_server(found[1], server_name)
            return found

        server, endpoint = self._ask(ask)
        return endpoint_entity(server, endpoint, self._arrived)

    def search_mcp_access_endpoints(
        self,
        server_name: str | None = None,
        server_version: str | None = None,
        server_alias: str | None = None,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[MCPAccessEndpoint]:
        """A page of the endpoints that lead to a version and match."""
        check_max_results(max_results)
        offset = start_offset(page_token)
        filters = endpoint_filters(SearchMCPAccessEndpointUtils.parse_search_filter(filter_string))
        orders = orders_of(order_by, _ORDERS, ["id"])

        def ask(db: sqlite3.Connection) -> list[tuple[McpServer, Item]]:
            found = find_mcp_endpoints(
                db,
                filters,
                orders,
                max_results + 1,
                offset,
                server_name=server_name,
                server_version=server_version,
                server_alias=server_alias,
            )
            server_ids = dict.fromkeys(server_id for _, server_id in found)
            servers = {server.item.item_id: server for server in mcp_servers(db, server_ids)}
            return [
                (servers[server_id], _endpoint(servers[server_id], endpoint_id))
                for endpoint_id, server_id in found
            ]

        return found_page(
            self._ask(ask),
            max_results,
            offset,
            lambda row: endpoint_entity(row[0], row[1], self._arrived),
        )

    def update_mcp_access_endpoint(
        self,
        server_name: str,
        endpoint_id: str,
        server_version: str | None = NOT_SET,
        server_alias: str | None = NOT_SET,
        url: str | None = NOT_SET,
        transport_type: MCPRemoteTransportType | None = NOT_SET,
        last_updated_by: str | None = None,
    ) -> MCPAccessEndpoint:
        """Change what is given; nothing is taken for a version, an alias or a type that is None."""
        version = None if server_version is NOT_SET else server_version
        alias = None if server_alias is NOT_SET else server_alias
        transport = None if transport_type is NOT_SET else transport_type
        if version is not None and alias is not None:
            raise MlflowException(
                "Cannot set both server_version and server_alias in a single update",
                INVALID_PARAMETER_VALUE,
            )
        said, cleared = given_fields(url=url, last_updated_by=last_updated_by)
        cleared = [field for field in cleared if field != "url"]
        if version is not None:
            cleared.append("server_alias")
        if alias is not None:
            cleared.append("server_version")
        event = MCPAccessEndpointUpdated(
            endpoint_id=endpoint_id,
            server_name=server_name,
            transport_type=None if transport is None else transport.value,
            server_version=version,
            server_alias=alias,
            cleared=cleared,
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            server, endpoint = _existing(db, server_name, endpoint_id)
            if version is None and alias is None and server.target(endpoint) is None:
                raise MlflowException("No row was found when one was required", BAD_REQUEST)
            if url is None:
                raise MlflowException(
                    "MCP access endpoint url cannot be None", INVALID_PARAMETER_VALUE
                )
            if url is not NOT_SET:
                _check_url(url)
            return [event.model_copy(update={"content": MCPAccessEndpointContent(**said)})]

        self._decide(decide)
        return self.get_mcp_access_endpoint(server_name, endpoint_id)

    def delete_mcp_access_endpoint(self, server_name: str, endpoint_id: str) -> None:
        """Delete an endpoint."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, server_name, endpoint_id)
            return [MCPAccessEndpointDeleted(endpoint_id=endpoint_id, server_name=server_name)]

        self._decide(decide)


def _found(db: sqlite3.Connection, endpoint_id: str) -> tuple[McpServer, Item] | None:
    endpoint = item_of(db, _KIND, endpoint_id)
    servers = [] if endpoint is None else mcp_servers(db, [endpoint.parent_id])
    return (servers[0], endpoint) if endpoint is not None and servers else None


def _existing(db: sqlite3.Connection, server_name: str, endpoint_id: str) -> tuple[McpServer, Item]:
    found = _found(db, endpoint_id)
    if found is None:
        raise Refused(Reason.MISSING, f"MCPAccessEndpoint not found (id='{endpoint_id}')")
    _check_server(found[1], server_name)
    return found


def _check_server(endpoint: Item, server_name: str) -> None:
    if endpoint.fields["server_name"] != server_name:
        raise MlflowException(
            f"MCPAccessEndpoint {endpoint.item_id} does not belong to server '{server_name}'",
            RESOURCE_DOES_NOT_EXIST,
        )


def _endpoint(server: McpServer, endpoint_id: str) -> Item:
    return next(found for found in server.endpoints if found.item_id == endpoint_id)


def _check_url(url: str) -> None:
    if not isinstance(url, str) or not url.strip():
        raise MlflowException(
            f"MCP access endpoint url cannot be empty or just whitespace: {url!r}",
            INVALID_PARAMETER_VALUE,
        )
