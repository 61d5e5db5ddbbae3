"""Rules about the gateway's guardrails; each endpoint that one guards is an item of its own."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    GatewayEndpointEvent,
    GatewayGuardrailCreated,
    GatewayGuardrailDeleted,
    GatewayGuardrailEvent,
    GatewayGuardrailUseCreated,
    GatewayGuardrailUseDeleted,
    GatewayGuardrailUseEvent,
    GatewayGuardrailUseUpdated,
    Reason,
    ScorerEvent,
    ScorerVersionEvent,
)

from .context import Context, rule
from .items import Family, Reference, forget_item

__all__: list[str] = []

_NO_GUARDRAIL = "Guardrail not found (guardrail_id='{id}')"

_GUARDRAILS = Family(
    missing=_NO_GUARDRAIL,
    exists="The guardrail {id} already exists",
    references=(
        Reference("scorer_id", ScorerEvent.kind, "Scorer with ID '{id}' not found."),
        Reference(
            "version_uid",
            ScorerVersionEvent.kind,
            "Scorer with ID '{scorer_id}' and version {scorer_version} not found.",
        ),
        Reference(
            "action_endpoint_id",
            GatewayEndpointEvent.kind,
            "GatewayEndpoint not found (endpoint_id='{id}')",
            Reason.BAD_REQUEST,
        ),
    ),
).created(GatewayGuardrailCreated)
(
    Family(
        parent="endpoint_id",
        parent_kind=GatewayEndpointEvent.kind,
        parent_missing="Endpoint not found (endpoint_id='{id}')",
        id_parts=("endpoint_id", "guardrail_id"),
        missing="GuardrailConfig not found (endpoint_id='{endpoint_id}', "
        "guardrail_id='{guardrail_id}')",
        exists="Guardrail '{guardrail_id}' is already added to endpoint '{endpoint_id}'",
        references=(Reference("guardrail_id", GatewayGuardrailEvent.kind, _NO_GUARDRAIL),),
    )
    .created(GatewayGuardrailUseCreated)
    .updated(GatewayGuardrailUseUpdated)
    .deleted(GatewayGuardrailUseDeleted)
)


@rule(GatewayGuardrailDeleted)
def guardrail_deleted(context: Context, event: GatewayGuardrailDeleted) -> None:
    """A guardrail goes from all endpoints; these stay."""
    _GUARDRAILS.existing(context, event)
    uses = context.db.execute(
        "SELECT item_id FROM items WHERE kind = ? AND json_extract(fields, '$.guardrail_id') = ?",
        (GatewayGuardrailUseEvent.kind, event.guardrail_id),
    ).fetchall()
    for (use_id,) in uses:
        forget_item(context, GatewayGuardrailUseEvent.kind, use_id)
    forget_item(context, event.kind, event.guardrail_id)
