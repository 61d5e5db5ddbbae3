"""Events about the gateway's guardrails, and the endpoints whose requests they guard."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content
from .items import ItemEvent

__all__ = [
    "GatewayGuardrailContent",
    "GatewayGuardrailCreated",
    "GatewayGuardrailDeleted",
    "GatewayGuardrailEvent",
    "GatewayGuardrailUseContent",
    "GatewayGuardrailUseCreated",
    "GatewayGuardrailUseDeleted",
    "GatewayGuardrailUseEvent",
    "GatewayGuardrailUseUpdated",
]


class GatewayGuardrailEvent(ItemEvent):
    """Anything that happens to one guardrail."""

    kind: ClassVar[str] = "gateway_guardrails"
    id_field: ClassVar[str] = "guardrail_id"
    guardrail_id: str


class GatewayGuardrailContent(Content):
    """What the guardrail is called, and who made it."""

    name: str
    created_by: str | None = None


class GatewayGuardrailCreated(GatewayGuardrailEvent):
    """A guardrail was created from a version of a scorer; stage and action are MLflow's words."""

    topic_name: ClassVar[str] = "catalog"
    scorer_id: str
    scorer_version: int
    version_uid: str
    stage: str
    action: str
    action_endpoint_id: str | None = None
    content: GatewayGuardrailContent | None = None


class GatewayGuardrailDeleted(GatewayGuardrailEvent):
    """A guardrail was deleted, and guards no endpoint any more."""

    topic_name: ClassVar[str] = "catalog"


class GatewayGuardrailUseEvent(ItemEvent):
    """Anything that happens to a guardrail at one endpoint.

    ``use_id`` is ``<endpoint>/<guardrail>``.
    """

    kind: ClassVar[str] = "gateway_guardrail_uses"
    id_field: ClassVar[str] = "use_id"
    use_id: str


class GatewayGuardrailUseContent(Content):
    """Who added the guardrail."""

    created_by: str | None = None


class GatewayGuardrailUseCreated(GatewayGuardrailUseEvent):
    """A guardrail was added to an endpoint, which it is once; of several the lowest runs first."""

    topic_name: ClassVar[str] = "catalog"
    endpoint_id: str
    guardrail_id: str
    execution_order: int | None = None
    content: GatewayGuardrailUseContent | None = None


class GatewayGuardrailUseUpdated(GatewayGuardrailUseEvent):
    """A guardrail runs at another place among those of its endpoint, or at none in particular."""

    topic_name: ClassVar[str] = "catalog"
    execution_order: int | None = None
    cleared: list[str] = Field(default_factory=list)


class GatewayGuardrailUseDeleted(GatewayGuardrailUseEvent):
    """A guardrail guards an endpoint no more."""

    topic_name: ClassVar[str] = "catalog"
