"""What is acknowledged before it is folded is what the fold accepts, whoever else writes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.consumers.state_file import connect
from mlflow_ledger.producers import LedgerRegistryStore, LedgerTrackingStore
from mlflow_ledger.producers.plugin import registry_store, tracking_store

VOICES = 3
RUNS = 3
KEYS = st.sampled_from(["a", "b", "mlflow.runName"])
VALUES = st.sampled_from(["1", "2", ""])
MODELS = st.sampled_from(["one", "two"])
NUMBERS = st.integers(0, RUNS - 1)

CALLS = st.one_of(
    st.tuples(st.just("log_metric"), NUMBERS, st.just("m"), st.floats(width=32)),
    st.tuples(st.just("log_param"), NUMBERS, KEYS, VALUES),
    st.tuples(st.just("set_tag"), NUMBERS, KEYS, VALUES),
    st.tuples(st.just("delete_tag"), NUMBERS, KEYS),
    st.tuples(st.just("log_batch"), NUMBERS, st.lists(st.tuples(KEYS, VALUES), max_size=3)),
    st.tuples(st.sampled_from(["delete_run", "restore_run", "_hard_delete_run"]), NUMBERS),
    st.tuples(st.just("update_run_info"), NUMBERS),
    st.tuples(st.just("create_run"), NUMBERS),
    st.tuples(st.sampled_from(["delete_experiment", "restore_experiment"])),
    st.tuples(st.just("create_model_version"), MODELS, st.dictionaries(KEYS, VALUES)),
    st.tuples(st.just("rename_registered_model"), MODELS, MODELS),
    st.tuples(st.sampled_from(["create_registered_model", "delete_registered_model"]), MODELS),
    st.tuples(st.just("delete_model_version"), MODELS, st.integers(1, 3)),
)


def voice(folder: Path) -> LedgerTrackingStore:
    """A store that knows nothing of what others in this process know."""
    store = tracking_store(f"ledger:{folder}")
    store._ledger = Ledger(folder)
    return store


def registry(folder: Path, store: LedgerTrackingStore) -> LedgerRegistryStore:
    """The registry of the same voice."""
    found = registry_store(f"ledger:{folder}")
    found._ledger = store._ledger
    return found


class World:
    """Some voices on one ledger; ``forgetful`` ones look at the state before each call."""

    def __init__(self, folder: Path, *, forgetful: bool) -> None:
        self.voices = [voice(folder) for _ in range(VOICES)]
        self.forgetful = forgetful
        self.experiment_id = self.voices[0].create_experiment("e")
        self.registries = [registry(folder, store) for store in self.voices]
        self.registries[0].create_registered_model("one")
        self.runs = [self.create(self.voices[0]) for _ in range(RUNS)]

    def create(self, store: LedgerTrackingStore) -> str:
        run = store.create_run(self.experiment_id, "u", 1, [], "name")
        return str(run.info.run_id)

    def call(self, who: int, name: str, *arguments: Any) -> str:
        """How a call ends: what an error says, or nothing."""
        store = self.voices[who]
        if self.forgetful:
            store._ledger.known.forget()
        try:
            if "model" in name:
                return self._about_models(self.registries[who], name, *arguments)
            self._does(store, name, *arguments)()
        except MlflowException as error:
            text = error.message.replace(self.experiment_id, "E")
            for number, run_id in enumerate(self.runs):
                text = text.replace(run_id, f"R{number}")
            return text
        return ""

    def _about_models(self, store: LedgerRegistryStore, name: str, *given: Any) -> str:
        if name != "create_model_version":
            return str(getattr(store, name)(*given) is None)
        tags = [ModelVersionTag(key, value) for key, value in given[1].items()]
        made = store.create_model_version(given[0], "s3://m", tags=tags, description="d")
        found = store.get_model_version(given[0], made.version)
        assert dict(made) == dict(found)
        return f"{made.name} {made.version} {made.tags}"

    def _does(
        self, store: LedgerTrackingStore, name: str, number: int = 0, *rest: Any
    ) -> Callable[[], Any]:
        run_id = self.runs[number]
        if name == "create_run":

            def create() -> None:
                self.runs[number] = self.create(store)

            return create
        if name.endswith("_experiment"):
            return lambda: getattr(store, name)(self.experiment_id)
        if name == "log_batch":
            params = [Param(key, value) for key, value in rest[0]]
            return lambda: store.log_batch(run_id, [Metric("m", 1.0, 1, 1)], params, [])
        given = {
            "log_metric": lambda key, value: (Metric(key, value, 1, 1),),
            "log_param": lambda key, value: (Param(key, value),),
            "set_tag": lambda key, value: (RunTag(key, value),),
            "update_run_info": lambda: (3, 5, None),
        }.get(name, lambda *more: more)(*rest)
        return lambda: getattr(store, name)(run_id, *given)

    def outcome(self) -> list[Any]:
        """What every voice sees in the end: the same, and nothing refused by the fold."""
        seen = [self._seen(store) for store in self.voices]
        assert all(other == seen[0] for other in seen)
        for store in self.voices:
            refused = store._ledger.query(
                lambda db: db.execute("SELECT * FROM rejections WHERE length(digest) > 0")
            )
            assert refused.fetchall() == []
        return seen[0]

    def _seen(self, store: LedgerTrackingStore) -> list[Any]:
        found = []
        for run_id in self.runs:
            try:
                run = store.get_run(run_id)
            except MlflowException as error:
                found.append(error.error_code)
                continue
            points = store.get_metric_history(run_id, "m")
            found.append((run.info.lifecycle_stage, run.data.params, run.data.tags, len(points)))
        return found

    def close(self) -> None:
        for store in self.voices:
            store.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, VOICES - 1), CALLS), min_size=5, max_size=40))
def test_foresight_never_changes_an_answer(calls: list[tuple[int, tuple[Any, ...]]]) -> None:
    folder = Path(tempfile.mkdtemp())
    foreseeing = World(folder / "foreseeing", forgetful=False)
    forgetful = World(folder / "forgetful", forgetful=True)
    try:
        for who, call in calls:
            assert foreseeing.call(who, *call) == forgetful.call(who, *call), (who, call)
        assert foreseeing.outcome() == forgetful.outcome()
    finally:
        foreseeing.close()
        forgetful.close()
        shutil.rmtree(folder)


def test_what_is_foreseen_is_not_folded_before_somebody_reads(tmp_path: Path) -> None:
    world = World(tmp_path / "store", forgetful=False)
    one, other = world.voices[:2]
    run_id = world.runs[0]
    one.set_tag(run_id, RunTag("t", "first"))  # looks at the state, and remembers
    state = next(tmp_path.glob("store/state-*.sqlite-wal"))
    before = state.stat().st_size
    for number in range(20):
        one.log_metric(run_id, Metric("m", float(number), number, number))
    assert state.stat().st_size == before
    assert len(other.get_metric_history(run_id, "m")) == 20
    assert state.stat().st_size > before
    world.close()


def test_a_run_that_another_process_deletes_is_noticed(tmp_path: Path) -> None:
    world = World(tmp_path / "store", forgetful=False)
    one, other = world.voices[:2]
    run_id = world.runs[0]
    one.set_tag(run_id, RunTag("t", "1"))
    one.set_tag(run_id, RunTag("t", "2"))
    other.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        one.set_tag(run_id, RunTag("t", "3"))
    other.restore_run(run_id)
    one.set_tag(run_id, RunTag("t", "4"))
    other.log_param(run_id, Param("p", "theirs"))
    with pytest.raises(MlflowException, match="already logged with value='theirs'"):
        one.log_param(run_id, Param("p", "ours"))
    other.delete_experiment(world.experiment_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        world.create(one)
    assert one.search_runs([world.experiment_id], "", ViewType.ACTIVE_ONLY) == []
    world.close()


def test_what_a_writer_leaves_to_others_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path / "store", forgetful=False)
    one = world.voices[0]
    ledger = one._ledger
    state = ledger.files.current()
    assert state is not None
    db = connect(state)  # beside the ledger, which would fold first
    lag = 0
    for number in range(1500):
        one.log_metric(world.runs[0], Metric("m", 1.0, number, number))
        (folded,) = db.execute("SELECT next FROM progress").fetchone()
        lag = max(lag, ledger.log.last_offset() + 1 - folded)
    assert 0 < lag <= 256
    db.close()
    world.close()
