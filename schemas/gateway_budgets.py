"""Events about the gateway's budget policies: what may be spent in a window of time."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content
from .items import ItemEvent

__all__ = [
    "GatewayBudgetContent",
    "GatewayBudgetCreated",
    "GatewayBudgetDeleted",
    "GatewayBudgetEvent",
    "GatewayBudgetUpdated",
]


class GatewayBudgetEvent(ItemEvent):
    """Anything that happens to one budget policy."""

    kind: ClassVar[str] = "gateway_budgets"
    id_field: ClassVar[str] = "budget_policy_id"
    budget_policy_id: str


class GatewayBudgetContent(Content):
    """Whom the policy is for: an endpoint's id or a user's name; and who made and changed it."""

    target_value: str | None = None
    created_by: str | None = None
    last_updated_by: str | None = None


class GatewayBudgetCreated(GatewayBudgetEvent):
    """A budget policy was created; units, scope and action are MLflow's words."""

    topic_name: ClassVar[str] = "catalog"
    budget_unit: str
    budget_amount: float
    duration_unit: str
    duration_value: int
    target_scope: str
    budget_action: str
    content: GatewayBudgetContent | None = None


class GatewayBudgetUpdated(GatewayBudgetEvent):
    """A budget policy changed; what is absent stays as it was, what is ``cleared`` went."""

    topic_name: ClassVar[str] = "catalog"
    budget_unit: str | None = None
    budget_amount: float | None = None
    duration_unit: str | None = None
    duration_value: int | None = None
    target_scope: str | None = None
    budget_action: str | None = None
    cleared: list[str] = Field(default_factory=list)
    content: GatewayBudgetContent | None = None


class GatewayBudgetDeleted(GatewayBudgetEvent):
    """A budget policy was deleted."""

    topic_name: ClassVar[str] = "catalog"
