"""The history of an entity: every value that its fields ever had, by whom and from when to when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mlflow_ledger.bus import Selection, Stored
from mlflow_ledger.consumers import Capture, Fold, Ledger, create
from mlflow_ledger.schemas import (
    ExperimentEvent,
    LedgerCreated,
    event_types,
    format_time,
    item_kinds,
)

from .address import Address, Unknown
from .audit import DEFAULT_EXPERIMENT, experiment_of, merged
from .fields import FIELD_TABLES, Entity, Fields
from .model_history import ModelHistory
from .registry import DELETED_STAGE
from .run_lifecycle import followed
from .verdicts import Judged, folded, judged
from .workspace import check_workspace

__all__ = ["HistoryRow", "Overwrites", "history"]


@dataclass(slots=True)
class HistoryRow:
    """A value that a field had.

    ``since`` and ``until`` are the log's times of the events that gave and took it; ``until`` is
    None where it still stands. ``time`` is the writer's clock. ``event`` is the type of the event
    that gave it, ``position`` names that event, and ``ended_by`` who took the value away.
    """

    entity: str
    field: str
    value: Any
    actor: str
    actorkind: str
    since: str
    until: str | None
    event: str
    position: str
    time: str
    ended_by: str | None = None
    ended_event: str | None = None


class Overwrites:
    """Turns changes of fields, told in order, into values with a beginning and an end."""

    def __init__(self, place: Callable[[Stored], str]) -> None:
        """``place`` gives the position of a record, in text."""
        self._place = place
        self._open: dict[tuple[Entity, str], HistoryRow] = {}
        self.rows: list[tuple[Entity, HistoryRow]] = []

    def tell(self, stored: Stored, changed: Iterable[tuple[tuple[Entity, str], Any]]) -> None:
        """An event has given these fields these values, None where it took them away."""
        envelope = stored.record.envelope
        appended = format_time(stored.append_ms)
        for key, value in changed:
            known = self._open.pop(key, None)
            if known is not None:
                if known.value == value:
                    self._open[key] = known
                    continue
                known.until = appended
                known.ended_by, known.ended_event = envelope.actor, envelope.type
            if value is None:
                continue
            row = HistoryRow(
                entity="",
                field=key[1],
                value=value,
                actor=envelope.actor,
                actorkind=envelope.actorkind,
                since=appended,
                until=None,
                event=envelope.type,
                position=self._place(stored),
                time=format_time(envelope.time_ms),
            )
            self._open[key] = row
            self.rows.append((key[0], row))


def history(ledger: Ledger, entity: str, workspace: str | None = None) -> list[HistoryRow]:
    """Every value of every field of an entity, in the order in which they were given.

    A model's include those of its versions, and a version's the aliases that named it. A model is
    followed by its uid through all its names, and its rows bear the last of these.
    ``models:/NAME@ALIAS`` asks which versions the alias has named. A run's lifecycle follows its
    experiment's. Only what was accepted counts; metrics have a history of their own. With
    ``workspace`` a name means a model of it.

    Raises:
        SettingsError: no entity is written like that.
        Unknown: no event is about that entity, or there is no such workspace.
    """
    check_workspace(ledger, workspace)
    address = Address.find(ledger, entity)
    records, wanted = _records(ledger, address, workspace)
    told = Overwrites(ledger.log.place)
    with closing(create(":memory:")) as db:
        fold, fields = Fold(db), Fields(db)
        capture = Capture(db, FIELD_TABLES)
        db.execute("BEGIN")
        fold.refresh()
        for entry in records:
            if entry.verdict.kind != "accepted":
                continue
            fold.apply(entry.stored, entry.event)
            changed = capture.take()
            told.tell(entry.stored, followed(db, changed, fields.changed(changed)))
        rows = [row for found, row in _named(fields, told.rows) if wanted(found, row)]
    if not rows:
        msg = f"nothing in the ledger in {ledger.folder} is about {address}"
        raise Unknown(msg)
    return rows


def _named(
    fields: Fields, rows: Iterable[tuple[Entity, HistoryRow]]
) -> Iterator[tuple[Entity, HistoryRow]]:
    for entity, row in rows:
        row.entity = fields.address(entity)
        if row.field == "stage" and row.value == DELETED_STAGE:
            row.value = "(deleted)"
        yield entity, row


Wanted = Callable[[Entity, HistoryRow], bool]


def _records(
    ledger: Ledger, address: Address, workspace: str | None
) -> tuple[Iterable[Judged], Wanted]:
    """The records to fold for the history of an entity, and which rows are its."""
    if address.kind == "models":
        return _of_model(ledger, address, workspace)
    selections = [Selection(subjects=(address.subject,))]
    if address.kind == "runs" and (experiment := experiment_of(ledger, address)):
        types = _types(ExperimentEvent)
        selections.append(Selection(types, (experiment,)))
        if experiment == DEFAULT_EXPERIMENT:
            selections.append(Selection((LedgerCreated.__name__,)))
    elif address.subject == DEFAULT_EXPERIMENT:
        selections.append(Selection((LedgerCreated.__name__,)))
    elif address.kind in item_kinds():
        # An item is refused without its parents, and without what it refers to.
        selections.append(
            Selection(below=tuple(f"{kind}:" for kind in ("experiments", *item_kinds())))
        )
        selections.append(Selection((LedgerCreated.__name__,)))
    found = merged(*(ledger.log.select(selection) for selection in selections))
    records = (next(same) for _, same in groupby(found, key=lambda stored: stored.offset))
    entity = Entity(address.kind, address.name)
    return judged(ledger, records, folded(ledger)), lambda found, _: found == entity


def _of_model(
    ledger: Ledger, address: Address, workspace: str | None
) -> tuple[Iterable[Judged], Wanted]:
    models = ModelHistory(ledger, address.name, workspace)

    def wanted(entity: Entity, row: HistoryRow) -> bool:
        if entity.id not in models.names:
            return False
        named = row.field.startswith("aliases.")
        if address.alias is not None:
            return row.field == f"aliases.{address.alias}"
        if address.version is None or entity.version == address.version:
            return True
        return named and row.value == address.version

    return models.records(), wanted


def _types(kind: type[Any]) -> tuple[str, ...]:
    return tuple(name for name, event in event_types().items() if issubclass(event, kind))
