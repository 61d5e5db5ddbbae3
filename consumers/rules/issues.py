"""Rules about issues."""

from __future__ import annotations

from typing import Any

from mlflow_ledger.schemas import IssueCreated, IssueUpdated

from .context import Context, rule
from .items import Family

__all__: list[str] = []


def _derive(_: Context, fields: dict[str, Any]) -> None:
    metadata = _entries(fields.pop("metadata", ()))
    if metadata:
        fields["metadata"] = metadata


FAMILY = Family(
    parent="experiment_id",
    missing="Issue with ID '{id}' not found",
    exists="Issue ID already exists",
    derive=_derive,
).created(IssueCreated)


@rule(IssueUpdated)
def updated(context: Context, event: IssueUpdated) -> None:
    """Metadata changes key by key, so that no host undoes what another wrote."""
    before = FAMILY.fields_of(context, event)
    FAMILY.update(context, event)
    fields = FAMILY.fields_of(context, event)
    if event.last_seen_ms is not None:
        seen_ms = before.get("last_seen_ms", _created_ms(context, event))
        fields["last_seen_ms"] = max(seen_ms, event.last_seen_ms)
    gone = fields.pop("metadata_deleted", ())
    if "metadata" in fields:
        given = fields["metadata"] if event.content and event.content.metadata is not None else ()
        kept = before.get("metadata", {}) | _entries(given)
        fields["metadata"] = {key: kept[key] for key in kept if key not in gone}
    FAMILY.save(context, event, fields, updated=False)


def _entries(metadata: Any) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in metadata}


def _created_ms(context: Context, event: IssueUpdated) -> int:
    (created_ms,) = context.row(
        "SELECT created_ms FROM items WHERE kind = ? AND item_id = ?", event.kind, event.key
    )
    return int(created_ms)
