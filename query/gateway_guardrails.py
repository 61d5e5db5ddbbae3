"""Reading the gateway's guardrails with what they name."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from .items import Item, items_by_id, items_of
from .scorers import ScorerVersionRow, scorer_versions_by_uid

__all__ = [
    "GatewayGuardrailRow",
    "gateway_guardrail_rows",
    "guardrail_uses",
    "is_guarding",
]

_GUARDRAILS, _USES, _ENDPOINTS = "gateway_guardrails", "gateway_guardrail_uses", "gateway_endpoints"


class GatewayGuardrailRow(NamedTuple):
    """A guardrail; an endpoint for its action that was deleted is none."""

    item: Item
    scorer: ScorerVersionRow
    action_endpoint_name: str | None


def gateway_guardrail_rows(
    db: sqlite3.Connection, items: Sequence[Item]
) -> list[GatewayGuardrailRow]:
    """Guardrails with the scorers' versions and endpoints that they name, in the same order."""
    scorers = scorer_versions_by_uid(db, {item.fields["version_uid"] for item in items})
    wanted = {item.fields["action_endpoint_id"]: 1 for item in items if _acts(item)}
    names = {endpoint.item_id: endpoint.name for endpoint in items_by_id(db, _ENDPOINTS, wanted)}
    return [
        GatewayGuardrailRow(
            item,
            scorers[item.fields["version_uid"]],
            names.get(item.fields.get("action_endpoint_id", "")),
        )
        for item in items
    ]


def guardrail_uses(
    db: sqlite3.Connection, endpoint_id: str
) -> list[tuple[Item, GatewayGuardrailRow]]:
    """The guardrails of an endpoint, each with its place there, as they run."""
    uses = sorted(items_of(db, _USES, f"{_ENDPOINTS}:/{endpoint_id}"), key=_place)
    guardrails = items_by_id(db, _GUARDRAILS, [use.fields["guardrail_id"] for use in uses])
    return list(zip(uses, gateway_guardrail_rows(db, guardrails), strict=True))


def is_guarding(db: sqlite3.Connection, scorer_id: str, version_uid: str | None = None) -> bool:
    """Whether a guardrail names a scorer, or one version of it."""
    matching = {"scorer_id": scorer_id} | ({"version_uid": version_uid} if version_uid else {})
    return bool(items_of(db, _GUARDRAILS, matching=matching, limit=1))


def _acts(item: Item) -> bool:
    return "action_endpoint_id" in item.fields


def _place(use: Item) -> tuple[bool, int, str]:
    order = use.fields.get("execution_order")
    return order is None, order or 0, use.fields["guardrail_id"]
