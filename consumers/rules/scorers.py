"""Rules about scorers: the fold gives the numbers of their versions."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    GatewayGuardrailEvent,
    OnlineScoringConfigured,
    Reason,
    ScorerCreated,
    ScorerDeleted,
    ScorerVersionCreated,
    ScorerVersionDeleted,
)

from .items import Family, Held

__all__: list[str] = []

_NO_SCORER = "Scorer with ID '{id}' not found."
_GUARDS = "Cannot delete a scorer that a guardrail names. Delete the guardrail first."

(
    Family(
        name="name",
        parent="experiment_id",
        missing=_NO_SCORER,
        exists="Scorer with name '{name}' already exists for experiment {parent_id}.",
        held_by=(Held(GatewayGuardrailEvent.kind, "scorer_id", _GUARDS, Reason.BAD_REQUEST),),
    )
    .created(ScorerCreated)
    .updated(OnlineScoringConfigured)
    .deleted(ScorerDeleted)
)
(
    Family(
        numbered=True,
        parent="scorer_id",
        parent_kind=ScorerCreated.kind,
        parent_missing=_NO_SCORER,
        missing="Scorer version with uid '{id}' not found.",
        exists="Scorer version with uid '{id}' already exists.",
        held_by=(Held(GatewayGuardrailEvent.kind, "version_uid", _GUARDS, Reason.BAD_REQUEST),),
    )
    .created(ScorerVersionCreated)
    .deleted(ScorerVersionDeleted)
)
