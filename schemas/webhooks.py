"""Events about webhooks. Secrets are encrypted before they reach an event."""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Event

__all__ = [
    "WebhookContent",
    "WebhookCreated",
    "WebhookDeleted",
    "WebhookEvent",
    "WebhookUpdated",
]


class WebhookEvent(Event):
    """Anything that happens to one webhook."""

    webhook_id: str

    @property
    def key(self) -> str:
        """The webhook's id."""
        return self.webhook_id

    @property
    def subject(self) -> str:
        """``webhooks:/<id>``."""
        return f"webhooks:/{self.webhook_id}"


class WebhookContent(Content):
    """Name, address and the encrypted secret; in an update, what is absent stays as it was."""

    name: str | None = None
    url: str | None = None
    description: str | None = None
    secret: str | None = None


class WebhookCreated(WebhookEvent):
    """A webhook was created; ``actions`` are MLflow's ``entity.action`` names."""

    topic_name: ClassVar[str] = "catalog"
    status: str
    actions: list[str]
    content: WebhookContent | None = None


class WebhookUpdated(WebhookEvent):
    """A webhook changed; what is absent stays as it was."""

    topic_name: ClassVar[str] = "catalog"
    status: str | None = None
    actions: list[str] | None = None
    content: WebhookContent | None = None


class WebhookDeleted(WebhookEvent):
    """A webhook was deleted."""

    topic_name: ClassVar[str] = "catalog"
