"""What MLflow's own commands delete, restore and delete for good, of every family."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from click import Group
from click.testing import CliRunner
from mlflow.entities import Metric
from mlflow.utils import crypto

from . import look
from .pair import Pair, Ref
from .sides import Side, resolve
from .test_evaluation_datasets import digests
from .test_evaluation_datasets import look as look_at_dataset
from .test_gateway_endpoints import endpoint_of, two_models
from .test_gateway_guardrails import guardrail_of, scorer_of
from .test_issues import new_issue
from .test_review_queues import look_at as look_at_queue
from .test_review_queues import new_queue, new_schema
from .test_trace_search import expectation, feedback
from .tracing import BEGIN_MS, span, start, trace, trace_id


@pytest.fixture(scope="module")
def program() -> Group:
    """MLflow's program; importing it warns of what MLflow does itself, and reads its defaults."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        from mlflow.cli import cli

        return cli


@dataclass
class Scene:
    """Two experiments that hold something of every family, and commands on both stores."""

    pair: Pair
    command: Callable[..., None]
    experiments: list[Ref]
    runs: list[Ref]
    models: list[Ref]
    schemas: list[Ref]
    queues: list[Ref]
    issues: list[Ref]
    datasets: list[Ref]
    endpoints: list[Ref]

    def look(self) -> None:
        """Compare all that there is to read."""
        pair = self.pair
        look.at_tracking(pair, self.experiments, self.runs, self.models)
        ids = [trace_id(number) for number in range(1, 7)]
        for one in ids:
            pair.call("get_trace", trace_id=one)
        pair.call("batch_get_traces", trace_ids=ids)
        for experiment in ("0", *self.experiments):
            pair.call("search_traces", locations=[experiment])
            for run in self.runs:
                filters = f"run_id = '{run}'"
                pair.call("search_traces", locations=[experiment], filter_string=filters)
            for method in ("list_label_schemas", "list_review_queues", "list_scorers"):
                pair.call(method, experiment_id=experiment)
            pair.call("search_issues", experiment_id=experiment)
            pair.call("search_datasets", experiment_ids=[experiment])
        for schema in self.schemas:
            pair.call("get_label_schema", schema_id=schema)
        for queue in self.queues:
            look_at_queue(pair, queue)
        for issue in self.issues:
            pair.call("get_issue", issue_id=issue)
        for dataset in self.datasets:
            look_at_dataset(pair, dataset)
            digests(pair, dataset)
        for endpoint in self.endpoints:
            pair.call("get_gateway_endpoint", endpoint_id=endpoint)
            pair.call("list_endpoint_bindings", endpoint_id=endpoint)
            pair.call("list_endpoint_guardrail_configs", endpoint_id=endpoint)
        pair.call("list_gateway_endpoints")
        pair.call("list_gateway_guardrails")
        pair.call("get_active_online_scorers")
        pair.call("search_issues")
        until = BEGIN_MS + 99
        pair.call("sum_gateway_trace_cost", start_time_ms=0, end_time_ms=until)


@pytest.fixture
def scene(pair: Pair, program: Group, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)
    uris = [getattr(s.tracking, "db_uri", None) or s.tracking._uri for s in pair.sides]
    if not uris[1].startswith(("sqlite:", "ledger:")):
        pytest.skip("a command would need this host's replica for itself")

    def command(*words: str) -> None:
        def call(side: Side) -> str:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MLFLOW_TRACKING_URI", uris[side.number])
                given = [resolve(word, side.number) for word in words]
                if given[0] == "gc":
                    given += ["--backend-store-uri", uris[side.number]]
                done = CliRunner().invoke(program, given)
            told = f"{done.exit_code} {type(done.exception).__name__}\n{done.stdout}"
            return "\n".join(sorted(side.text(told).splitlines()))

        one, other = pair.do(call)
        assert one == other

    return filled(pair, command)


def filled(pair: Pair, command: Callable[..., None]) -> Scene:
    scene = Scene(pair, command, [], [], [], [], [], [], [], [])
    small, large = two_models(pair)
    for number, name in enumerate(("doomed", "kept")):
        experiment = pair.make("create_experiment", name=name)
        run = pair.make(
            "create_run", experiment_id=experiment, user_id="ann", start_time=1, tags=[],
            run_name=name,
        )  # fmt: skip
        pair.ok("log_metric", run_id=run, metric=Metric("loss", 0.5, 1, 0))
        model = pair.make("create_logged_model", experiment_id=experiment, source_run_id=run)
        schema = new_schema(pair, "question", experiment)
        queue = new_queue(pair, experiment, schema_ids=[schema], users=["ann"])
        traces = [trace_id(3 * number + place) for place in (1, 2, 3)]
        for place in (1, 2, 3):
            of = 3 * number + place
            start(pair, trace(of, experiment, trace_metadata={"mlflow.gateway.endpointId": "e"}))
            cost = {"mlflow.llm.cost": {"total_cost": 0.5}}
            pair.ok("log_spans", location=experiment, spans=[span(of, attributes=cost)])
            for said in (feedback(of, "good", True), expectation(of, "right", 1)):
                pair.ok("create_assessment", assessment=said)
        pair.ok("link_traces_to_run", trace_ids=traces, run_id=run)
        pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=traces)
        issue = new_issue(pair, experiment, source_run_id=run)
        dataset = pair.make("create_dataset", name=name, experiment_ids=[experiment, "0"])
        records = [{"inputs": {"q": 1}, "expectations": {"a": 2}}]
        pair.ok("upsert_dataset_records", dataset_id=dataset, records=records)
        endpoint = endpoint_of(
            pair, (small, large)[number], name=name, experiment_id=experiment, usage_tracking=True
        )
        scorer_of(pair, experiment_id=experiment)
        told = {"experiment_id": experiment, "scorer_name": "q"}
        pair.ok("upsert_online_scoring_config", **told, sample_rate=0)
        for held, made in (
            (scene.experiments, experiment), (scene.runs, run), (scene.models, model),
            (scene.schemas, schema), (scene.queues, queue), (scene.issues, issue),
            (scene.datasets, dataset), (scene.endpoints, endpoint),
        ):  # fmt: skip
            held.append(made)
    return scene


def test_an_experiment_is_deleted_and_restored(scene: Scene) -> None:
    doomed, _ = scene.experiments
    scene.look()
    scene.command("experiments", "delete", "-x", doomed)
    scene.look()
    scene.command("gc", "--older-than", "1d")
    scene.look()
    scene.command("experiments", "restore", "-x", doomed)
    scene.look()
    scene.command("gc")
    scene.look()


def test_an_experiment_is_deleted_for_good(scene: Scene) -> None:
    doomed, kept = scene.experiments
    scene.command("gc", "--experiment-ids", doomed)
    scene.command("experiments", "delete", "-x", doomed)
    scene.command("gc", "--experiment-ids", doomed)
    scene.look()
    scene.command("experiments", "restore", "-x", doomed)
    scene.command("experiments", "delete", "-x", kept)
    scene.command("gc")
    scene.look()


def test_an_experiment_whose_scorer_guards_stays(scene: Scene) -> None:
    doomed, _ = scene.experiments
    other = scene.pair.make("create_experiment", name="guarded")
    scene.experiments.append(other)
    scorer = scorer_of(scene.pair, experiment_id=other)
    guardrail = guardrail_of(scene.pair, scorer)
    use = {"endpoint_id": scene.endpoints[0], "guardrail_id": guardrail}
    scene.pair.ok("add_guardrail_to_endpoint", **use)
    for experiment in (other, doomed):
        scene.command("experiments", "delete", "-x", experiment)
    scene.command("gc", "--experiment-ids", other)
    scene.look()
    scene.pair.ok("delete_gateway_guardrail", guardrail_id=guardrail)
    scene.command("gc")
    scene.look()


def test_a_run_is_deleted_restored_and_deleted_for_good(scene: Scene) -> None:
    run, other = scene.runs
    scene.command("runs", "delete", "--run-id", run)
    scene.look()
    scene.command("runs", "restore", "--run-id", run)
    scene.look()
    scene.command("gc", "--run-ids", run)
    scene.command("runs", "delete", "--run-id", run)
    scene.command("gc", "--run-ids", run)
    scene.look()
    scene.command("runs", "restore", "--run-id", run)
    scene.pair.ok("delete_logged_model", model_id=scene.models[1])
    scene.command("gc", "--logged-model-ids", scene.models[1])
    scene.command("runs", "delete", "--run-id", other)
    scene.command("gc")
    scene.look()


def test_traces_are_deleted_by_id_and_by_age(scene: Scene) -> None:
    doomed, kept = scene.experiments
    delete = ("traces", "delete", "--experiment-id")
    scene.command(*delete, doomed, "--trace-ids", f"{trace_id(1)},{trace_id(4)},none")
    scene.look()
    scene.command(*delete, kept, "--max-timestamp-millis", str(BEGIN_MS + 5), "--max-traces", "1")
    scene.look()
    scene.command(*delete, kept, "--max-timestamp-millis", str(BEGIN_MS + 5))
    scene.look()
    scene.command(*delete, doomed)
    scene.command("traces", "delete-assessment", "--trace-id", trace_id(2), "--assessment-id", "a")
    scene.command("experiments", "delete", "-x", doomed)
    scene.command(*delete, doomed, "--max-timestamp-millis", str(BEGIN_MS + 9))
    scene.look()
    scene.command("gc")
    scene.look()
