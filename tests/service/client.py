"""Asks a query service as any program would that knows HTTP and JSON."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from mlflow_ledger.consumers import FOLD_VERSION
from mlflow_ledger.consumers.wire import PROTOCOL
from tests.integration.programs import answer

from .running import Threaded


class Client:
    """Plain requests, and what is answered."""

    def __init__(self, service: Threaded, token: str | None = None) -> None:
        self.service = service
        self.token = token

    def ask(
        self, path: str, body: Any = None, method: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and document."""
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.service.url + path,
            data=data,
            headers={"Content-Type": "application/json", **headers},
            method=method,
        )
        status, answered = answer(request)
        return status, json.loads(answered) if answered else None

    def who(self, **more: Any) -> dict[str, Any]:
        """How a request begins that is about the ledger's state."""
        ledger_id = self.service.reader.ledger.ledger_id
        return {
            "ledger_id": ledger_id, "protocol": PROTOCOL, "fold_version": FOLD_VERSION, **more,
        }  # fmt: skip

    def open(self, *statements: str, **more: Any) -> tuple[int, Any]:
        """Open a view and ask in it."""
        asked = [{"sql": statement} for statement in statements]
        return self.ask("/v1/views", self.who(statements=asked, **more))
