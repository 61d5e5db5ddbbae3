"""What a process knows of runs, experiments and models for certain, without asking the state."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from mlflow_ledger.bus import Appending, acting_in
from mlflow_ledger.schemas import (
    DEFAULT_WORKSPACE,
    ArtifactEvent,
    CommandRejected,
    Event,
    InputsLogged,
    ItemEvent,
    KeyValue,
    LoggedModelEvent,
    ModelVersionCreated,
    OutputsLogged,
    RegisteredModelDeleted,
    RegisteredModelEvent,
    RegisteredModelRenamed,
    RunCreated,
    RunDataLogged,
    RunTagDeleted,
    RunUpdated,
    WebhookEvent,
    WorkspaceDeleted,
    event_types,
)

__all__ = ["ExperimentFacts", "Foreseen", "Known", "KnownHere", "ModelFacts"]

T = TypeVar("T")

_MOST_RUNS = 256
_MOST_MODELS = 256
_MOST_PARAMS = 4000
_MOST_FOLLOWED = 1000
_MOST_WORKSPACES = 64

_ABOUT_ONE_RUN = frozenset(kind.__name__ for kind in (RunCreated, RunDataLogged))
"""They may add params to the run they are about, and change nothing else that is known."""

_ABOUT_MODELS = frozenset(
    kind.__name__ for kind in (RegisteredModelRenamed, RegisteredModelDeleted)
)
"""They may change which model a name stands for, or whether one is there."""

_CHANGE_NOTHING_KNOWN = frozenset(
    kind.__name__
    for kind in event_types().values()
    if issubclass(
        kind,
        (
            ArtifactEvent, CommandRejected, InputsLogged, LoggedModelEvent, OutputsLogged,
            RegisteredModelEvent, RunTagDeleted, RunUpdated, WebhookEvent, ItemEvent,
        ),
    ) and kind is not WorkspaceDeleted
)  # fmt: skip
"""Any other event type makes a process forget all it knew; that costs it a look at the state."""


class ExperimentFacts(NamedTuple):
    """What creating a run in an active experiment depends on."""

    experiment_id: int
    epoch: int
    artifact_location: str


class ModelFacts(NamedTuple):
    """What creating a version of a registered model depends on."""

    uid: str
    versions: int
    """The highest number that a version of it ever had."""


class Known:
    """Facts that hold as of one event of the log; use it under the log's lock.

    A run is known when it is there and active. A fact is kept only while every later event is
    known not to touch it: what other processes append is followed by type and subject, and
    whatever might matter wipes it out. What is decided by these facts is what the fold will
    decide, so an event can be acknowledged before it is folded.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.offset = 0
        self._runs: dict[str, dict[str, str | None] | None] = {}
        self._experiments: dict[int, ExperimentFacts] = {}
        self._models: dict[str, ModelFacts] = {}

    def forget(self) -> None:
        """Know nothing any more."""
        self.offset = 0
        self._forget_facts()

    def follow(self, appending: Appending) -> None:
        """Take note of what others have appended since."""
        if self.offset == appending.last_offset:
            return
        behind = appending.last_offset - self.offset
        if not 0 < behind <= _MOST_FOLLOWED or not self._facts():
            self.forget()
        else:
            for type_name, subject in appending.since(self.offset, behind):
                self._note(type_name, subject)
        self.offset = appending.last_offset

    def note(self, others: Iterable[tuple[str, str]]) -> None:
        """Take note of what was said, by type and subject."""
        for type_name, subject in others:
            self._note(type_name, subject)

    def takes(self, run_id: str, params: Sequence[KeyValue]) -> bool:
        """Whether data with these params is certain to be accepted for a run."""
        if run_id not in self._runs:
            return False
        if not params:
            return True
        known = self._runs[run_id]
        if known is None or len({pair.key for pair in params}) < len(params):
            return False
        return all(
            pair.value is not None and known.get(pair.key, pair.value) == pair.value
            for pair in params
        )

    def takes_first(self, run_id: str, param: KeyValue) -> bool:
        """Whether a param is certain to be accepted for a run, and to be new to it."""
        known = self._runs.get(run_id)
        return known is not None and param.key not in known and param.value is not None

    def experiment(self, experiment_id: int) -> ExperimentFacts | None:
        """An experiment that is known to be active. May be asked without the lock."""
        return self._experiments.get(experiment_id)

    def model(self, name: str) -> ModelFacts | None:
        """A registered model that is known to be there. May be asked without the lock."""
        return self._models.get(name)

    def said(self, events: Sequence[Event], last_offset: int) -> None:
        """Take note of what this process has appended itself, foreseen to be accepted."""
        for event in events:
            if isinstance(event, RunCreated):
                self._keep_run(event.run_id, {})
            elif isinstance(event, RunDataLogged):
                self._add_params(event)
            elif isinstance(event, ModelVersionCreated) and event.name in self._models:
                uid, versions = self._models[event.name]
                self._models[event.name] = ModelFacts(uid, versions + 1)
            else:
                self._note(type(event).__name__, event.subject)
        self.offset = last_offset

    def decided(self, events: Sequence[Event], last_offset: int) -> None:
        """Take note of what this process has appended after a look at the state."""
        for event in events:
            self._note(type(event).__name__, event.subject)
        self.offset = last_offset

    def look_at_run(self, state: sqlite3.Connection, run_id: str) -> None:
        """Learn about a run from a state that is at the log's end."""
        if run_id in self._runs:
            return
        row = state.execute(
            "SELECT run_no FROM live_runs WHERE run_id = ? AND lifecycle = 'active'", (run_id,)
        ).fetchone()
        if row is None:
            return
        params = state.execute(
            "SELECT key, value FROM params WHERE run_no = ? LIMIT ?", (row[0], _MOST_PARAMS + 1)
        ).fetchall()
        self._keep_run(run_id, dict(params) if len(params) <= _MOST_PARAMS else None)

    def look_at_new_run(self, state: sqlite3.Connection, experiment_id: int, run_id: str) -> None:
        """Learn about a run and its experiment from a state that is at the log's end."""
        self.look_at_run(state, run_id)
        row = state.execute(
            "SELECT experiment_id, epoch, artifact_location FROM experiments "
            "WHERE experiment_id = ? AND lifecycle = 'active'",
            (experiment_id,),
        ).fetchone()
        if row is not None:
            self._experiments[experiment_id] = ExperimentFacts(*row)

    def look_at_model(self, state: sqlite3.Connection, name: str) -> None:
        """Learn about a registered model from a state that is at the log's end."""
        row = state.execute(
            "SELECT m.uid, coalesce(max(version), 0) FROM registered_models m "
            "LEFT JOIN model_versions USING (model_no) "
            "WHERE name = ? AND workspace = ? GROUP BY m.model_no",
            (name, getattr(state, "workspace", DEFAULT_WORKSPACE)),
        ).fetchone()
        if row is not None:
            _keep(self._models, name, ModelFacts(*row), _MOST_MODELS)

    def _note(self, type_name: str, subject: str) -> None:
        if type_name in _ABOUT_ONE_RUN:
            self._runs.pop(subject.removeprefix("runs:/"), None)
        elif type_name == ModelVersionCreated.__name__:
            self._models.pop(subject.removeprefix("models:/"), None)
        elif type_name in _ABOUT_MODELS:
            self._models.clear()
        elif type_name not in _CHANGE_NOTHING_KNOWN:
            self._forget_facts()

    def _facts(self) -> int:
        return len(self._runs) + len(self._experiments) + len(self._models)

    def _forget_facts(self) -> None:
        self._runs.clear()
        self._experiments.clear()
        self._models.clear()

    def _keep_run(self, run_id: str, params: dict[str, str | None] | None) -> None:
        _keep(self._runs, run_id, params, _MOST_RUNS)

    def _add_params(self, event: RunDataLogged) -> None:
        params = self._runs.get(event.run_id)
        if params is None or event.content is None or not event.content.params:
            return
        params.update((pair.key, pair.value) for pair in event.content.params)
        if len(params) > _MOST_PARAMS:
            self._runs[event.run_id] = None


class KnownHere:
    """What a process knows, for each workspace apart: what is there in one is in no other."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[str, Known] = {}

    def here(self) -> Known:
        """What is known in the workspace of the current context."""
        workspace = acting_in.get()
        known = self._known.get(workspace)
        if known is None:
            known = Known()
            _keep(self._known, workspace, known, _MOST_WORKSPACES)
        return known

    def forget(self) -> None:
        """Know nothing any more."""
        for known in list(self._known.values()):
            known.forget()


def _keep(facts: dict[str, T], key: str, value: T, most: int) -> None:
    """Keep a fact as the newest; the oldest goes where there are too many."""
    facts.pop(key, None)
    while len(facts) >= most:
        del facts[next(iter(facts))]
    facts[key] = value


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a command will say if what the process knows holds when the lock is its own.

    ``events`` are made and encoded before the lock is taken; ``holds`` is asked under it. Where
    it does not hold, the command is decided by the state, and ``learn`` looks there for next time.
    """

    events: Sequence[Event]
    holds: Callable[[Known], bool]
    learn: Callable[[Known, sqlite3.Connection], None]
