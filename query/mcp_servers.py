"""Reading and searching MCP servers, their versions and access endpoints."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .conditions import Filter, Order, Sql, compare, ilike_sqlite
from .items import Item, item_tags, items_below, items_by_id

__all__ = [
    "McpServer",
    "find_mcp_endpoints",
    "find_mcp_servers",
    "find_mcp_versions",
    "mcp_servers",
]

_SERVERS, _VERSIONS, _ENDPOINTS = "mcp_servers", "mcp_server_versions", "mcp_access_endpoints"
_ALIASES = "mcp_server_aliases"
_LATEST = "latest"

# Versions that are not deleted, ranked: the first of a server is the one that "latest" names.
_LIVE = f"""live AS (
  SELECT *, row_number() OVER (
    PARTITION BY parent ORDER BY status <> 'active', major DESC, minor DESC, patch DESC,
    prerelease_key DESC, created_ms DESC, version DESC
  ) AS rank FROM (
    SELECT item_id, parent, name AS version, created_ms, updated_ms,
      json_extract(fields, '$.status') AS status, json_extract(fields, '$.major') AS major,
      json_extract(fields, '$.minor') AS minor, json_extract(fields, '$.patch') AS patch,
      json_extract(fields, '$.prerelease_key') AS prerelease_key
    FROM items WHERE kind = '{_VERSIONS}'
  ) WHERE status <> 'deleted'
)"""
# Endpoints that lead to a version, with its status.
_TARGETS = f"""named AS (
  SELECT item_id, parent, created_ms, updated_ms, json_extract(fields, '$.url') AS url,
    json_extract(fields, '$.server_name') AS server_name,
    json_extract(fields, '$.transport_type') AS transport_type,
    json_extract(fields, '$.server_version') AS server_version,
    json_extract(fields, '$.server_alias') AS server_alias
  FROM items WHERE kind = '{_ENDPOINTS}'
), targets AS (
  SELECT e.*, v.status FROM named e JOIN live v ON v.parent = e.parent AND v.version = CASE
    WHEN e.server_version IS NOT NULL THEN e.server_version
    WHEN e.server_alias = '{_LATEST}'
      THEN (SELECT l.version FROM live l WHERE l.parent = e.parent AND l.rank = 1)
    ELSE (
      SELECT json_extract(a.fields, '$.version') FROM items a
      WHERE a.parent = e.parent AND a.kind = '{_ALIASES}' AND a.name = e.server_alias
    ) END
)"""
_OF_SERVER = {
    "name": "s.name",
    "display_name": "json_extract(s.fields, '$.display_name')",
    "status": "l.status",
    "created_at": "s.created_ms",
    "last_updated_at": "s.updated_ms",
}
_OF_VERSION = {
    "name": "s.name",
    "status": "l.status",
    "version": "l.version",
    "created_at": "l.created_ms",
    "last_updated_at": "l.updated_ms",
}
_OF_ENDPOINT = {
    "id": "t.item_id",
    "status": "t.status",
    "server_name": "t.server_name",
    "transport_type": "t.transport_type",
    "created_at": "t.created_ms",
    "last_updated_at": "t.updated_ms",
}
_PRECEDENCE = ("l.major", "l.minor", "l.patch", "l.prerelease_key")


class McpServer(NamedTuple):
    """A server with all that belongs to it; deleted versions are among them."""

    item: Item
    tags: dict[str, str]
    aliases: dict[str, str]
    versions: dict[str, Item]
    version_tags: dict[str, dict[str, str]]
    endpoints: list[Item]

    def latest(self) -> Item | None:
        """The version that ``latest`` names: an active one, if there is any."""
        live = [item for item in self.versions.values() if item.fields["status"] != "deleted"]
        return max(live, key=_rank, default=None)

    def target(self, endpoint: Item) -> Item | None:
        """The version that an endpoint leads to, unless that is gone."""
        version, alias = (endpoint.fields.get(f"server_{name}") for name in ("version", "alias"))
        if version is None and alias == _LATEST:
            return self.latest()
        found = self.versions.get(version or self.aliases.get(alias or "", ""))
        return None if found is None or found.fields["status"] == "deleted" else found


def mcp_servers(db: sqlite3.Connection, server_ids: Iterable[str]) -> list[McpServer]:
    """Servers by their ids, in that order; an id that is not there is left out."""
    items = items_by_id(db, _SERVERS, server_ids)
    parents = [f"{_SERVERS}:/{item.item_id}" for item in items]
    tags = item_tags(db, _SERVERS, [item.item_id for item in items])
    below: dict[tuple[str, str], list[Item]] = {}
    for item in items_below(db, parents):
        below.setdefault((item.parent, item.kind), []).append(item)
    version_ids = [v.item_id for p in parents for v in below.get((p, _VERSIONS), ())]
    version_tags = item_tags(db, _VERSIONS, version_ids)
    return [
        McpServer(
            item,
            tags[item.item_id],
            {str(a.name): a.fields["version"] for a in below.get((parent, _ALIASES), ())},
            {str(v.name): v for v in below.get((parent, _VERSIONS), ())},
            version_tags,
            below.get((parent, _ENDPOINTS), []),
        )
        for item, parent in zip(items, parents, strict=True)
    ]


def find_mcp_servers(
    db: sqlite3.Connection,
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[str]:
    """Ids of the servers that match, in order."""
    sql = Sql(
        f"WITH {_LIVE}, {_TARGETS} SELECT s.item_id FROM items s LEFT JOIN live l "
        f"ON l.parent = '{_SERVERS}:/' || s.item_id AND l.rank = 1 WHERE s.kind = '{_SERVERS}'"
    )
    for kind, key, comparator, value in filters:
        sql.add(" AND ")
        if key == "has_access_endpoints" and kind == "attribute":
            sql.add("NOT " if value == "false" else "")
            sql.add(
                f"EXISTS (SELECT 1 FROM targets t WHERE t.parent = '{_SERVERS}:/' || s.item_id)"
            )
        elif kind == "tag":
            sql.add(
                f"EXISTS (SELECT 1 FROM item_tags t WHERE t.kind = '{_SERVERS}' "
                "AND t.item_id = s.item_id AND t.key = ? AND ",
                key,
            )
            sql += compare("t.value", comparator, value, ilike_sqlite)
            sql.add(")")
        else:
            sql += compare(_OF_SERVER[key], comparator, value, ilike_sqlite)
    return _page(db, sql, _ordered(orders, _OF_SERVER), limit, offset)


def find_mcp_versions(
    db: sqlite3.Connection,
    server_name: str,
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[str]:
    """The versions of a server that match, in order.

    A filter of kind ``precedence`` compares as semantic versions do; its value is a tuple.
    """
    sql = Sql(
        f"WITH {_LIVE} SELECT l.version FROM live l JOIN items s "
        f"ON l.parent = '{_SERVERS}:/' || s.item_id "
        f"WHERE s.kind = '{_SERVERS}' AND s.name = ?",
        [server_name],
    )
    for kind, key, comparator, value in filters:
        sql.add(" AND ")
        if kind == "precedence" and isinstance(value, tuple):
            sql.add(f"({', '.join(_PRECEDENCE)}) {comparator} (?, ?, ?, ?)", *value)
        else:
            sql += compare(_OF_VERSION[key], comparator, value, ilike_sqlite)
    ordered: list[str] = []
    for order in orders:
        by_precedence = order.kind == "precedence"
        columns = _PRECEDENCE if by_precedence else (_OF_VERSION[order.key],)
        ordered += [f"{column} {'ASC' if order.ascending else 'DESC'}" for column in columns]
    return _page(db, sql, ordered, limit, offset)


def find_mcp_endpoints(
    db: sqlite3.Connection,
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
    *,
    server_name: str | None = None,
    server_version: str | None = None,
    server_alias: str | None = None,
) -> list[tuple[str, str]]:
    """The endpoints that lead to a version and match, in order, with their servers' ids."""
    sql = Sql(
        f"WITH {_LIVE}, {_TARGETS} SELECT t.item_id, t.parent FROM targets t "
        "WHERE (? IS NULL OR t.server_name = ?) AND (? IS NULL OR t.server_version = ?) "
        "AND (? IS NULL OR t.server_alias = ?)",
        [
            given
            for value in (server_name, server_version, server_alias)
            for given in (value, value)
        ],
    )
    for _, key, comparator, value in filters:
        sql.add(" AND ")
        sql += compare(_OF_ENDPOINT[key], comparator, value, ilike_sqlite)
    sql.add(f" ORDER BY {', '.join(_ordered(orders, _OF_ENDPOINT))} LIMIT ? OFFSET ?")
    rows = db.execute(sql.text, [*sql.values, limit, offset]).fetchall()
    return [(item_id, parent.partition(":/")[2]) for item_id, parent in rows]


def _rank(version: Item) -> tuple[object, ...]:
    """What the highest version has most of."""
    keys = ("major", "minor", "patch", "prerelease_key")
    precedence = tuple(version.fields[key] for key in keys)
    active = version.fields["status"] == "active"
    return (active, *precedence, version.created_ms, version.name)


def _ordered(orders: Sequence[Order], columns: dict[str, str]) -> list[str]:
    return [f"{columns[order.key]} {'ASC' if order.ascending else 'DESC'}" for order in orders]


def _page(
    db: sqlite3.Connection, sql: Sql, ordered: Sequence[str], limit: int, offset: int
) -> list[str]:
    sql.add(f" ORDER BY {', '.join(ordered)} LIMIT ? OFFSET ?", limit, offset)
    return [str(row[0]) for row in db.execute(sql.text, sql.values).fetchall()]
