"""Looks at everything that two stores hold, and so compares it."""

from __future__ import annotations

from mlflow.entities import ViewType

from .pair import Pair, Ref


def at_tracking(pair: Pair, experiments: list[Ref], runs: list[Ref], models: list[Ref]) -> None:
    """Compare all of the tracking store, through every kind of read."""
    ids = ["0", *experiments]
    pair.call("search_experiments", view_type=ViewType.ALL, max_results=1000)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
        found = pair.call(
            "search_runs",
            experiment_ids=ids,
            filter_string="",
            run_view_type=view,
            max_results=1000,
        )
        for run in found.value or []:
            for key in run.data.metrics:
                pair.call("get_metric_history", run_id=run.info.run_id, metric_key=key)
    for experiment in ids:
        pair.call("get_experiment", experiment_id=experiment)
    for run in runs:
        pair.call("get_run", run_id=run)
    pair.call("search_logged_models", experiment_ids=ids)
    for model in models:
        pair.call("get_logged_model", model_id=model, allow_deleted=True)
    pair.call("_search_datasets", experiment_ids=ids)
    pair.call("_get_deleted_runs")
    pair.call("_get_deleted_logged_models")


def at_registry(pair: Pair) -> None:
    """Compare all of the registry, through every kind of read."""
    names = [m.name for m in pair.call("search_registered_models", max_results=1000).value or []]
    prompts = pair.call("search_prompts", max_results=1000).value or []
    for name in [*names, *(prompt.name for prompt in prompts)]:
        pair.call("get_registered_model", name=name)
        pair.call("get_latest_versions", name=name)
        pair.call("get_prompt", name=name)
        pair.call("search_prompt_versions", name=name)
        pair.call("get_model_version_by_alias", name=name, alias="latest")
    for version in pair.call("search_model_versions").value or []:
        at = {"name": version.name, "version": version.version}
        pair.call("get_model_version", **at)
        pair.call("get_model_version_download_uri", **at)
    pair.call("list_webhooks")
