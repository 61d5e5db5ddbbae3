"""The gateway's budget policies as MLflow's tracking store keeps them."""

from __future__ import annotations

import math
import sqlite3
import uuid
from typing import Any

from mlflow.entities.gateway_budget_policy import (
    BudgetAction,
    BudgetDuration,
    BudgetDurationUnit,
    BudgetTargetScope,
    BudgetUnit,
    GatewayBudgetPolicy,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT

from mlflow_ledger.query import Item, items_of
from mlflow_ledger.schemas import (
    Event,
    GatewayBudgetContent,
    GatewayBudgetCreated,
    GatewayBudgetDeleted,
    GatewayBudgetUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore
from .experiments import check_max_results
from .gateway_endpoints import existing_endpoint
from .items import existing_item, page_of

__all__ = ["GatewayBudgets"]

_KIND = GatewayBudgetCreated.kind
_ENDPOINT, _USER = "ENDPOINT", "USER"  # MLflow 3.12 does not know them
_TARGETED = (_ENDPOINT, _USER)
_WORDS = {
    "budget_unit": BudgetUnit,
    "target_scope": BudgetTargetScope,
    "budget_action": BudgetAction,
}


class GatewayBudgets(LedgerStore):
    """Create, get, list, change and delete budget policies."""

    def create_budget_policy(
        self,
        budget_unit: BudgetUnit,
        budget_amount: float,
        duration: BudgetDuration,
        target_scope: BudgetTargetScope,
        budget_action: BudgetAction,
        created_by: str | None = None,
        target_value: str | None = None,
    ) -> GatewayBudgetPolicy:
        """Create a budget policy, for an endpoint that must be there where it is for one."""
        scope = _word(target_scope)
        target = _target(scope, target_value)
        event = GatewayBudgetCreated(
            budget_policy_id=f"bp-{uuid.uuid4().hex}",
            budget_unit=_word(budget_unit),
            budget_amount=budget_amount,
            duration_unit=duration.unit.value,
            duration_value=duration.value,
            target_scope=scope,
            budget_action=_word(budget_action),
            content=GatewayBudgetContent(
                target_value=target, created_by=created_by, last_updated_by=created_by
            ),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            if scope == _ENDPOINT:
                existing_endpoint(db, target or "", event)
            _check_said(event)
            return [event]

        self._decide(decide)
        return self.get_budget_policy(event.budget_policy_id)

    def get_budget_policy(self, budget_policy_id: str) -> GatewayBudgetPolicy:
        """A budget policy by its id."""
        return _entity(self._ask(lambda db: _existing(db, budget_policy_id)))

    def list_budget_policies(
        self, max_results: int = SEARCH_MAX_RESULTS_DEFAULT, page_token: str | None = None
    ) -> PagedList[GatewayBudgetPolicy]:
        """A page of budget policies, by id."""
        check_max_results(max_results)
        items: list[Item] = self._ask(lambda db: items_of(db, _KIND))
        in_order = sorted(items, key=lambda item: item.item_id)
        return page_of(in_order, max_results, page_token, _entity)

    def update_budget_policy(
        self,
        budget_policy_id: str,
        budget_unit: BudgetUnit | None = None,
        budget_amount: float | None = None,
        duration: BudgetDuration | None = None,
        target_scope: BudgetTargetScope | None = None,
        budget_action: BudgetAction | None = None,
        updated_by: str | None = None,
        target_value: str | None = None,
    ) -> GatewayBudgetPolicy:
        """Change what is given; a target stands and falls with its scope."""
        attempt = GatewayBudgetUpdated(
            budget_policy_id=budget_policy_id,
            budget_unit=_word(budget_unit),
            budget_amount=budget_amount,
            duration_unit=None if duration is None else duration.unit.value,
            duration_value=None if duration is None else duration.value,
            target_scope=_word(target_scope),
            budget_action=_word(budget_action),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            fields = _existing(db, budget_policy_id, attempt).fields
            scope = attempt.target_scope or fields["target_scope"]
            kept = fields.get("target_value") if scope == fields["target_scope"] else None
            target = _target(scope, kept if target_value is None else target_value)
            if target_value is not None and scope == _ENDPOINT:
                existing_endpoint(db, target or "", attempt)
            _check_said(attempt)
            content = GatewayBudgetContent(target_value=target, last_updated_by=updated_by)
            cleared = ["target_value"] if target is None else []
            return [attempt.model_copy(update={"content": content, "cleared": cleared})]

        self._decide(decide)
        return self.get_budget_policy(budget_policy_id)

    def delete_budget_policy(self, budget_policy_id: str) -> None:
        """Delete a budget policy."""
        event = GatewayBudgetDeleted(budget_policy_id=budget_policy_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, budget_policy_id, event)
            return [event]

        self._decide(decide)


def _word(given: Any) -> Any:
    """MLflow's word as an event says it; a text is taken as it is, and checked later."""
    return getattr(given, "value", given)


def _check_said(event: GatewayBudgetCreated | GatewayBudgetUpdated) -> None:
    """Refuse words that MLflow does not know, which it finds out last, and endless amounts."""
    if event.budget_amount is not None and not math.isfinite(event.budget_amount):
        raise Refused(Reason.INVALID, "An item's numbers must be finite", event)
    for name, kind in _WORDS.items():
        word = getattr(event, name)
        if word is not None:
            kind(word)


def _target(scope: str, target_value: str | None) -> str | None:
    """Whom a policy of a scope is for, where it is for one in particular."""
    if scope not in _TARGETED:
        return None
    if not target_value:
        raise MlflowException(
            f"target_value is required when target_scope is {scope}.", INVALID_PARAMETER_VALUE
        )
    return target_value


def _existing(db: sqlite3.Connection, budget_policy_id: str, event: Event | None = None) -> Item:
    missing = f"BudgetPolicy not found (budget_policy_id='{budget_policy_id}')"
    return existing_item(db, _KIND, budget_policy_id, missing, event)


def _entity(item: Item) -> GatewayBudgetPolicy:
    fields = item.fields
    return GatewayBudgetPolicy(
        budget_policy_id=item.item_id,
        budget_unit=BudgetUnit(fields["budget_unit"]),
        budget_amount=fields["budget_amount"],
        duration=BudgetDuration(
            unit=BudgetDurationUnit(fields["duration_unit"]), value=fields["duration_value"]
        ),
        target_scope=BudgetTargetScope(fields["target_scope"]),
        budget_action=BudgetAction(fields["budget_action"]),
        created_at=item.created_ms,
        last_updated_at=item.updated_ms,
        created_by=fields.get("created_by"),
        last_updated_by=fields.get("last_updated_by"),
        workspace=item.workspace,
        target_value=fields.get("target_value"),
    )
