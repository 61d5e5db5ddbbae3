"""Items that nobody names, such as an alias of an MCP server: they are fields of what has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["PARTS", "fields_of_part"]

PARTS = {
    "evaluation_dataset_records": "records",
    "gateway_mappings": "mappings",
    "mcp_server_aliases": "aliases",
    "promotion_approvals": "approvals",
    "promotion_rules": "rules",
    "review_queue_items": "items",
}
"""Their kinds, and what the fields are called that they are."""


def fields_of_part(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that a row of ``items`` is, of its parent; with their values."""
    label, said = PARTS[row["kind"]], json.loads(row["fields"])
    if label == "aliases":
        yield f"{label}.{row['name']}", said["version"]
    elif label == "rules":
        asks = {name: value for name, value in said.items() if value not in (None, [], False)}
        yield f"{label}.{row['name']}", asks
    elif label == "approvals":
        who = f"{said['actor']} ({said['actorkind']})"
        yield f"{label}.{said['kind']} {said['target']}.{who}", {"time_ms": row["updated_ms"]}
    else:
        for name, value in said.items():
            yield f"{label}.{row['item_id']}.{name}", value
