"""One delivery to one webhook, as MLflow makes it: body, headers, signature, guarded address."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
from mlflow.environment_variables import (
    _MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS,
    MLFLOW_ENABLE_WORKSPACES,
    MLFLOW_WEBHOOK_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _is_public_ip, _validate_webhook_url
from mlflow.webhooks.constants import (
    WEBHOOK_DELIVERY_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_TIMESTAMP_HEADER,
)
from mlflow.webhooks.delivery import _generate_hmac_signature
from mlflow.webhooks.ssrf import SSRFProtectionError

from mlflow_ledger.query.webhook_events import Notice
from mlflow_ledger.schemas import Envelope, LedgerError

__all__ = ["Message", "NotTaken", "WebhookSending", "delivery_id"]

_NAMESPACE = uuid.UUID("6f1ff2a8-1c1c-5d0f-9b0e-5a6a5c2b8f0d")
_MOST_ANSWER_BYTES = 64 * 1024
_LONGEST_RETRY_AFTER_S = 3600.0


class NotTaken(LedgerError):
    """A webhook did not take a delivery; ``retry_after_s`` is how long it asks to wait."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Message(NamedTuple):
    """What is sent, the same over retries and replays."""

    delivery_id: str
    body: str

    @classmethod
    def of(cls, envelope: Envelope, notice: Notice) -> Message:
        """The message about an event: MLflow's body, whose moment is the event's."""
        entity, _, action = notice.action.rpartition(".")
        moment = datetime.fromtimestamp(envelope.time_ms / 1000, UTC)
        body: dict[str, Any] = {
            "entity": entity,
            "action": action,
            "timestamp": moment.isoformat(timespec="microseconds"),
            "data": notice.data,
        }
        if MLFLOW_ENABLE_WORKSPACES.get():
            body["workspace"] = envelope.workspace
        return cls(delivery_id(envelope), json.dumps(body))

    def headers(self, secret: str | None, now_s: float) -> dict[str, str]:
        """MLflow's headers; signed for the moment of sending where there is a secret."""
        moment = str(int(now_s))
        headers = {
            "Content-Type": "application/json",
            WEBHOOK_DELIVERY_ID_HEADER: self.delivery_id,
            WEBHOOK_TIMESTAMP_HEADER: moment,
        }
        if secret:
            headers[WEBHOOK_SIGNATURE_HEADER] = _generate_hmac_signature(
                secret, self.delivery_id, moment, self.body
            )
        return headers


def delivery_id(envelope: Envelope) -> str:
    """The id of all deliveries of one event: a UUID made of its identity."""
    return str(uuid.uuid5(_NAMESPACE, f"{envelope.source}#{envelope.id}"))


class WebhookSending:
    """An HTTP client that posts to public addresses only, unless MLflow's setting lets it."""

    def __init__(self) -> None:
        """Take the time limit of a request from MLflow's setting."""
        self._timeout_s = float(MLFLOW_WEBHOOK_REQUEST_TIMEOUT.get())
        self._client = httpx.AsyncClient(
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            trust_env=False,  # a proxy would be the peer that is looked at, as MLflow says
        )

    async def send(self, url: str, secret: str | None, message: Message) -> int:
        """Post a message; returns the status of the answer.

        Raises:
            NotTaken: no answer, one that is no success, or no address that may be called.
        """
        try:
            async with asyncio.timeout(2 * self._timeout_s):
                await asyncio.to_thread(_validate_webhook_url, url)
                return await self._post(url, message.headers(secret, time.time()), message.body)
        except TimeoutError as error:
            raise NotTaken(f"{url}: no whole answer in {2 * self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, SSRFProtectionError, OSError) as error:
            raise NotTaken(f"{url}: {error or type(error).__name__}") from error
        except MlflowException as error:
            raise NotTaken(error.message) from error

    async def _post(self, url: str, headers: dict[str, str], body: str) -> int:
        request = self._client.stream(
            "POST", url, content=body.encode(), headers=headers, extensions={"trace": _check_peer}
        )
        async with request as answer:
            await _read_some(answer)
            if answer.is_success:
                return answer.status_code
            text = f"{url}: {answer.status_code} {answer.reason_phrase}"
            if answer.is_redirect:
                text += f" to {answer.headers.get('Location')!r}, which is not followed: change"
                text += " the webhook's URL"
            raise NotTaken(text, _retry_after_s(answer))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def _check_peer(what: str, info: dict[str, Any]) -> None:
    """Refuse a connection as soon as it is there, before anything is said, as MLflow does.

    The address that was looked up before may be another by now.
    """
    if what != "connection.connect_tcp.complete" or _MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS.get():
        return
    stream = info["return_value"]
    peer, *_ = stream.get_extra_info("server_addr") or ("",)
    if not _is_public(peer):
        await stream.aclose()
        msg = f"{peer} is not a public IP address; this may be an attempt of DNS rebinding"
        raise SSRFProtectionError(msg)


def _is_public(peer: str) -> bool:
    try:
        return _is_public_ip(ipaddress.ip_address(peer))
    except ValueError:
        return False


async def _read_some(answer: httpx.Response) -> None:
    """Read a short answer, so that its connection can be used again."""
    read = 0
    async for part in answer.aiter_raw():
        read += len(part)
        if read > _MOST_ANSWER_BYTES:
            return


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0.0
