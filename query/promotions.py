"""Reading promotion rules and approvals from the keyed state."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

__all__ = ["ApprovalRow", "PromotionRuleRow", "promotion_approvals", "promotion_rules"]


class PromotionRuleRow(NamedTuple):
    """A rule: what it is about, and what it asks for, as its event said it."""

    rule: str
    rule_id: str
    kind: str
    aliases: list[str]
    stages: list[str]
    keepers: list[str]
    authenticated: bool
    approvals: int
    approvers: list[str]
    tag: str | None
    value: str | None
    metric: str | None
    at_least: float | None
    at_most: float | None
    artifact: str | None
    public_key: str | None

    @property
    def checked_by(self) -> str:
        """Who decides about it: the fold, the producer, or first the one and then the other."""
        if self.kind in ("metric", "signature"):
            return "producer"
        return "fold and producer" if self.value is not None else "fold"

    def applies_to(self, kind: str, target: str) -> bool:
        """Whether it is about this alias or stage."""
        return target in (self.aliases if kind == "alias" else self.stages)


class ApprovalRow(NamedTuple):
    """An approval: of which version, for what, by whom, and when (milliseconds since 1970)."""

    version_uid: str
    version: int
    kind: str
    target: str
    actor: str
    actorkind: str
    time_ms: int


_ITEMS = "SELECT name, fields, updated_ms FROM items WHERE parent = ? AND kind = ? ORDER BY item_id"


def promotion_rules(db: sqlite3.Connection, uid: str) -> list[PromotionRuleRow]:
    """The rules of the model with this uid, in order of their names."""
    rows = db.execute(_ITEMS, (f"promotions:/{uid}", "promotion_rules")).fetchall()
    return [PromotionRuleRow(rule=name, **json.loads(fields)) for name, fields, _ in rows]


def promotion_approvals(db: sqlite3.Connection, uid: str) -> list[ApprovalRow]:
    """The approvals of versions of the model with this uid."""
    numbers = dict(
        db.execute(
            "SELECT v.uid, version FROM model_versions v JOIN registered_models m USING (model_no) "
            "WHERE m.uid = ?",
            (uid,),
        ).fetchall()
    )
    rows = db.execute(_ITEMS, (f"promotions:/{uid}", "promotion_approvals")).fetchall()
    said: list[tuple[dict[str, Any], int]] = [(json.loads(f), time_ms) for _, f, time_ms in rows]
    return sorted(
        (
            ApprovalRow(version=numbers[fields["version_uid"]], time_ms=time_ms, **fields)
            for fields, time_ms in said
        ),
        key=lambda row: (row.version, row.kind, row.target, row.time_ms),
    )
