"""The gateway's guardrails as MLflow's tracking store keeps them."""

from __future__ import annotations

import sqlite3
import uuid

from mlflow.entities.gateway_guardrail import (
    GatewayGuardrail,
    GatewayGuardrailConfig,
    GuardrailAction,
    GuardrailStage,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT

from mlflow_ledger.query import (
    GatewayGuardrailRow,
    Item,
    ScorerVersionRow,
    gateway_guardrail_rows,
    guardrail_uses,
    item_of,
    items_of,
    scorer_versions,
)
from mlflow_ledger.schemas import (
    Event,
    GatewayEndpointCreated,
    GatewayGuardrailContent,
    GatewayGuardrailCreated,
    GatewayGuardrailDeleted,
    GatewayGuardrailUseContent,
    GatewayGuardrailUseCreated,
    GatewayGuardrailUseDeleted,
    GatewayGuardrailUseUpdated,
    Reason,
    Refused,
    ScorerCreated,
)

from .edge import LedgerStore, start_offset, whole
from .experiments import check_max_results
from .gateway_endpoints import existing_endpoint
from .items import existing_item, found_page
from .older_mlflow import is_custom_code
from .scorer_entities import scorer_entity

__all__ = ["GatewayGuardrails"]

_KIND, _USES = GatewayGuardrailCreated.kind, GatewayGuardrailUseCreated.kind


class GatewayGuardrails(LedgerStore):
    """Create, get, list and delete guardrails; add them to endpoints."""

    def create_gateway_guardrail(
        self,
        name: str,
        scorer_id: str,
        scorer_version: int,
        stage: GuardrailStage,
        action: GuardrailAction,
        action_endpoint_id: str | None = None,
        created_by: str | None = None,
    ) -> GatewayGuardrail:
        """Create a guardrail from a version of a scorer, which must not be code."""
        row = self._ask(lambda db: _scorer(db, scorer_id, scorer_version))
        if is_custom_code(self._serialized(row)):
            raise MlflowException(
                "Gateway guardrails do not support custom scorers defined with the @scorer "
                "decorator. Use a built-in scorer or a judge created with make_judge.",
                INVALID_PARAMETER_VALUE,
            )
        event = GatewayGuardrailCreated(
            guardrail_id=f"gr-{uuid.uuid4().hex}",
            scorer_id=scorer_id,
            scorer_version=scorer_version,
            version_uid=row.version_uid,
            stage=stage.value,
            action=action.value,
            action_endpoint_id=action_endpoint_id,
            content=GatewayGuardrailContent(name=name, created_by=created_by),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            _scorer(db, scorer_id, scorer_version, event)
            _check_action(db, event)
            return [event]

        self._decide(decide)
        return self.get_gateway_guardrail(event.guardrail_id)

    def get_gateway_guardrail(self, guardrail_id: str) -> GatewayGuardrail:
        """A guardrail by its id."""

        def ask(db: sqlite3.Connection) -> GatewayGuardrailRow:
            [row] = gateway_guardrail_rows(db, [_existing(db, guardrail_id)])
            return row

        return self._guardrail(self._ask(ask))

    def list_gateway_guardrails(
        self, max_results: int = SEARCH_MAX_RESULTS_DEFAULT, page_token: str | None = None
    ) -> PagedList[GatewayGuardrail]:
        """A page of guardrails, by id."""
        check_max_results(max_results)
        offset = start_offset(page_token)

        def ask(db: sqlite3.Connection) -> list[GatewayGuardrailRow]:
            items = sorted(items_of(db, _KIND), key=lambda item: item.item_id)
            return gateway_guardrail_rows(db, items[offset : offset + max_results + 1])

        return found_page(self._ask(ask), max_results, offset, self._guardrail)

    def delete_gateway_guardrail(self, guardrail_id: str) -> None:
        """Delete a guardrail, at all endpoints too."""
        event = GatewayGuardrailDeleted(guardrail_id=guardrail_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, guardrail_id, event)
            return [event]

        self._decide(decide)

    def add_guardrail_to_endpoint(
        self,
        endpoint_id: str,
        guardrail_id: str,
        execution_order: int | None = None,
        created_by: str | None = None,
    ) -> GatewayGuardrailConfig:
        """Have a guardrail guard an endpoint."""
        event = GatewayGuardrailUseCreated(
            use_id=f"{endpoint_id}/{guardrail_id}",
            endpoint_id=endpoint_id,
            guardrail_id=guardrail_id,
            execution_order=whole(execution_order),
            content=GatewayGuardrailUseContent(created_by=created_by),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_endpoint(db, endpoint_id, event, noun="Endpoint")
            _existing(db, guardrail_id, event)
            if item_of(db, _USES, event.use_id):
                msg = f"Guardrail '{guardrail_id}' is already added to endpoint '{endpoint_id}'"
                raise Refused(Reason.EXISTS, msg, event)
            return [event]

        self._decide(decide)
        return self._added(endpoint_id, guardrail_id)

    def update_endpoint_guardrail_config(
        self, endpoint_id: str, guardrail_id: str, execution_order: int | None = None
    ) -> GatewayGuardrailConfig:
        """Say when a guardrail of an endpoint runs among its others."""
        event = GatewayGuardrailUseUpdated(
            use_id=f"{endpoint_id}/{guardrail_id}",
            execution_order=whole(execution_order),
            cleared=["execution_order"] if execution_order is None else [],
        )
        self._about_use(endpoint_id, guardrail_id, event)
        return self._added(endpoint_id, guardrail_id)

    def remove_guardrail_from_endpoint(self, endpoint_id: str, guardrail_id: str) -> None:
        """Have a guardrail guard an endpoint no more."""
        event = GatewayGuardrailUseDeleted(use_id=f"{endpoint_id}/{guardrail_id}")
        self._about_use(endpoint_id, guardrail_id, event)

    def list_endpoint_guardrail_configs(self, endpoint_id: str) -> list[GatewayGuardrailConfig]:
        """The guardrails of an endpoint, as they run."""

        def ask(db: sqlite3.Connection) -> list[tuple[Item, GatewayGuardrailRow]]:
            existing_endpoint(db, endpoint_id, noun="Endpoint")
            return guardrail_uses(db, endpoint_id)

        return [self._config(use, row) for use, row in self._ask(ask)]

    def _about_use(
        self,
        endpoint_id: str,
        guardrail_id: str,
        event: GatewayGuardrailUseUpdated | GatewayGuardrailUseDeleted,
    ) -> None:
        missing = (
            f"GuardrailConfig not found (endpoint_id='{endpoint_id}', "
            f"guardrail_id='{guardrail_id}')"
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_item(db, _USES, event.use_id, missing, event)
            return [event]

        self._decide(decide)

    def _added(self, endpoint_id: str, guardrail_id: str) -> GatewayGuardrailConfig:
        configs = self.list_endpoint_guardrail_configs(endpoint_id)
        return next(config for config in configs if config.guardrail_id == guardrail_id)

    def _serialized(self, row: ScorerVersionRow) -> str:
        return self._arrived(row.serialized_scorer) or "{}"  # nothing where it was erased

    def _guardrail(self, row: GatewayGuardrailRow) -> GatewayGuardrail:
        item, scorer = row.item, row.scorer
        created_by = item.fields.get("created_by")
        return GatewayGuardrail(
            guardrail_id=item.item_id,
            name=item.fields.get("name", ""),
            scorer=scorer_entity(scorer, self._serialized(scorer)),
            stage=GuardrailStage(item.fields["stage"]),
            action=GuardrailAction(item.fields["action"]),
            created_at=item.created_ms,
            last_updated_at=item.created_ms,
            action_endpoint_name=row.action_endpoint_name,
            created_by=created_by,
            last_updated_by=created_by,
            workspace=item.workspace,
        )

    def _config(self, use: Item, row: GatewayGuardrailRow) -> GatewayGuardrailConfig:
        return GatewayGuardrailConfig(
            endpoint_id=use.parent_id,
            guardrail_id=use.fields["guardrail_id"],
            execution_order=use.fields.get("execution_order"),
            created_at=use.created_ms,
            guardrail=self._guardrail(row),
            created_by=use.fields.get("created_by"),
            workspace=use.workspace,
        )


def _existing(db: sqlite3.Connection, guardrail_id: str, event: Event | None = None) -> Item:
    missing = f"Guardrail not found (guardrail_id='{guardrail_id}')"
    return existing_item(db, _KIND, guardrail_id, missing, event)


def _scorer(
    db: sqlite3.Connection, scorer_id: str, version: int | None, event: Event | None = None
) -> ScorerVersionRow:
    """The version of a scorer that is asked for, which must be there, or its latest."""
    missing = f"Scorer with ID '{scorer_id}' not found."
    existing_item(db, ScorerCreated.kind, scorer_id, missing, event)
    rows = scorer_versions(db, scorer_id, version)
    if not rows:
        which = "" if version is None else f" and version {version}"
        msg = f"Scorer with ID '{scorer_id}'{which} not found."
        raise Refused(Reason.MISSING, msg, event)
    return rows[-1]


def _check_action(db: sqlite3.Connection, event: GatewayGuardrailCreated) -> None:
    endpoint_id = event.action_endpoint_id
    if endpoint_id is not None and not item_of(db, GatewayEndpointCreated.kind, endpoint_id):
        msg = f"GatewayEndpoint not found (endpoint_id='{endpoint_id}')"
        raise Refused(Reason.BAD_REQUEST, msg, event)
