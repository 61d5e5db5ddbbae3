"""Versions of scorers as MLflow's entities, which its server sends to clients."""

from __future__ import annotations

from typing import Any

from mlflow.entities import ScorerVersion as MlflowScorerVersion

from mlflow_ledger.query import ScorerVersionRow

__all__ = ["scorer_entity"]

_MOST = 2**31 - 1


class ScorerVersion(MlflowScorerVersion):
    """A version of a scorer; its message has room for 32 bits of the experiment's id."""

    def to_proto(self) -> Any:
        """MLflow's message, without an id that is larger."""
        if int(self.experiment_id) <= _MOST:
            return super().to_proto()
        proto = MlflowScorerVersion(
            experiment_id="0",
            scorer_name=self.scorer_name,
            scorer_version=self.scorer_version,
            serialized_scorer=self._serialized_scorer,
            creation_time=self.creation_time,
            scorer_id=self.scorer_id,
        ).to_proto()
        proto.ClearField("experiment_id")
        return proto


def scorer_entity(row: ScorerVersionRow, text: str) -> MlflowScorerVersion:
    """A version of a scorer, with the scorer's text."""
    return ScorerVersion(
        experiment_id=str(row.experiment_no),
        scorer_name=row.name,
        scorer_version=row.version,
        serialized_scorer=text,
        creation_time=row.created_ms,
        scorer_id=row.scorer_id,
    )
