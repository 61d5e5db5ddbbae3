"""The story of a model version: every event that made it, judged it and moved it, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mlflow_ledger.bus import EMBEDDED, Position, Selection, Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import LedgerError, RegisteredModelCreated

from .lineage import Lineage, lineage
from .model_history import ModelHistory
from .story_rows import StoryRow, rows_of
from .verdicts import Judged, folded, judged

__all__ = ["MOST_EVENTS", "Story", "StoryRow", "TooLong", "story_of"]

MOST_EVENTS = 500_000
"""How many events one story may have: their places are sorted in memory."""

_SUBJECTS_AT_ONCE = 500
_TOPICS = ("", "catalog", "runs", "traces", "artifacts")


class TooLong(LedgerError):
    """A story has more events than can be told."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is told of a version: its lineage, and the events about all that stands in it.

    ``position`` is how far the log was read; the same version at the same position is the same
    story, on every host.
    """

    ledger: Ledger
    lineage: Lineage
    position: str
    end: int
    places: list[int] = field(repr=False)

    def judged(self) -> Iterator[Judged]:
        """The events with their verdicts, in order; read as they are asked for."""
        return judged(self.ledger, self._records(), self.end)

    def rows(self) -> Iterator[StoryRow]:
        """The events in short; data that a run logs in many calls is one row."""
        judges = {judgement.by for judgement in self.lineage.judgements}
        own = self.lineage.run
        judges -= {f"runs:/{own.run_id}"} if own else set()
        return rows_of(self.judged(), self.ledger.log.place, judges)

    def _records(self) -> Iterator[Stored]:
        for place in self.places:
            stored = self.ledger.log.at(place)
            if stored is not None:
                yield stored


def story_of(ledger: Ledger, uri: str, workspace: str | None = None) -> Story:
    """The story of ``models:/NAME/VERSION``, ``@ALIAS`` or ``/STAGE``, up to now.

    ``workspace`` is where the name is looked up.

    Raises:
        SettingsError: the URI names no version.
        Unknown: there is, and was, no such version, or there is no such workspace.
        TooLong: it has more events than can be told.
    """
    position = ledger.position()
    end = position.offset(EMBEDDED) or folded(ledger)
    found = lineage(ledger, uri, "back", workspace)
    keys: set[tuple[Any, ...]] = set()
    for stored in _about(ledger, found):
        if stored.offset < end:
            keys.add(_key(ledger, stored))
        if len(keys) > MOST_EVENTS:
            msg = f"{found.uri} has a story of more than {MOST_EVENTS:,} events; see its lineage"
            raise TooLong(msg)
    return Story(
        ledger, found, str(_read(ledger, position, end)), end, [k[-1] for k in sorted(keys)]
    )


def _read(ledger: Ledger, position: Position, end: int) -> Position:
    of_topics = position.offset(EMBEDDED) == 0
    return position if of_topics else Position(ledger.ledger_id, {EMBEDDED: end})


def _key(ledger: Ledger, stored: Stored) -> tuple[Any, ...]:
    """What orders events alike on all hosts: append time, then topic, partition and offset.

    Along a partition append times never decrease. The last entry is the place on this host.
    """
    topic, partition = ledger.log.stream(stored)
    place = Position.parse(ledger.log.place(stored)).offset((topic, partition))
    return stored.append_ms, _TOPICS.index(topic), partition, place, stored.offset


def _about(ledger: Ledger, found: Lineage) -> Iterator[Stored]:
    """The records about the version, and about everything in its lineage."""
    yield from _of_version(ledger, found)
    subjects = [
        node.uri
        for node in found.graph.nodes
        if node.kind in ("run", "logged model", "trace") and node.uri.count(":/") == 1
    ]
    runs = {node.detail.get("experiment_id") for node in found.graph.nodes if node.kind == "run"}
    subjects += sorted(f"experiments:/{number}" for number in runs if number is not None)
    for first in range(0, len(subjects), _SUBJECTS_AT_ONCE):
        some = tuple(subjects[first : first + _SUBJECTS_AT_ONCE])
        yield from ledger.log.select(Selection(subjects=some))
    for node in found.graph.nodes:
        if node.kind == "version" and node.uri not in found.graph.roots:
            yield from ledger.log.select(Selection(subjects=(node.uri,)))


def _of_version(ledger: Ledger, found: Lineage) -> Iterator[Stored]:
    version = found.version
    for told in ModelHistory(ledger, version.model).told():
        ours = any(c.uid == version.model_uid and c.version == version.number for c in told.changes)
        refused = told.judged.verdict.kind != "accepted" and told.version == version.number
        event = told.judged.event
        began = isinstance(event, RegisteredModelCreated) and event.model_uid == version.model_uid
        if ours or began or (refused and told.uid in (version.model_uid, None)):
            yield told.judged.stored
