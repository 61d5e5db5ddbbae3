"""Workspaces: each family lives in one, and what lies in others is not there."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from mlflow.entities import (
    ExperimentTag,
    LoggedModelTag,
    Metric,
    Param,
    RunTag,
    ViewType,
    Workspace,
    WorkspaceDeletionMode,
)
from mlflow.entities.model_registry import RegisteredModelTag
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
from mlflow.tracking._workspace import registry as workspace_registry
from mlflow.utils.workspace_context import ServerWorkspaceContext

from . import field_policy
from .families import CORE, FAMILIES, look_at_core
from .family_machine import Calls, FamilyMachine, Lenient, bounds
from .pair import Factory, Pair, Ref, Template, open_pair
from .stores import wants_self
from .test_core import EXISTS, INVALID, MISSING

STATE = "INVALID_STATE"
ACROSS = "list_scorers_across_experiments"
RESOLVE = "resolve_trace_archival_config"
WORKSPACES = ("default", "team-a", "team-b")
EXAMPLES = int(os.environ.get("MLFLOW_LEDGER_WORKSPACE_EXAMPLES", "6"))


@pytest.fixture(autouse=True)
def enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "default")
    monkeypatch.setattr(workspace_registry, "_workspace_store_registry", None)
    # MLflow names no order: it is another one where SQLite takes the index of workspaces.
    for method in ("list_gateway_endpoints", "list_gateway_model_definitions", "list_secret_infos"):
        monkeypatch.setitem(field_policy.RETURNS, method, "unordered")


@pytest.fixture
def pair(tmp_path: Path, template: Template, factory: Factory) -> Iterator[Pair]:
    found = opened(tmp_path, template, factory)
    yield found
    found.close()


def opened(folder: Path, template: Template, factory: Factory) -> Pair:
    """A pair with all workspaces."""
    pair = open_pair(folder, template, factory)
    for name in WORKSPACES[1:]:
        pair.ok("create_workspace", workspace=Workspace(name))
    pair.leftovers.add(ACROSS)
    return pair


def within(workspace: str | None) -> ServerWorkspaceContext:
    return ServerWorkspaceContext(workspace)


def test_workspaces_are_kept_and_changed(pair: Pair) -> None:
    pair.ok("list_workspaces")
    pair.ok("get_default_workspace")
    given = Workspace("third", "what for", "s3://here", "s3://there", "30d")
    pair.ok("create_workspace", workspace=given)
    pair.fails(EXISTS, "create_workspace", workspace=given)
    pair.fails(EXISTS, "create_workspace", workspace=Workspace("default"))
    pair.fails(MISSING, "update_workspace", workspace=Workspace("nowhere", "x"))
    pair.fails(MISSING, "get_workspace", workspace_name="nowhere")
    for change in (
        Workspace("third"),
        Workspace("third", "", "", None, "12h"),
        Workspace("third", "ключ", None, "", ""),
        Workspace("default", None, "s3://default"),
        Workspace("default", "ours"),
    ):
        pair.ok("update_workspace", workspace=change)
        pair.ok("list_workspaces")
    for name in ("third", "default", "nowhere"):
        pair.ok("resolve_artifact_root", default_artifact_root="s3://all", workspace_name=name)
        with within(name):
            pair.ok(
                RESOLVE,
                default_trace_archival_location="s3://traces",
                default_retention="7d",
            )


@pytest.mark.parametrize("name", ["", "a", "A", "-a", "a_b", "api", "x" * 64, 7])
def test_names_that_no_workspace_has(pair: Pair, name: Any) -> None:
    pair.fails(INVALID, "create_workspace", workspace=Workspace(name))


@pytest.mark.parametrize(
    "given",
    [Workspace("third", None, None, "nowhere", None), Workspace("third", None, None, None, "7")],
)
def test_archives_that_cannot_be(pair: Pair, given: Workspace) -> None:
    pair.fails(INVALID, "create_workspace", workspace=given)


def fill(pair: Pair) -> dict[str, Ref]:
    """A bit of everything that stands in a workspace by itself."""
    made: dict[str, Ref] = {"experiment": pair.make("create_experiment", name="e")}
    made["run"] = pair.make(
        "create_run", experiment_id=made["experiment"], user_id="u", start_time=1,
        tags=[RunTag("a", "b")], run_name="r",
    )  # fmt: skip
    made["model"] = pair.make(
        "create_logged_model", experiment_id=made["experiment"], name="m",
        source_run_id=made["run"],
    )  # fmt: skip
    pair.ok("create_registered_model", name="m", tags=[RegisteredModelTag("k", "v")])
    pair.ok("create_model_version", name="m", source="s3://x", run_id=made["run"])
    pair.ok("set_registered_model_alias", name="m", alias="best", version="1")
    made["webhook"] = pair.make(
        "create_webhook", name="w", url="https://8.8.8.8/",
        events=[WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED)],
    )  # fmt: skip
    made["dataset"] = pair.make(
        "create_dataset", name="d", tags={"a": "b"}, experiment_ids=[made["experiment"]]
    )
    return made


def look(pair: Pair, made: Mapping[str, Ref]) -> None:
    """What one workspace shows of what was made, there or elsewhere."""
    experiment, run, model = made["experiment"], made["run"], made["model"]
    pair.call("get_experiment", experiment_id=experiment)
    pair.call("get_experiment_by_name", experiment_name="e")
    pair.call("search_experiments", view_type=ViewType.ALL)
    pair.call("filter_active_experiment_ids", experiment_ids=[experiment])
    pair.call("get_run", run_id=run)
    pair.call("get_metric_history", run_id=run, metric_key="loss")
    pair.call("get_metric_history_bulk", run_ids=[run], metric_key="loss", max_results=9)
    pair.call(
        "search_runs",
        experiment_ids=[experiment, "0"],
        filter_string="",
        run_view_type=ViewType.ALL,
    )
    pair.call("_search_datasets", experiment_ids=[experiment])
    pair.call("get_logged_model", model_id=model)
    pair.call("search_logged_models", experiment_ids=[experiment])
    pair.call("get_registered_model", name="m")
    pair.call("search_registered_models")
    pair.call("search_model_versions")
    pair.call("get_model_version", name="m", version="1")
    pair.call("get_model_version_by_alias", name="m", alias="best")
    pair.call("get_latest_versions", name="m")
    pair.call("get_webhook", webhook_id=made["webhook"])
    pair.call("list_webhooks")
    pair.call("get_dataset", dataset_id=made["dataset"])
    pair.call("search_datasets", experiment_ids=[experiment])
    pair.call("get_dataset_experiment_ids", dataset_id=made["dataset"])


def change(pair: Pair, made: Mapping[str, Ref]) -> None:
    """Writes about all of it."""
    experiment, run, model = made["experiment"], made["run"], made["model"]
    pair.call(
        "create_run", experiment_id=experiment, user_id="u", start_time=2, tags=[], run_name=""
    )
    pair.call("log_metric", run_id=run, metric=Metric("loss", 1.0, 5, 0))
    pair.call("log_param", run_id=run, param=Param("p", "v"))
    pair.call("set_tag", run_id=run, tag=RunTag("t", "v"))
    pair.call("delete_tag", run_id=run, key="t")
    pair.call("log_batch", run_id=run, metrics=[Metric("acc", 1.0, 5, 0)], params=[], tags=[])
    pair.call("update_run_info", run_id=run, run_status=3, end_time=9, run_name="new")
    pair.call("delete_run", run_id=run)
    pair.call("restore_run", run_id=run)
    pair.call("set_experiment_tag", experiment_id=experiment, tag=ExperimentTag("a", "b"))
    pair.call("rename_experiment", experiment_id=experiment, new_name="e2")
    pair.call("rename_experiment", experiment_id=experiment, new_name="e")
    pair.call("set_logged_model_tags", model_id=model, tags=[LoggedModelTag("a", "b")])
    pair.call("finalize_logged_model", model_id=model, status="READY")
    pair.call("create_logged_model", experiment_id=experiment, name="x", source_run_id=run)
    pair.call("update_registered_model", name="m", description="d")
    pair.call("create_model_version", name="m", source="s3://y", run_id=run)
    pair.call("set_model_version_tag", name="m", version="1", tag=RegisteredModelTag("a", "b"))
    pair.call("set_registered_model_alias", name="m", alias="other", version="1")
    pair.call("update_webhook", webhook_id=made["webhook"], name="w2")
    pair.call("update_webhook", webhook_id=made["webhook"], name="w")
    pair.call("set_dataset_tags", dataset_id=made["dataset"], tags={"c": "d"})
    pair.call("add_dataset_to_experiments", dataset_id=made["dataset"], experiment_ids=[experiment])
    pair.call("upsert_dataset_records", dataset_id=made["dataset"], records=[{"inputs": {"q": 1}}])


def test_what_lies_in_another_workspace_is_not_there(pair: Pair) -> None:
    made = {}
    for workspace in WORKSPACES:
        with within(workspace):
            made[workspace] = fill(pair)
    for asked, others in itertools.product(WORKSPACES, repeat=2):
        with within(asked):
            change(pair, made[others])
            look(pair, made[others])


def test_a_name_is_unique_in_its_workspace(pair: Pair) -> None:
    for workspace in WORKSPACES:
        with within(workspace):
            pair.make("create_experiment", name="e")
            pair.fails(EXISTS, "create_experiment", name="e")
            pair.ok("create_registered_model", name="m")
            pair.fails(EXISTS, "create_registered_model", name="m")


def test_scorers_of_another_workspace_are_not_there(pair: Pair) -> None:
    """MLflow's store has them all the same; it is its server that leaves them out."""
    made = {}
    for workspace in WORKSPACES:
        with within(workspace):
            made[workspace] = pair.make("create_experiment", name="e")
            pair.ok(
                "register_scorer",
                experiment_id=made[workspace],
                name="q",
                serialized_scorer='{"name": "q", "call_source": "return 1"}',
            )
    for workspace in WORKSPACES:
        with within(workspace):
            pair.ok("filter_active_experiment_ids", experiment_ids=list(made.values()))
            assert len(pair.ok(ACROSS, experiment_ids=[made[workspace]])) == 1
            answer = pair.compare(ACROSS, experiment_ids=list(made.values()))
            counts = [len(answer.value), len(answer.other)]
            assert counts == ([3, 3] if wants_self() else [3, 1])


def test_artifacts_go_below_the_workspace(pair: Pair) -> None:
    pair.ok("update_workspace", workspace=Workspace("team-b", None, "s3://b"))
    for workspace in WORKSPACES:
        with within(workspace):
            experiment = pair.make("create_experiment", name="e")
            pair.ok("get_experiment", experiment_id=experiment)
            pair.fails(INVALID, "create_experiment", name="x", artifact_location="s3://x")


def test_without_a_workspace_nothing_is_said(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_WORKSPACE")
    pair.fails(INVALID, "create_experiment", name="e")
    pair.fails(INVALID, "get_experiment", experiment_id="0")
    pair.fails(INVALID, "create_registered_model", name="m")


@pytest.mark.parametrize("mode", [*WorkspaceDeletionMode, "else"])
def test_a_workspace_is_deleted(pair: Pair, mode: Any) -> None:
    pair.fails(STATE, "delete_workspace", workspace_name="default", mode=mode)
    pair.fails(MISSING, "delete_workspace", workspace_name="nowhere", mode=mode)
    with within("team-a"):
        made = fill(pair)
    pair.call("delete_workspace", workspace_name="team-a", mode=mode)
    pair.call("delete_workspace", workspace_name="team-b", mode=mode)
    pair.ok("list_workspaces")
    for workspace in ("default", "team-a"):
        with within(workspace):
            look(pair, made)
            pair.call("create_experiment", name="e")


@pytest.mark.parametrize("mode", list(WorkspaceDeletionMode))
def test_what_has_a_name_twice_stays_apart(pair: Pair, mode: Any) -> None:
    made = {}
    for workspace in WORKSPACES[:2]:
        with within(workspace):
            made[workspace] = fill(pair)
    pair.call("delete_workspace", workspace_name="team-a", mode=mode)
    for workspace in WORKSPACES[:2]:
        with within(workspace):
            for one in made.values():
                look(pair, one)


@pytest.mark.parametrize("what", ["experiment", "registered_model", "webhook", "dataset"])
def test_any_one_thing_forbids_the_deletion(pair: Pair, what: str) -> None:
    given: dict[str, Any] = {
        "webhook": {
            "url": "https://8.8.8.8/",
            "events": [WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED)],
        }
    }
    for workspace in WORKSPACES[:2]:
        with within(workspace):
            pair.ok(f"create_{what}", name="n", **given.get(what, {}))
    for mode in (WorkspaceDeletionMode.RESTRICT, WorkspaceDeletionMode.SET_DEFAULT):
        pair.fails(STATE, "delete_workspace", workspace_name="team-a", mode=mode)


IN_WORKSPACES: Calls = CORE | {
    "create_workspace": st.fixed_dictionaries(
        {"workspace": st.sampled_from(WORKSPACES[1:]).map(Workspace)}
    ),
    "delete_workspace": st.fixed_dictionaries({
        "workspace_name": st.sampled_from(WORKSPACES[1:]),
        "mode": st.sampled_from(WorkspaceDeletionMode),
    }),
}  # fmt: skip
"""Calls to the core store and the registry, and what becomes of workspaces meanwhile."""


class WorkspaceMachine(FamilyMachine):
    """One history, whose calls are made in several workspaces."""

    def an_experiment(self) -> None:
        """Each workspace has one to begin with."""

    @initialize()
    def experiments(self) -> None:
        self.places: dict[Ref, str] = {}
        self.made["create_experiment"] = [Ref("0", "0")]
        for workspace in WORKSPACES:
            with within(workspace):
                self.call("create_experiment", {"name": "a"})

    def call(self, method: str, kwargs: dict[str, Any]) -> None:
        super().call(method, kwargs)

    def teardown(self) -> None:
        ids = defaultdict(list, self.made)
        try:
            for workspace in WORKSPACES:
                with within(workspace):
                    self.look(self.pair, ids)
        finally:
            self.pair.close()


def play_in_workspaces(
    folder: Path, template: Template, factory: Factory, calls: Calls, look: Any, examples: int
) -> None:
    count = itertools.count()
    drawn = st.tuples(st.sampled_from(WORKSPACES), st.sampled_from(sorted(calls))).flatmap(
        lambda both: st.tuples(st.just(both[0]), st.just(both[1]), calls[both[1]])
    )

    class Machine(WorkspaceMachine):
        @rule(drawn=drawn)
        def call_one(self, drawn: tuple[str, str, dict[str, Any]]) -> None:
            workspace, method, kwargs = drawn
            with within(workspace):
                self.call(method, kwargs)

    def machine() -> Machine:
        pair = opened(folder / str(next(count)), template, factory)
        return Machine(pair, lambda pair, ids: look(Lenient(pair), ids))

    run_state_machine_as_test(
        machine,
        settings=bounds(examples, 30),
    )


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play_in_workspaces(tmp_path, template, factory, IN_WORKSPACES, look_at_core, EXAMPLES)


@pytest.mark.brokers
@pytest.mark.parametrize("family", list(FAMILIES.values()), ids=list(FAMILIES))
def test_histories_of_each_family(
    tmp_path: Path, template: Template, factory: Factory, family: ModuleType
) -> None:
    play_in_workspaces(tmp_path, template, factory, family.CALLS, family._look, EXAMPLES)
