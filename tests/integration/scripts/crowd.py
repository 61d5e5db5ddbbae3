"""Several clients of one server, each on a new connection a request: what one wrote, it reads."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.tracking.request_header.registry import _request_header_provider_registry


class OneRequestAConnection(RequestHeaderProvider):
    """Lets every request meet whichever worker takes it first."""

    def in_context(self):
        return True

    def request_headers(self):
        return {"Connection": "close"}


_request_header_provider_registry.register(OneRequestAConnection)
url, experiment_id, who, threads, rounds = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
together = threading.Barrier(threads)


def log(client, run_id, me, step):
    client.log_batch(
        run_id,
        metrics=[Metric("loss", step / 10, 1_700_000_000_000 + step, step)],
        params=[Param(f"p{step}", me)],
        tags=[RunTag("step", str(step)), RunTag("who", me)],
    )
    data = client.get_run(run_id).data
    assert data.metrics == {"loss": step / 10}, data.metrics
    assert data.params == {f"p{number}": me for number in range(step + 1)}, data.params
    assert data.tags["step"] == str(step), data.tags
    history = client.get_metric_history(run_id, "loss")
    assert [point.step for point in history] == list(range(step + 1)), history
    found = client.search_runs([experiment_id], f"tags.step = '{step}' AND tags.who = '{me}'")
    assert [run.info.run_id for run in found] == [run_id], found
    client.delete_tag(run_id, "step")
    assert "step" not in client.get_run(run_id).data.tags


def register(client, run_id, me, step):
    name = f"model-{me}"
    if step == 0:
        client.create_registered_model(name)
    version = client.create_model_version(name, f"s3://nowhere/{step}", run_id).version
    assert int(version) == step + 1, version
    client.set_registered_model_alias(name, "best", version)
    client.set_model_version_tag(name, version, "step", str(step))
    client.transition_model_version_stage(name, version, "Staging", step % 2 == 0)
    read = client.get_model_version_by_alias(name, "best")
    assert (read.version, read.tags, read.current_stage) == (
        version,
        {"step": str(step)},
        "Staging",
    )
    [found] = client.search_model_versions(f"name = '{name}' AND tags.step = '{step}'")
    assert found.version == version, found
    assert client.get_registered_model(name).aliases == {"best": version}
    # The race of all clients for one name's numbers.
    version = client.create_model_version("shared", f"s3://nowhere/{me}/{step}").version
    assert client.get_model_version("shared", version).source == f"s3://nowhere/{me}/{step}"
    return int(version)


def keep(client, run_id, me, step):
    model = client.create_logged_model(experiment_id, f"kept-{me}", run_id, tags={"who": me})
    client.set_logged_model_tags(model.model_id, {"step": str(step)})
    client.finalize_logged_model(model.model_id, "READY")
    read = client.get_logged_model(model.model_id)
    assert (str(read.status), read.tags["step"]) == ("READY", str(step)), read
    found = client.search_logged_models([experiment_id], f"tags.who = '{me}'")
    assert len(found) == step + 1, found


def work(number):
    client, me = MlflowClient(url, url), f"{who}-{number}"
    together.wait(120)
    run_id = client.create_run(experiment_id, run_name=me).info.run_id
    shared = []
    for step in range(rounds):
        log(client, run_id, me, step)
        shared.append(register(client, run_id, me, step))
        keep(client, run_id, me, step)
    client.set_experiment_tag(experiment_id, me, "done")
    assert client.get_experiment(experiment_id).tags[me] == "done"
    client.set_terminated(run_id)
    assert client.get_run(run_id).info.status == "FINISHED"
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    client.restore_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    return run_id, shared


with ThreadPoolExecutor(threads) as pool:
    print(json.dumps(list(pool.map(work, range(threads)))))
