"""The history of a registered model: every record about it, by uid and through all its names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mlflow_ledger.bus import Selection
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    CommandRejected,
    ContentRedacted,
    Event,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionEvent,
    ModelVersionStageChanged,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelDeleted,
    RegisteredModelEvent,
    RegisteredModelRenamed,
)

from .registry import DELETED_STAGE
from .verdicts import Judged, folded, judged

__all__ = ["Change", "ModelHistory", "Told"]

ARCHIVED = "Archived"


@dataclass(frozen=True, slots=True)
class Change:
    """What an accepted event changed about one version.

    Of an alias ``before`` and ``after`` are the numbers of the versions that had and have it; of a
    stage its names; of a name the model's names.
    """

    uid: str
    version: int
    what: Literal["created", "stage", "alias", "name", "deleted", "other"]
    before: str | None = None
    after: str | None = None
    alias: str | None = None


class Told(NamedTuple):
    """One record about the model: its verdict, the model's uid as far as known, what it changed.

    ``version`` is the version that the record names, in the model that it names.
    """

    judged: Judged
    uid: str | None
    version: int | None
    changes: tuple[Change, ...]


@dataclass
class _Model:
    """What is known of one model while its history is read."""

    numbers: dict[str, int] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


class ModelHistory:
    """Every model that ever had a name; several, where the name was freed and taken again.

    It reads the records about models that had one of their names, and decodes no other. Deciding
    what changed takes all of them from the first on, whatever part is asked for.
    """

    def __init__(self, ledger: Ledger, name: str) -> None:
        """Find the models that ever had this name."""
        self._ledger = ledger
        self._end = folded(ledger)
        self.name = name
        self.names: dict[str, list[str]] = {}
        self._find()

    def told(self) -> Iterator[Told]:
        """The records about these models, and rejected ones about the name, in order."""
        models = {uid: _Model() for uid in self.names}
        owners: dict[str, str] = {}
        for entry in self.records():
            uid = self._uid(entry, owners)
            if uid is None and not self._about_name(entry):
                continue
            changes: tuple[Change, ...] = ()
            version = _version_of(entry)
            if uid is not None and entry.verdict.kind == "accepted":
                model = models[uid]
                changes = tuple(_changes(uid, model, entry.event))
                if isinstance(entry.event, ModelVersionCreated):
                    version = model.numbers.get(entry.event.version_uid)
            yield Told(entry, uid, version, changes)

    def records(self) -> Iterator[Judged]:
        """The records about models that then had one of these models' names, in order."""
        names = {self.name, *(name for names in self.names.values() for name in names)}
        subjects = tuple(f"models:/{name}" for name in sorted(names))
        selection = Selection(subjects=subjects, below=subjects)
        return judged(self._ledger, self._ledger.log.select(selection), self._end)

    def _find(self) -> None:
        subject = f"models:/{self.name}"
        created = Selection((RegisteredModelCreated.__name__,), (subject,))
        for entry in self._accepted(created):
            if isinstance(entry.event, RegisteredModelCreated):
                self.names[entry.event.model_uid] = [self.name]
        renamed: dict[str, list[str]] = {}
        for entry in self._accepted(Selection((RegisteredModelRenamed.__name__,))):
            if isinstance(entry.event, RegisteredModelRenamed):
                names = renamed.setdefault(entry.event.model_uid, [entry.event.name])
                names.append(entry.event.new_name)
        for uid, names in renamed.items():
            if self.name in names:
                self.names[uid] = names

    def _accepted(self, selection: Selection) -> Iterator[Judged]:
        for entry in judged(self._ledger, self._ledger.log.select(selection), self._end):
            if entry.verdict.kind == "accepted":
                yield entry

    def _uid(self, entry: Judged, owners: dict[str, str]) -> str | None:
        """The uid that a record is about, if it is one of these models'.

        A refused command may not know the uid: it is about the model that then had the name.
        """
        uid = None
        if isinstance(entry.event, RegisteredModelEvent):
            uid = entry.event.model_uid
            if entry.verdict.kind == "accepted":
                _note_owner(owners, entry.event)
        elif isinstance(entry.event, CommandRejected):
            uid = entry.event.command_key
        elif isinstance(entry.event, ContentRedacted):
            uid = next((found for found in entry.event.model_uids if found in self.names), None)
        if uid not in self.names and entry.verdict.kind != "accepted":
            subject = entry.stored.record.envelope.subject
            uid = owners.get(subject.removeprefix("models:/").split("/")[0])
        return uid if uid in self.names else None

    def _about_name(self, entry: Judged) -> bool:
        """Whether a record without effect names the name itself, or a version of it."""
        subject = entry.stored.record.envelope.subject
        named = f"models:/{self.name}"
        return entry.verdict.kind != "accepted" and (
            subject == named or subject.startswith(f"{named}/")
        )


def _note_owner(owners: dict[str, str], event: RegisteredModelEvent) -> None:
    """Follow which model has which name."""
    if isinstance(event, RegisteredModelCreated):
        owners[event.name] = event.model_uid
    elif isinstance(event, (RegisteredModelRenamed, RegisteredModelDeleted)):
        for name in [name for name, uid in owners.items() if uid == event.model_uid]:
            del owners[name]
        if isinstance(event, RegisteredModelRenamed):
            owners[event.new_name] = event.model_uid


def _version_of(entry: Judged) -> int | None:
    """The version that a record's subject names."""
    _, _, last = entry.stored.record.envelope.subject.removeprefix("models:/").rpartition("/")
    number = last if entry.stored.record.envelope.subject.count("/") > 1 else ""
    return int(number) if number.isascii() and number.isdigit() else None


def _changes(uid: str, model: _Model, event: Event | None) -> Iterator[Change]:
    """What an accepted event changes about versions; the model follows."""
    if isinstance(event, ModelVersionCreated):
        number = model.numbers[event.version_uid] = len(model.numbers) + 1
        model.stages[event.version_uid] = "None"
        yield Change(uid, number, "created")
    elif isinstance(event, ModelVersionStageChanged):
        yield from _stage_changes(uid, model, event)
    elif isinstance(event, RegisteredModelAliasSet):
        yield from _alias_changes(uid, model, event.alias, event.version_uid)
    elif isinstance(event, RegisteredModelAliasDeleted):
        yield from _alias_changes(uid, model, event.alias, None)
    elif isinstance(event, ModelVersionDeleted):
        yield from _deletion(uid, model, event.version_uid)
    elif isinstance(event, ModelVersionEvent):
        yield Change(uid, model.numbers[event.version_uid], "other")
    elif isinstance(event, ContentRedacted):
        concerned = event.version_uids or model.numbers
        numbers = [n for found, n in model.numbers.items() if found in concerned]
        yield from (Change(uid, number, "other") for number in numbers)
    else:
        yield from _changes_to_all(uid, model, event)


def _changes_to_all(uid: str, model: _Model, event: Event | None) -> Iterator[Change]:
    """What an event about the model itself changes about every version that is there."""
    for version_uid, number in model.numbers.items():
        stage = model.stages[version_uid]
        if isinstance(event, RegisteredModelRenamed):
            yield Change(uid, number, "name", event.name, event.new_name)
        elif isinstance(event, RegisteredModelDeleted) and stage != DELETED_STAGE:
            yield Change(uid, number, "deleted", stage)


def _deletion(uid: str, model: _Model, version_uid: str) -> Iterator[Change]:
    for alias in [a for a, holder in model.aliases.items() if holder == version_uid]:
        yield from _alias_changes(uid, model, alias, None)
    before = model.stages.get(version_uid)
    model.stages[version_uid] = DELETED_STAGE
    yield Change(uid, model.numbers[version_uid], "deleted", before)


def _stage_changes(uid: str, model: _Model, event: ModelVersionStageChanged) -> Iterator[Change]:
    if event.archive_existing:
        for version_uid, stage in model.stages.items():
            if stage == event.stage and version_uid != event.version_uid:
                model.stages[version_uid] = ARCHIVED
                yield Change(uid, model.numbers[version_uid], "stage", stage, ARCHIVED)
    before = model.stages.get(event.version_uid)
    model.stages[event.version_uid] = event.stage
    yield Change(uid, model.numbers[event.version_uid], "stage", before, event.stage)


def _alias_changes(
    uid: str, model: _Model, alias: str, version_uid: str | None
) -> Iterator[Change]:
    """The version that loses the alias is told first, then the one that gets it."""
    holder = model.aliases.pop(alias, None)
    if version_uid is not None:
        model.aliases[alias] = version_uid
    before = str(model.numbers[holder]) if holder else None
    after = str(model.numbers[version_uid]) if version_uid else None
    for concerned in dict.fromkeys((holder, version_uid)):
        if concerned is not None:
            yield Change(uid, model.numbers[concerned], "alias", before, after, alias)
