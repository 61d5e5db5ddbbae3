"""Rules of the machine for prompts, links, webhooks, and calls that name nothing or too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule
from mlflow.entities import ExperimentTag, LoggedModelTag, Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.entities.webhook import WebhookStatus
from mlflow.models import Model

from . import machine_values as v
from .pair import Pair

GONE = "f" * 32
NO_EXPERIMENT = {"experiment_id": "123456"}
NO_RUN = {"run_id": GONE}
NO_MODEL = {"model_id": f"m-{GONE}"}
NO_VERSION = {"name": "not there", "version": 3}
NO_NAME = {"name": "not there"}
NO_HOOK = {"webhook_id": "00000000-0000-0000-0000-000000000000"}
RUN = {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n"}

NOTHING: list[tuple[str, dict[str, Any]]] = [
    ("get_experiment", NO_EXPERIMENT),
    ("delete_experiment", NO_EXPERIMENT),
    ("restore_experiment", NO_EXPERIMENT),
    ("rename_experiment", {**NO_EXPERIMENT, "new_name": "x"}),
    ("set_experiment_tag", {**NO_EXPERIMENT, "tag": ExperimentTag("k", "v")}),
    ("delete_experiment_tag", {**NO_EXPERIMENT, "key": "k"}),
    ("_hard_delete_experiment", NO_EXPERIMENT),
    ("create_run", {**NO_EXPERIMENT, **RUN}),
    ("create_logged_model", {**NO_EXPERIMENT, "name": "m"}),
    ("get_run", NO_RUN),
    ("delete_run", NO_RUN),
    ("restore_run", NO_RUN),
    ("_hard_delete_run", NO_RUN),
    ("update_run_info", {**NO_RUN, "run_status": 3, "end_time": 1, "run_name": "n"}),
    ("log_metric", {**NO_RUN, "metric": Metric("m", 1.0, 1, 0)}),
    ("log_param", {**NO_RUN, "param": Param("k", "v")}),
    ("set_tag", {**NO_RUN, "tag": RunTag("k", "v")}),
    ("delete_tag", {**NO_RUN, "key": "k"}),
    ("log_batch", {**NO_RUN, "metrics": [], "params": [Param("k", "v")], "tags": []}),
    ("log_inputs", {**NO_RUN, "datasets": []}),
    ("log_outputs", {**NO_RUN, "models": []}),
    ("record_logged_model", {**NO_RUN, "mlflow_model": "x"}),
    ("get_logged_model", NO_MODEL),
    ("delete_logged_model", NO_MODEL),
    ("_hard_delete_logged_model", NO_MODEL),
    ("finalize_logged_model", {**NO_MODEL, "status": "READY"}),
    ("set_logged_model_tags", {**NO_MODEL, "tags": [LoggedModelTag("k", "v")]}),
    ("delete_logged_model_tag", {**NO_MODEL, "key": "k"}),
    ("log_logged_model_params", {**NO_MODEL, "params": []}),
    ("set_model_versions_tags", {**NO_MODEL, "name": "a", "version": "1"}),
    ("get_registered_model", NO_NAME),
    ("delete_registered_model", NO_NAME),
    ("rename_registered_model", {**NO_NAME, "new_name": "x"}),
    ("update_registered_model", {**NO_NAME, "description": "d"}),
    ("get_latest_versions", NO_NAME),
    ("set_registered_model_tag", {**NO_NAME, "tag": RegisteredModelTag("k", "v")}),
    ("delete_registered_model_tag", {**NO_NAME, "key": "k"}),
    ("set_registered_model_alias", {**NO_VERSION, "alias": "best"}),
    ("delete_registered_model_alias", {**NO_NAME, "alias": "best"}),
    ("get_model_version_by_alias", {**NO_NAME, "alias": "best"}),
    ("create_model_version", {**NO_NAME, "source": "s"}),
    ("get_model_version", NO_VERSION),
    ("get_model_version_download_uri", NO_VERSION),
    ("update_model_version", {**NO_VERSION, "description": "d"}),
    ("delete_model_version", NO_VERSION),
    ("set_model_version_tag", {**NO_VERSION, "tag": ModelVersionTag("k", "v")}),
    ("delete_model_version_tag", {**NO_VERSION, "key": "k"}),
    (
        "transition_model_version_stage",
        {**NO_VERSION, "stage": "Staging", "archive_existing_versions": False},
    ),
    ("get_prompt", NO_NAME),
    ("delete_prompt", NO_NAME),
    ("create_prompt_version", {**NO_NAME, "template": "t"}),
    ("get_prompt_version", NO_VERSION),
    ("get_prompt_version_by_alias", {**NO_NAME, "alias": "best"}),
    ("delete_prompt_version", NO_VERSION),
    ("set_prompt_tag", {**NO_NAME, "key": "k", "value": "v"}),
    ("delete_prompt_tag", {**NO_NAME, "key": "k"}),
    ("set_prompt_version_tag", {**NO_VERSION, "key": "k", "value": "v"}),
    ("delete_prompt_version_tag", {**NO_VERSION, "key": "k"}),
    ("set_prompt_alias", {**NO_VERSION, "alias": "best"}),
    ("delete_prompt_alias", {**NO_NAME, "alias": "best"}),
    ("get_webhook", NO_HOOK),
    ("delete_webhook", NO_HOOK),
    ("update_webhook", {**NO_HOOK, "name": "x"}),
]

SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("search_experiments", {}),
    ("search_runs", {"experiment_ids": ["0"], "filter_string": "", "run_view_type": 1}),
    ("search_logged_models", {"experiment_ids": ["0"]}),
    ("search_registered_models", {}),
    ("search_model_versions", {}),
    ("search_prompts", {}),
    ("list_webhooks", {}),
]
SIZES = [0, -1, 1, 1000, 1001, 50_000, 50_001, 200_000, 200_001]
# Nothing, nonsense, no document, {"offset": 2}, {"offset": "x"}.
TOKENS = [None, "", "x", "e30=", "eyJvZmZzZXQiOiAyfQ==", "eyJvZmZzZXQiOiAieCJ9"]


class OddCalls(RuleBasedStateMachine):
    """What the machine does besides the everyday; its bundles are the machine's own."""

    pair: Pair
    runs: Bundle[Any] = Bundle("runs")
    models: Bundle[Any] = Bundle("models")
    experiments: Bundle[Any] = Bundle("experiments")
    registered: Bundle[Any] = Bundle("registered")
    prompts: Bundle[Any] = Bundle("prompts")
    hooks: Bundle[Any] = Bundle("hooks")

    @initialize(target=prompts)
    def some_prompts(self) -> Any:
        for name in ("p", "q"):
            self.pair.ok("create_prompt", name=name, tags={"k": "v"})
            for template in ("{{a}}", "b"):
                tags = {"k": template}
                self.pair.ok("create_prompt_version", name=name, template=template, tags=tags)
        return multiple("p", "q")

    @rule(which=st.sampled_from(NOTHING))
    def name_nothing(self, which: tuple[str, dict[str, Any]]) -> None:
        method, kwargs = which
        self.pair.call(method, **kwargs)

    @rule(which=st.sampled_from(SEARCHES), size=st.sampled_from(SIZES))
    def ask_for_an_odd_page(self, which: tuple[str, dict[str, Any]], size: int) -> None:
        method, kwargs = which
        self.pair.call(method, max_results=size, **kwargs)

    @rule(which=st.sampled_from(SEARCHES), token=st.sampled_from(TOKENS))
    def give_an_odd_token(self, which: tuple[str, dict[str, Any]], token: str | None) -> None:
        method, kwargs = which
        self.pair.call(method, max_results=2, page_token=token, **kwargs)

    @rule(run=runs, size=st.sampled_from([0, 1, 3]), steps=st.lists(v.times, max_size=4))
    def histories_at_steps(self, run: str, size: int, steps: list[int]) -> None:
        args = {"run_id": run, "metric_key": "m"}
        self.pair.call("get_max_step_for_metric", **args)
        self.pair.call(
            "get_metric_history_bulk_interval_from_steps", steps=steps, max_results=size, **args
        )

    @rule(some=st.lists(experiments, max_size=3))
    def ask_which_are_active(self, some: list[str]) -> None:
        self.pair.call("filter_active_experiment_ids", experiment_ids=some)

    @rule(run=runs, path=v.names)
    def record_logged_model(self, run: str, path: str) -> None:
        model = Model(artifact_path=path, run_id=run, utc_time_created="then", model_uuid="u")
        self.pair.call("record_logged_model", run_id=run, mlflow_model=model)

    @rule(name=registered, version=v.versions, model=models)
    def link_version(self, name: str, version: int, model: str) -> None:
        args = {"name": name, "version": str(version), "model_id": model}
        self.pair.call("set_model_versions_tags", **args)

    @rule(name=registered, stages=st.lists(v.stages, max_size=2))
    def latest(self, name: str, stages: list[str]) -> None:
        self.pair.call("get_latest_versions", name=name, stages=stages or None)

    @rule(target=registered, name=registered, version=v.versions, new=v.names)
    def copy_model_version(self, name: str, version: int, new: str) -> Any:
        found = self.pair.call("get_model_version", name=name, version=version)
        if found.value is None:
            return multiple()
        # The two stores' entities differ in their times; a copy looks at these fields alone.
        names = "name version source run_id run_link description tags model_id params metrics"
        source = SimpleNamespace(**{n: getattr(found.value, n, None) for n in names.split()})
        answer = self.pair.call("copy_model_version", src_mv=source, dst_name=new)
        return multiple() if answer.error else new

    # --- prompts

    @rule(target=prompts, name=v.names, template=v.texts, key=v.keys)
    def create_prompt(self, name: str, template: str, key: str) -> Any:
        made = self.pair.call("create_prompt", name=name, tags={key: template})
        self.pair.call("create_prompt_version", name=name, template=template)
        return multiple() if made.error else name

    @rule(name=prompts, key=v.keys, value=v.texts, version=v.versions)
    def tag_prompt(self, name: str, key: str, value: str, version: int) -> None:
        self.pair.call("set_prompt_tag", name=name, key=key, value=value)
        at = {"name": name, "version": version}
        self.pair.call("set_prompt_version_tag", key=key, value=value, **at)

    @rule(name=prompts, key=v.keys, version=v.versions)
    def untag_prompt(self, name: str, key: str, version: int) -> None:
        self.pair.call("delete_prompt_tag", name=name, key=key)
        self.pair.call("delete_prompt_version_tag", name=name, version=version, key=key)

    @rule(name=prompts, alias=v.aliases, version=v.versions)
    def alias_prompt(self, name: str, alias: str, version: int) -> None:
        self.pair.call("set_prompt_alias", name=name, alias=alias, version=version)
        self.pair.call("get_prompt_version_by_alias", name=name, alias=alias)

    @rule(name=prompts, alias=v.aliases)
    def unalias_prompt(self, name: str, alias: str) -> None:
        self.pair.call("delete_prompt_alias", name=name, alias=alias)

    @rule(name=prompts, version=v.versions, run=runs, model=models)
    def link_prompt(self, name: str, version: int, run: str, model: str) -> None:
        at = {"name": name, "version": str(version)}
        self.pair.call("link_prompt_version_to_run", run_id=run, **at)
        self.pair.call("link_prompt_version_to_model", model_id=model, **at)

    @rule(name=prompts, version=v.versions, whole=st.booleans())
    def delete_prompt(self, name: str, version: int, whole: bool) -> None:
        self.pair.call("get_prompt_version", name=name, version=version)
        self.pair.call("delete_prompt_version", name=name, version=version)
        if whole:
            self.pair.call("delete_prompt", name=name)

    @rule(name=prompts, size=v.sizes, text=v.registered_filters)
    def search_prompts(self, name: str, size: int, text: str) -> None:
        self.pair.pages("search_prompt_versions", size, name=name)
        self.pair.pages("search_prompts", size, filter_string=text)

    # --- webhooks

    @rule(target=hooks, name=v.names, events=v.events, secret=v.optional_texts)
    def create_webhook(self, name: str, events: Any, secret: Any) -> Any:
        args = {"url": "https://8.8.8.8/", "events": events, "secret": secret}
        ref = self.pair.call("create_webhook", name=name, **args).ref
        return multiple() if ref is None else ref

    @rule(hook=hooks, name=v.names, status=st.sampled_from([None, *WebhookStatus]), events=v.events)
    def update_webhook(self, hook: str, name: str, status: Any, events: Any) -> None:
        args = {"name": name, "status": status, "events": events or None}
        self.pair.call("update_webhook", webhook_id=hook, **args)

    @rule(hook=hooks, events=v.events, size=v.sizes, delete=st.booleans())
    def turn_webhook(self, hook: str, events: Any, size: int, delete: bool) -> None:
        for event in events:
            self.pair.pages("list_webhooks_by_event", size, event=event)
        self.pair.call("delete_webhook" if delete else "get_webhook", webhook_id=hook)
