"""Webhooks as MLflow's registry store keeps them; secrets are encrypted before they are said."""

from __future__ import annotations

import os
import sqlite3
import uuid

from cryptography.fernet import Fernet, InvalidToken
from mlflow.entities.webhook import (
    Webhook,
    WebhookAction,
    WebhookEntity,
    WebhookEvent,
    WebhookStatus,
)
from mlflow.environment_variables import MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchUtils
from mlflow.utils.validation import (
    _validate_webhook_events,
    _validate_webhook_name,
    _validate_webhook_url,
)

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.query import WebhookRow, webhook_row, webhook_rows
from mlflow_ledger.schemas import (
    Event,
    Reason,
    Refused,
    SettingsError,
    WebhookContent,
    WebhookCreated,
    WebhookDeleted,
    WebhookUpdated,
)

from .edge import LedgerStore, start_offset

__all__ = ["Webhooks", "secret_of"]

_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000


class Webhooks(LedgerStore):
    """Create, get, list, update and delete webhooks."""

    def create_webhook(
        self,
        name: str,
        url: str,
        events: list[WebhookEvent],
        description: str | None = None,
        secret: str | None = None,
        status: WebhookStatus | None = None,
    ) -> Webhook:
        """Create a webhook, active unless another status is given."""
        _validate_webhook_name(name)
        _validate_webhook_url(url)
        _validate_webhook_events(events)
        webhook_id = str(uuid.uuid4())

        def decide(_: sqlite3.Connection) -> list[Event]:
            content = WebhookContent(
                name=name, url=url, description=description, secret=self._encrypted(secret)
            )
            event = WebhookCreated(
                webhook_id=webhook_id,
                status=(status or WebhookStatus.ACTIVE).value,
                actions=_actions(events),
                content=content,
            )
            _refuse_repeated(event, event.actions)
            return [event]

        self._decide(decide)
        return self.get_webhook(webhook_id)

    def get_webhook(self, webhook_id: str) -> Webhook:
        """A webhook, with its secret."""
        return self._webhook(self._ask(lambda db: _existing(db, webhook_id)))

    def list_webhooks(
        self, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Webhook]:
        """A page of webhooks, newest first."""
        return self._page(None, max_results, page_token)

    def list_webhooks_by_event(
        self, event: WebhookEvent, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Webhook]:
        """A page of the webhooks that listen for an event, newest first.

        MLflow's server asks it whom to tell. Where a bridge tells them from the log, there is
        nobody left for what stands there; of budgets that are exceeded the log knows nothing.
        """
        bridged = self._ledger.settings.webhooks == "bridge"
        if bridged and event.entity is not WebhookEntity.BUDGET_POLICY:
            return PagedList([], None)
        return self._page(_actions([event])[0], max_results, page_token)

    def update_webhook(
        self,
        webhook_id: str,
        name: str | None = None,
        description: str | None = None,
        url: str | None = None,
        events: list[WebhookEvent] | None = None,
        secret: str | None = None,
        status: WebhookStatus | None = None,
    ) -> Webhook:
        """Change what is given."""
        attempt = WebhookUpdated(webhook_id=webhook_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, webhook_id, attempt)
            if name is not None:
                _validate_webhook_name(name)
            if url is not None:
                _validate_webhook_url(url)
            if events is not None:
                _validate_webhook_events(events)
                _refuse_repeated(attempt, _actions(events))
            update = {
                "status": None if status is None else status.value,
                "actions": None if events is None else _actions(events),
                "content": WebhookContent(
                    name=name, url=url, description=description, secret=self._encrypted(secret)
                ),
            }
            return [attempt.model_copy(update=update)]

        self._decide(decide)
        return self.get_webhook(webhook_id)

    def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook."""
        self._write(WebhookDeleted(webhook_id=webhook_id))

    def _page(
        self, action: str | None, max_results: int | None, page_token: str | None
    ) -> PagedList[Webhook]:
        size = max_results or _DEFAULT_PAGE
        if size < 1 or size > _LARGEST_PAGE:
            raise MlflowException(
                "max_results must be between 1 and 1000.", INVALID_PARAMETER_VALUE
            )
        offset = start_offset(page_token)
        rows = self._ask(lambda db: webhook_rows(db, size + 1, offset, action))
        token = SearchUtils.create_page_token(offset + size) if len(rows) > size else None
        return PagedList([self._webhook(row) for row in rows[:size]], token)

    def _webhook(self, row: WebhookRow) -> Webhook:
        return Webhook(
            webhook_id=row.webhook_id,
            name=row.name or "",
            url=row.url or "",
            events=[_event(action) for action in row.actions],
            creation_timestamp=row.created_ms,
            last_updated_timestamp=row.updated_ms,
            description=row.description,
            status=WebhookStatus(row.status),
            secret=secret_of(self._ledger, row.secret),
            workspace=row.workspace,
        )

    def _encrypted(self, secret: str | None) -> str | None:
        return None if secret is None else _cipher(self._ledger).encrypt(secret.encode()).decode()


def secret_of(ledger: Ledger, encrypted: str | None) -> str | None:
    """The secret of a webhook in clear.

    Raises:
        SettingsError: the key is not the one that it was encrypted with.
    """
    if encrypted is None:
        return None
    try:
        return _cipher(ledger).decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        msg = (
            "the secret of a webhook was encrypted with another key; set "
            f"{MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY.name} to the one it was created with"
        )
        raise SettingsError(msg) from error


def _cipher(ledger: Ledger) -> Fernet:
    """The cipher of MLflow's key; without one, of a key beside the log that only we read."""
    key = MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY.get()
    if key:
        return Fernet(key)
    if ledger.shared:
        msg = (
            "several hosts share this ledger, and with it the secrets of webhooks; set "
            f"{MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY.name} to the same key on all of them"
        )
        raise SettingsError(msg)
    path = ledger.folder / "webhooks.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return Fernet(path.read_bytes())
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key())
    return Fernet(path.read_bytes())


def _existing(db: sqlite3.Connection, webhook_id: str, event: Event | None = None) -> WebhookRow:
    row = webhook_row(db, webhook_id)
    if row is None:
        raise Refused(Reason.MISSING, f"Webhook with ID {webhook_id} not found.", event)
    return row


def _refuse_repeated(event: Event, actions: list[str]) -> None:
    if len(set(actions)) < len(actions):
        raise Refused(Reason.BAD_REQUEST, "an event is given twice", event)


def _actions(events: list[WebhookEvent]) -> list[str]:
    return [f"{event.entity.value}.{event.action.value}" for event in events]


def _event(action: str) -> WebhookEvent:
    entity, _, verb = action.rpartition(".")
    return WebhookEvent(entity=WebhookEntity(entity), action=WebhookAction(verb))
