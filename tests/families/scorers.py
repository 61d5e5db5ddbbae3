"""Scorers and their versions."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    OnlineScoringConfigContent,
    OnlineScoringConfigured,
    ScorerCreated,
    ScorerDeleted,
    ScorerVersionContent,
    ScorerVersionCreated,
    ScorerVersionDeleted,
)

FULL: tuple[Event, ...] = (
    ScorerCreated(scorer_id="s1", experiment_id="17", name="accuracy"),
    ScorerVersionCreated(
        version_uid="sv1",
        scorer_id="s1",
        content=ScorerVersionContent(
            serialized_scorer=ClaimCheck(digest="sha256:" + "2" * 64, size_bytes=2**20)
        ),
    ),
    OnlineScoringConfigured(
        scorer_id="s1",
        config_id="c1",
        sample_rate=0.25,
        cleared=["filter_string"],
        content=OnlineScoringConfigContent(filter_string="status = 'OK'"),
    ),
    ScorerVersionDeleted(version_uid="sv1"),
    ScorerDeleted(scorer_id="s1"),
)
