"""What an event says, as plain values: in full, or short enough for one line."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import BaseModel

from mlflow_ledger.schemas import (
    BlobChunkLogged,
    ClaimCheck,
    CommandRejected,
    Event,
    ItemEvent,
    Part,
    RunDataLogged,
    RunDataLoggedContent,
    points,
)

__all__ = ["MAX_TEXT", "full", "short", "shortened"]

MAX_TEXT = 200
"""A text that is longer is shortened."""

_HIDDEN = "(encrypted)"
_NEVER_SHOWN = "secret"
"""How the names of content fields begin that are never shown, encrypted though they are."""
_MAX_ENTRIES = 10
_OF_SUBJECT = {
    "command_key", "command_subject", "command_topic", "experiment_id", "model_id", "name", "owner",
    "run_id", "version", "webhook_id", "written_ns",
}  # fmt: skip
_KEPT = {
    "ExperimentCreated": {"name"},
    "ExperimentRenamed": {"name"},
    "LoggedModelCreated": {"experiment_id"},
    "ModelVersionCreated": {"run_id", "model_id"},
    "RegisteredModelAliasSet": {"version"},
    "RunCreated": {"experiment_id"},
}
"""Fields that say more than the subject already does, though they are named alike."""


def short(event: Event, redacted: bool = False) -> dict[str, Any]:
    """Structure without what the subject names, and small content; long texts are shortened."""
    hidden = _OF_SUBJECT - _KEPT.get(type(event).__name__, set())
    if isinstance(event, ItemEvent):
        hidden = {event.id_field}
    detail: dict[str, Any] = {}
    if isinstance(event, CommandRejected):
        return detail
    for name in type(event).model_fields:
        if name != "content" and name not in hidden:
            detail |= _entry(name, getattr(event, name))
    if isinstance(event, RunDataLogged) and event.content is not None:
        detail |= _run_data(event.content)
    elif event.content is not None:
        for name in type(event.content).model_fields:
            detail |= _content_entry(name, getattr(event.content, name))
    if redacted:
        detail["redacted"] = True
    return detail


def full(event: Event) -> dict[str, Any]:
    """Everything the event says; packed metrics as points, secrets left out.

    A chunk's bytes stand in base64.
    """
    values = event.model_dump()
    content: dict[str, Any] | None = values.get("content")
    if content and isinstance(event, RunDataLogged) and event.content is not None:
        packed = {name for name in content if name.startswith("metric_")}
        content["metrics"] = [
            {
                "key": point.key,
                "value": point.value,
                "timestamp_ms": point.timestamp_ms,
                "step": point.step,
                "model": point.model.model_dump() if point.model else None,
            }
            for point in points(event.content)
        ]
        for name in packed:
            del content[name]
    if content and isinstance(event, BlobChunkLogged):
        content["data"] = base64.b64encode(content["data"]).decode("ascii")
    for name in content or ():
        if content and name.startswith(_NEVER_SHOWN) and content[name]:
            content[name] = _HIDDEN
    return values


def shortened(text: str) -> str:
    """The beginning of a text that is too long for a line, and how long it is."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _entry(name: str, value: Any) -> dict[str, Any]:
    """One field, unless it says nothing."""
    if value is None or value in ([], False):
        return {}
    return {name: _plain(value)}


def _content_entry(name: str, value: Any) -> dict[str, Any]:
    hidden = name.startswith(_NEVER_SHOWN) and value is not None
    return {name: _HIDDEN} if hidden else _entry(name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, ClaimCheck):
        return f"blob {value.digest} ({value.size_bytes} bytes)"
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list):
        return _entries(value)
    return value


def _entries(values: list[Any]) -> Any:
    """A list as a mapping where its entries have names, cut where it is long."""
    named = {}
    for value in values[:_MAX_ENTRIES]:
        if not isinstance(value, Part):
            break
        name, said = _named(value)
        named[name] = said
    if named:
        if len(values) > _MAX_ENTRIES:
            named["…"] = f"{len(values) - _MAX_ENTRIES} more"
        return named
    rest = [f"… {len(values) - _MAX_ENTRIES} more"] if len(values) > _MAX_ENTRIES else []
    return [_plain(value) for value in values[:_MAX_ENTRIES]] + rest


def _named(part: BaseModel) -> tuple[str, Any]:
    """The name of a tag, param, data set, model or topic, and what is said of it."""
    values = {name: getattr(part, name) for name in type(part).model_fields}
    name, *_ = values.values()
    told = [
        _plain(value)
        for field, value in list(values.items())[1:]
        if field in ("value", "digest", "step", "count", "found")
    ]
    return str(name), told[0] if told else None


def _run_data(content: RunDataLoggedContent) -> dict[str, Any]:
    """The last value of each metric, the number of points, params and tags."""
    last: dict[str, float] = {}
    count = 0
    for point in points(content):
        last[point.key] = point.value
        count += 1
    detail: dict[str, Any] = {}
    if last:
        detail["metrics"] = dict(list(last.items())[:_MAX_ENTRIES])
        if len(last) > _MAX_ENTRIES:
            detail["metrics"]["…"] = f"{len(last) - _MAX_ENTRIES} more"
        if count > len(last):
            detail["points"] = count
    return detail | _entry("params", content.params) | _entry("tags", content.tags)
