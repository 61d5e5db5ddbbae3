"""Where events of OpenLineage go: an HTTP end point, a file, a topic of Kafka."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx

from mlflow_ledger.bus import KafkaSettings, Settings
from mlflow_ledger.schemas import LedgerError, SettingsError

if TYPE_CHECKING:
    from mlflow_ledger.bus import TopicWriter

__all__ = ["FileTarget", "HttpTarget", "NotTaken", "Target", "TopicTarget", "target_at"]

_TIMEOUT_S = 30.0
_MOST_SAID = 200


class NotTaken(LedgerError):
    """A target did not take an event."""


class Target(Protocol):
    """Takes events, in their order."""

    def send(self, events: list[dict[str, Any]]) -> None:
        """Deliver these.

        Raises:
            NotTaken, LogUnavailable: not all were taken.
        """

    def flush(self) -> None:
        """Let what was taken survive a crash."""

    def close(self) -> None:
        """Let go of it."""


class HttpTarget:
    """An end point such as Marquez's ``/api/v1/lineage``: each event is posted as JSON."""

    def __init__(self, url: str, key: str | None) -> None:
        """Post to a URL; with a key, that stands in the header ``Authorization``."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._url = url
        self._client = httpx.Client(timeout=_TIMEOUT_S, headers=headers)

    def send(self, events: list[dict[str, Any]]) -> None:
        """Post each, and look at the answer."""
        for event in events:
            try:
                answer = self._client.post(self._url, json=event)
            except httpx.HTTPError as error:
                msg = f"{self._url} does not answer: {error}"
                raise NotTaken(msg) from error
            if not answer.is_success:
                said = answer.text[:_MOST_SAID]
                about = event.get("run") or event.get("dataset") or event.get("job")
                msg = f"{self._url} did not take {about}: {answer.status_code} {said}"
                raise NotTaken(msg)

    def flush(self) -> None:
        """It has taken what it said it has."""

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class FileTarget:
    """A file to which events are appended, one a line."""

    def __init__(self, path: Path) -> None:
        """Open the file when the first event comes."""
        self._path = path
        self._file: IO[bytes] | None = None

    def send(self, events: list[dict[str, Any]]) -> None:
        """Append them."""
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            for event in events:
                self._file.write(f"{json.dumps(event)}\n".encode())
        except OSError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Write what is buffered, to the disk."""
        try:
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._file.close()

    def _failed(self, error: OSError) -> NotTaken:
        return NotTaken(f"cannot write to {self._path}: {error.strerror or error}")


class TopicTarget:
    """A topic of Kafka; what is told of one run or data set goes to one partition."""

    def __init__(self, writer: TopicWriter) -> None:
        """Send with this writer."""
        self._writer = writer

    def send(self, events: list[dict[str, Any]]) -> None:
        """Send them, and wait until the brokers have them."""
        self._writer.send([(_key(event), json.dumps(event).encode()) for event in events])

    def flush(self) -> None:
        """The brokers have what they acknowledged."""

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


def target_at(text: str) -> Target:
    """The target that ``http(s)://…``, ``kafka://host:9092/topic`` or a path names.

    Raises:
        SettingsError: it names none.
    """
    parts = urlsplit(text)
    if parts.scheme in ("http", "https"):
        if not parts.hostname or "@" in parts.netloc:
            msg = (
                f"{parts.hostname!r}: a URL looks like http://host:5000/api/v1/lineage; a key "
                "stands in MLFLOW_LEDGER_OPENLINEAGE_KEY"
            )
            raise SettingsError(msg)
        key = Settings.read().openlineage_key
        return HttpTarget(text, key.get_secret_value() if key else None)
    if parts.scheme == "kafka":
        from mlflow_ledger.bus import TopicWriter

        return TopicTarget(TopicWriter(text, KafkaSettings.read()))
    if "://" in text:
        msg = f"{text!r} names no target; write http://…, kafka://host:9092/topic or a file's path"
        raise SettingsError(msg)
    return FileTarget(Path(text))


def _key(event: dict[str, Any]) -> bytes:
    if "run" in event:
        return str(event["run"]["runId"]).encode()
    named = event.get("dataset") or event["job"]
    return f"{named['namespace']}/{named['name']}".encode()
