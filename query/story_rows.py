"""The events of a story in short: one row each, and one for data that came in many calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_ledger.bus import Stored
from mlflow_ledger.schemas import (
    ArtifactLogged,
    CommandRejected,
    Event,
    RunDataLogged,
    format_time,
    points,
)

from .detail import short, shortened
from .verdicts import Judged

__all__ = ["StoryRow", "rows_of"]

_MOST_SHOWN = 20
_CHAPTERS = {
    "ArtifactLogged": "files",
    "ArtifactDeleted": "files",
    "InputsLogged": "data",
    "OutputsLogged": "logged model",
    "RunDataLogged": "results",
    "ModelVersionStageChanged": "promotion",
    "RegisteredModelAliasSet": "promotion",
    "RegisteredModelAliasDeleted": "promotion",
}
_BEGINNINGS = {
    "Experiment": "experiment",
    "Run": "run",
    "LoggedModel": "logged model",
    "RegisteredModel": "registration",
    "ModelVersion": "registration",
    "Trace": "evaluation",
    "Spans": "evaluation",
    "Assessment": "evaluation",
}


@dataclass(slots=True)
class StoryRow:
    """One step of the story, or several of one kind that followed each other.

    ``events`` says how many; then ``time`` and ``position`` are those of the first, ``until`` is
    the position of the last. ``chapter`` is what the step belongs to.
    """

    time: str
    position: str
    until: str
    actor: str
    actorkind: str
    host: str
    chapter: str
    action: str
    entity: str
    verdict: str
    message: str
    events: int
    detail: dict[str, Any]


def rows_of(
    entries: Iterator[Judged], place: Callable[[Stored], str], judges: Collection[str]
) -> Iterator[StoryRow]:
    """The rows of some events; what happened to ``judges`` is told as evaluation."""
    open_rows: dict[tuple[str, str, str], StoryRow] = {}
    for entry in entries:
        row = _row(entry, place, judges)
        merges = isinstance(entry.event, RunDataLogged | ArtifactLogged)
        if not merges or row.verdict != "accepted":
            yield from open_rows.values()
            open_rows.clear()
            yield row
            continue
        before = open_rows.setdefault((row.entity, row.action, row.actor), row)
        if before is not row:
            _merge(before, row)
    yield from open_rows.values()


def _row(entry: Judged, place: Callable[[Stored], str], judges: Collection[str]) -> StoryRow:
    stored, event, verdict = entry
    envelope = stored.record.envelope
    refused = isinstance(event, CommandRejected)
    action = event.command if isinstance(event, CommandRejected) else envelope.type
    redacted = stored.record.redacted
    detail = {} if event is None or refused else _detail(event, redacted)
    position = place(stored)
    return StoryRow(
        time=format_time(envelope.time_ms),
        position=position,
        until=position,
        actor=envelope.actor,
        actorkind=envelope.actorkind,
        host=envelope.host,
        chapter="evaluation" if envelope.subject in judges else _chapter(action),
        action=action,
        entity=envelope.subject,
        verdict=verdict.kind,
        message=shortened(verdict.message),
        events=1,
        detail=detail,
    )


def _chapter(action: str) -> str:
    if action in _CHAPTERS:
        return _CHAPTERS[action]
    return next((c for start, c in _BEGINNINGS.items() if action.startswith(start)), "other")


def _detail(event: Event, redacted: bool) -> dict[str, Any]:
    if isinstance(event, ArtifactLogged):
        path = event.path.partition("/artifacts/")[2] or event.path
        return {"files": {path: event.digest}, "bytes": event.size_bytes}
    if isinstance(event, RunDataLogged) and event.content is not None:
        detail: dict[str, Any] = {}
        last: dict[str, float] = {}
        count = 0
        for point in points(event.content):
            last[point.key] = point.value
            count += 1
        if last:
            detail |= {"points": count, "metrics": last}
        for name in ("params", "tags"):
            if pairs := getattr(event.content, name):
                detail[name] = {pair.key: shortened(pair.value or "") for pair in pairs}
        return _bounded(detail)
    return short(event, redacted)


def _merge(row: StoryRow, other: StoryRow) -> None:
    """Let a row tell of a further step; of each metric the last value counts."""
    row.events += 1
    row.until = other.position
    for name, value in other.detail.items():
        if isinstance(value, int):
            row.detail[name] = row.detail.get(name, 0) + value
        else:
            row.detail[name] = row.detail.get(name, {}) | value
    row.detail = _bounded(row.detail)


def _bounded(detail: dict[str, Any]) -> dict[str, Any]:
    """A detail in which no mapping is long; how many entries are left out is said."""
    for name, value in detail.items():
        if isinstance(value, dict) and len(value) > _MOST_SHOWN:
            detail[name] = {key: value[key] for key in list(value)[:_MOST_SHOWN]} | {"…": "more"}
    return detail
