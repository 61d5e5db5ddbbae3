"""Rules about scorers: the fold gives the numbers of their versions."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    OnlineScoringConfigured,
    ScorerCreated,
    ScorerDeleted,
    ScorerVersionCreated,
    ScorerVersionDeleted,
)

from .items import Family

__all__: list[str] = []

_NO_SCORER = "Scorer with ID '{id}' not found."

(
    Family(
        name="name",
        parent="experiment_id",
        missing=_NO_SCORER,
        exists="Scorer with name '{name}' already exists for experiment {parent_id}.",
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
    )
    .created(ScorerVersionCreated)
    .deleted(ScorerVersionDeleted)
)
