"""The audit: who did what, when, from where, to what, with what verdict."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_ledger.bus import EMBEDDED, Selection, Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    CommandRejected,
    Event,
    ExperimentDeleted,
    ExperimentPurged,
    ExperimentRestored,
    LedgerCreated,
    RegisteredModelEvent,
    RunCreated,
    SettingsError,
    decode,
    format_time,
)

from .address import Address, Unknown
from .detail import short, shortened
from .model_history import Change, ModelHistory, Told
from .moment import Since
from .verdicts import Judged, folded, judged
from .workspace import check_workspace

__all__ = ["DEFAULT_EXPERIMENT", "AuditRow", "audit", "experiment_of", "merged"]

DEFAULT_EXPERIMENT = "experiments:/0"
"""It comes into being with the ledger, by no event of its own."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One attempt to change something.

    ``time`` is the writer's clock, ``appended`` the log's. ``position`` is where the event stands:
    reading since there begins with it. ``actorkind`` tells what ``actor`` is worth: ``os``,
    ``authenticated`` or only ``claimed``. ``action`` is the type of the event, or of the one that a
    refused command would have been; ``entity`` is what it is about, in the words of its writer,
    and ``uid`` tells models of the same name apart. ``detail`` holds what else the event says and,
    where a model's history is asked for, ``changes`` to its versions. ``code`` and ``message`` say
    why something was not accepted. (source, id) is the event's identity;
    it was said in ``workspace``.
    """

    time: str
    appended: str
    position: str
    actor: str
    actorkind: str
    host: str
    client: str
    action: str
    entity: str
    uid: str | None
    detail: dict[str, Any]
    verdict: str
    code: str
    message: str
    source: str
    id: int
    workspace: str


def audit(
    ledger: Ledger,
    entity: str | None = None,
    since: str | None = None,
    limit: int | None = None,
    workspace: str | None = None,
) -> Iterator[AuditRow]:
    """The rows about an entity, or about everything, in the order of the log.

    A model is followed by its uid through all its names; where several models had the name, all
    are shown. A version's rows are those that changed it, such as an alias that moved away from it
    or another version's promotion that archived it, and refused attempts to. A run's include its
    experiment's deletion. ``since`` is a time (RFC 3339) or a position; ``limit`` counts rows from
    there on. With ``workspace`` a name means a model of it, and without an entity all that was said
    in it is shown.

    Raises:
        SettingsError: no entity, or no moment, is written like that.
        Unknown: there is no such workspace; or no event is about that entity, which is found out
            while the rows are read.
    """
    check_workspace(ledger, workspace)
    address = None if entity is None else Address.find(ledger, entity)
    if address is not None and address.alias is not None:
        msg = f"{entity!r} names an alias; ask for a version, such as {address.subject}/1"
        raise SettingsError(msg)
    begin = Since.read(ledger.log, since)
    rows: Iterator[AuditRow]
    if address is not None:
        rows = _about(ledger, address, begin, workspace)
    else:
        found = _everything(ledger, begin)
        rows = (row for row in found if workspace in (None, row.workspace))
    return itertools.islice(rows, limit)


def _everything(ledger: Ledger, since: Since) -> Iterator[AuditRow]:
    records = filter(since.holds, ledger.log.read(since.position))
    for entry in judged(ledger, records, folded(ledger)):
        yield _row(ledger, entry)


def _about(
    ledger: Ledger, address: Address, since: Since, workspace: str | None
) -> Iterator[AuditRow]:
    """The rows about one entity from a moment on; those before decide whether it is known."""
    known = False
    first = since.position.offset(EMBEDDED)
    of_model = address.kind == "models"
    found = _of_model(ledger, address, workspace) if of_model else _of_subject(ledger, address)
    for stored, row in found:
        known = True
        if stored.offset >= first and since.holds(stored):
            yield row
    if not known:
        msg = f"nothing in the ledger in {ledger.folder} is about {address}"
        raise Unknown(msg)


def _of_subject(ledger: Ledger, address: Address) -> Iterator[tuple[Stored, AuditRow]]:
    selections = [Selection(subjects=(address.subject,))]
    if address.kind == "runs" and (experiment := experiment_of(ledger, address)):
        of_experiment = (ExperimentDeleted, ExperimentRestored, ExperimentPurged)
        types = tuple(event.__name__ for event in of_experiment)
        selections.append(Selection(types, (experiment,)))
    if address.subject == DEFAULT_EXPERIMENT:
        selections.append(Selection((LedgerCreated.__name__,)))
    found = (ledger.log.select(selection) for selection in selections)
    end = folded(ledger)
    for entry in judged(ledger, merged(*found), end):
        yield entry.stored, _row(ledger, entry)


def merged(*streams: Iterator[Any]) -> Iterator[Any]:
    """Records of several selections in the order of the log."""
    return heapq.merge(*streams, key=lambda stored: stored.offset)


def experiment_of(ledger: Ledger, run: Address) -> str | None:
    """The subject of a run's experiment, from the run's first event."""
    selection = Selection((RunCreated.__name__,), (run.subject,))
    for stored in ledger.log.select(selection, limit=1):
        event = decode(RunCreated.__name__, stored.record.head)
        if isinstance(event, RunCreated):
            return f"experiments:/{event.experiment_id}"
    return None


def _of_model(
    ledger: Ledger, address: Address, workspace: str | None
) -> Iterator[tuple[Stored, AuditRow]]:
    for told in ModelHistory(ledger, address.name, workspace).told():
        changes = told.changes
        if address.version is not None:
            changes = tuple(c for c in changes if c.version == address.version)
            refused = told.judged.verdict.kind != "accepted" and told.version == address.version
            if not changes and not refused:
                continue
        yield told.judged.stored, _row(ledger, told.judged, told, changes)


def _row(
    ledger: Ledger,
    entry: Judged,
    told: Told | None = None,
    changes: tuple[Change, ...] = (),
) -> AuditRow:
    stored, event, verdict = entry
    envelope = stored.record.envelope
    redacted = stored.record.redacted
    detail = {} if event is None else short(event, redacted)
    said = [_change(change) for change in changes if change.what not in ("created", "other")]
    if said:
        detail["changes"] = said
    if told is not None and told.version is not None and changes and changes[0].what == "created":
        detail["version"] = told.version
    return AuditRow(
        time=format_time(envelope.time_ms),
        appended=format_time(stored.append_ms),
        position=ledger.log.place(stored),
        actor=envelope.actor,
        actorkind=envelope.actorkind,
        host=envelope.host,
        client=envelope.client,
        action=event.command if isinstance(event, CommandRejected) else envelope.type,
        entity=envelope.subject,
        uid=(told.uid if told else None) or _uid(event),
        detail=detail,
        verdict=verdict.kind,
        code=verdict.code,
        message=shortened(verdict.message),
        source=envelope.source,
        id=envelope.id,
        workspace=envelope.workspace,
    )


def _uid(event: Event | None) -> str | None:
    if isinstance(event, RegisteredModelEvent):
        return event.model_uid
    if isinstance(event, CommandRejected) and event.command_subject.startswith("models:/"):
        return event.command_key or None
    return None


def _change(change: Change) -> dict[str, Any]:
    said: dict[str, Any] = {"version": change.version, "what": change.what}
    if change.alias is not None:
        said["alias"] = change.alias
    return said | {"from": change.before, "to": change.after}
