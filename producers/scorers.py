"""Scorers, their versions and online scoring as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mlflow_ledger.query import (
    Item,
    ScorerVersionRow,
    is_guarding,
    item_named,
    item_of,
    latest_scorer_versions,
    scorer_versions,
    scorers_configured,
)
from mlflow_ledger.schemas import (
    Event,
    GatewayEndpointCreated,
    OnlineScoringConfigContent,
    OnlineScoringConfigured,
    Reason,
    Refused,
    ScorerCreated,
    ScorerDeleted,
    ScorerVersionContent,
    ScorerVersionCreated,
    ScorerVersionDeleted,
)

from .edge import LedgerStore
from .experiments import DEFAULT_EXPERIMENT_ID, active_experiment, experiment_no
from .gateway_bindings import binding_created, bindings_dropped
from .items import of_experiment, say_with_parent
from .older_mlflow import parse_experiment_ids
from .scorer_entities import scorer_entity
from .scorer_texts import (
    check_online,
    endpoint_id_in,
    endpoint_of,
    model_in,
    named_or_kept,
    named_or_none,
)
from .scorers_in_containers import check_in_container, runs_in_container, scored_in_containers

if TYPE_CHECKING:
    from mlflow.entities import ScorerVersion
    from mlflow.genai.scorers.online.entities import OnlineScorer, OnlineScoringConfig

__all__ = ["Scorers"]

_KIND = ScorerCreated.kind
_RESOURCE = "scorer"


class Scorers(LedgerStore):
    """Register, get, list and delete scorers, and say which part of the traces they score."""

    def register_scorer(
        self, experiment_id: str, name: str, serialized_scorer: str
    ) -> ScorerVersion:
        """Register the next version of a scorer, and the scorer with its first one."""
        from mlflow.genai.scorers.scorer_utils import validate_scorer_name

        validate_scorer_name(name)

        def model(db: sqlite3.Connection) -> str | None:
            active_experiment(db, experiment_id or DEFAULT_EXPERIMENT_ID)
            return model_in(serialized_scorer)

        text = endpoint_of(self, serialized_scorer, self._ask(model))
        version = ScorerVersionCreated(
            version_uid=str(uuid.uuid4()),
            scorer_id=str(uuid.uuid4()),
            content=ScorerVersionContent(serialized_scorer=self._travelling(text)),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            number = active_experiment(db, experiment_id or DEFAULT_EXPERIMENT_ID).experiment_id
            scorer = item_named(db, _KIND, name, of_experiment(number))
            if scorer is not None:
                next_one = version.model_copy(update={"scorer_id": scorer.item_id})
                return [next_one, *_bound(db, scorer.item_id, name, text)]
            created = ScorerCreated(
                scorer_id=version.scorer_id, experiment_id=str(number), name=name
            )
            return [created, version, *_bound(db, version.scorer_id, name, text)]

        say_with_parent(self._decide, decide)

        def ask(db: sqlite3.Connection) -> ScorerVersionRow:
            scorer = _existing(db, experiment_id, name)
            rows = scorer_versions(db, scorer.item_id)
            return next(row for row in rows if row.version_uid == version.version_uid)

        return self._resolved(self._ask(ask))

    def get_scorer(
        self, experiment_id: str, name: str, version: int | None = None
    ) -> ScorerVersion:
        """A version of a scorer, or its latest."""

        def ask(db: sqlite3.Connection) -> ScorerVersionRow:
            scorer = _existing(db, experiment_id, name)
            return _versions(db, scorer, experiment_id, version)[-1]

        return self._resolved(self._ask(ask))

    def list_scorers(self, experiment_id: str) -> list[ScorerVersion]:
        """The latest version of each scorer of an active experiment, by name."""

        def ask(db: sqlite3.Connection) -> list[ScorerVersionRow]:
            number = active_experiment(db, experiment_id or DEFAULT_EXPERIMENT_ID).experiment_id
            return latest_scorer_versions(db, [number])

        return self._all_resolved(self._ask(ask))

    def list_scorers_across_experiments(self, experiment_ids: Sequence[str]) -> list[ScorerVersion]:
        """The latest version of each scorer of some experiments, by experiment and name."""
        if not experiment_ids:
            return []
        numbers = parse_experiment_ids(list(experiment_ids))
        return self._all_resolved(self._ask(lambda db: latest_scorer_versions(db, numbers)))

    def list_scorer_versions(self, experiment_id: str, name: str) -> list[ScorerVersion]:
        """All versions of a scorer in order."""

        def ask(db: sqlite3.Connection) -> list[ScorerVersionRow]:
            return _versions(db, _existing(db, experiment_id, name), experiment_id)

        return self._all_resolved(self._ask(ask))

    def delete_scorer(self, experiment_id: str, name: str, version: int | None = None) -> None:
        """Delete a version of a scorer, or the scorer with all of them."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            scorer = _existing(db, experiment_id, name)
            found = _versions(db, scorer, experiment_id, version)
            if version is None:
                event = ScorerDeleted(scorer_id=scorer.item_id)
                _check_unguarded(db, scorer, None, event)
                return [*bindings_dropped(db, _RESOURCE, scorer.item_id), event]
            gone = [ScorerVersionDeleted(version_uid=row.version_uid) for row in found]
            for each in gone:
                _check_unguarded(db, scorer, each.version_uid, each)
            return list(gone)

        self._decide(decide)

    def upsert_online_scoring_config(
        self,
        experiment_id: str,
        scorer_name: str,
        sample_rate: float,
        filter_string: str | None = None,
    ) -> OnlineScoringConfig:
        """Say which part of the traces a scorer scores, instead of what was said before."""
        from mlflow.genai.scorers.online.entities import OnlineScoringConfig

        check_online(sample_rate, filter_string)

        def ask(db: sqlite3.Connection) -> tuple[Item, list[ScorerVersionRow]]:
            scorer = _existing(db, experiment_id, scorer_name)
            return scorer, latest_scorer_versions(db, scorer_ids=[scorer.item_id])

        scorer, latest = self._ask(ask)
        if latest and sample_rate > 0:
            self._check_scorable(scorer_name, latest[0])
        number = experiment_no(experiment_id)
        event = OnlineScoringConfigured(
            scorer_id=scorer.item_id,
            config_id=uuid.uuid4().hex,
            sample_rate=sample_rate,
            cleared=["filter_string"] if filter_string is None else [],
            content=OnlineScoringConfigContent(filter_string=filter_string),
        )
        self._write(event)
        return OnlineScoringConfig(
            online_scoring_config_id=event.config_id,
            scorer_id=scorer.item_id,
            sample_rate=sample_rate,
            experiment_id=str(number),
            filter_string=filter_string,
        )

    def get_online_scoring_configs(self, scorer_ids: list[str]) -> list[OnlineScoringConfig]:
        """What scorers were told of which part of the traces to score."""

        def ask(db: sqlite3.Connection) -> list[Item | None]:
            return [item_of(db, _KIND, scorer_id) for scorer_id in dict.fromkeys(scorer_ids)]

        return [
            _config(scorer)
            for scorer in self._ask(ask)
            if scorer is not None and "config_id" in scorer.fields
        ]

    def get_active_online_scorers(self) -> list[OnlineScorer]:
        """The latest versions that score a part of the traces, by experiment and name."""
        from mlflow.genai.scorers.online.entities import OnlineScorer
        from mlflow.genai.scorers.scorer_utils import is_gateway_model

        def ask(db: sqlite3.Connection) -> list[tuple[Item, ScorerVersionRow]]:
            scorers = {s.item_id: s for s in scorers_configured(db) if s.fields["sample_rate"] > 0}
            rows = latest_scorer_versions(db, scorer_ids=scorers)
            return [(scorers[row.scorer_id], row) for row in rows]

        found = [(scorer, row, self._text(row)) for scorer, row in self._ask(ask)]
        return [
            OnlineScorer(
                name=row.name,
                serialized_scorer=named_or_kept(self, text),
                online_config=_config(scorer),
                scorer_version=row.version,
            )
            for scorer, row, text in found
            if is_gateway_model(model_in(text)) or runs_in_container(row.name, text)
        ]

    def _check_scorable(self, name: str, latest: ScorerVersionRow) -> None:
        """Refuse what cannot score traces on its own: only judges of the gateway can."""
        from mlflow.genai.judges.instructions_judge import EXPECTATIONS_FIELD, InstructionsJudge
        from mlflow.genai.scorers.base import Scorer
        from mlflow.genai.scorers.scorer_utils import is_gateway_model

        text = self._text(latest)
        if scored_in_containers(text):
            check_in_container(name, text)
            return
        if not is_gateway_model(model_in(text)):
            raise MlflowException(
                f"Scorer '{name}' does not use a gateway model. "
                "Automatic evaluation is only supported for scorers that use gateway models.",
                INVALID_PARAMETER_VALUE,
            )
        try:
            scorer = Scorer.model_validate_json(text)
        except Exception:  # noqa: BLE001  # as upstream: what it cannot read, it lets through
            return
        if isinstance(scorer, InstructionsJudge) and EXPECTATIONS_FIELD in (
            scorer.get_input_fields()
        ):
            raise MlflowException(
                f"Scorer '{name}' requires expectations, but scorers with "
                "expectations are not currently supported for automatic evaluation.",
                INVALID_PARAMETER_VALUE,
            )

    def _text(self, row: ScorerVersionRow) -> str:
        return self._arrived(row.serialized_scorer) or "{}"  # nothing where it was erased

    def _resolved(self, row: ScorerVersionRow) -> ScorerVersion:
        text = self._text(row)
        return scorer_entity(row, named_or_none(self, text))

    def _all_resolved(self, rows: Iterable[ScorerVersionRow]) -> list[ScorerVersion]:
        # As upstream, where a list writes each text anew, and a read of one does not.
        return [
            scorer_entity(row, json.dumps(json.loads(named_or_none(self, self._text(row)))))
            for row in rows
        ]


def _bound(db: sqlite3.Connection, scorer_id: str, name: str, text: str) -> list[Event]:
    """What binds a scorer to the endpoint that its text names, in place of another."""
    endpoint_id = endpoint_id_in(text)
    if endpoint_id is None or item_of(db, GatewayEndpointCreated.kind, endpoint_id) is None:
        return []
    bound = binding_created(endpoint_id, _RESOURCE, scorer_id, display_name=name)
    return [*bindings_dropped(db, _RESOURCE, scorer_id), bound]


def _existing(db: sqlite3.Connection, experiment_id: str, name: str) -> Item:
    number = active_experiment(db, experiment_id or DEFAULT_EXPERIMENT_ID).experiment_id
    scorer = item_named(db, _KIND, name, of_experiment(number))
    if scorer is None:
        raise _missing(name, experiment_id)
    return scorer


def _versions(
    db: sqlite3.Connection, scorer: Item, experiment_id: str, version: int | None = None
) -> list[ScorerVersionRow]:
    """The versions of a scorer, or the one of a number; there is at least one."""
    rows = scorer_versions(db, scorer.item_id, version)
    if not rows:
        raise _missing(scorer.name, experiment_id, version)
    return rows


def _check_unguarded(
    db: sqlite3.Connection, scorer: Item, version_uid: str | None, event: Event
) -> None:
    if is_guarding(db, scorer.item_id, version_uid):
        msg = "Cannot delete a scorer that a guardrail names. Delete the guardrail first."
        raise Refused(Reason.BAD_REQUEST, msg, event)


def _missing(name: str | None, experiment_id: str, version: int | None = None) -> Refused:
    which = "" if version is None else f" and version {version}"
    return Refused(
        Reason.MISSING,
        f"Scorer with name '{name}'{which} not found for experiment {experiment_id}.",
    )


def _config(scorer: Item) -> OnlineScoringConfig:
    from mlflow.genai.scorers.online.entities import OnlineScoringConfig

    return OnlineScoringConfig(
        online_scoring_config_id=scorer.fields["config_id"],
        scorer_id=scorer.item_id,
        sample_rate=scorer.fields["sample_rate"],
        experiment_id=scorer.parent_id,
        filter_string=scorer.fields.get("filter_string"),
    )
