"""Webhooks as MLflow delivers them: from MLflow's server on its SQL store, from the same server on
a ledger, and from the bridge. All three send the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent, WebhookEventStr
from mlflow.exceptions import MlflowException

from .programs import COMMAND, MLFLOW, Server, run, serving
from .receivers import Receiver, receiving

LOCAL = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "1",
}
EVENTS = [WebhookEvent.from_str(name) for name in get_args(WebhookEventStr)]
SECRET = "between us"
STORES = {"sql": "sqlite:///mlflow.db", "ledger": "ledger:./store", "bridge": "ledger:./store"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """MLflow's server, one worker, on each store."""
    with ExitStack() as stack:
        found = {}
        for name, store in STORES.items():
            folder = tmp_path_factory.mktemp(name)
            command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", store]
            more = {"MLFLOW_LEDGER_WEBHOOKS": "bridge"} if name == "bridge" else {}
            found[name] = stack.enter_context(serving(folder, command, "/health", **LOCAL, **more))
        yield found


def work(client: MlflowClient) -> int:
    """Call all that webhooks are told of; returns how often that is."""
    client.create_registered_model("wine", {"team": "a"}, "A model.")
    client.create_registered_model("beer")
    run_id = client.create_run("0").info.run_id
    client.create_model_version("wine", "s3://bucket/wine", run_id, {"k": "v"}, None, "First.")
    client.create_model_version("wine", "s3://bucket/wine")
    client.set_registered_model_tag("wine", "no", "event")
    client.set_model_version_tag("wine", "1", "checked", "yes")
    client.delete_model_version_tag("wine", "1", "checked")
    client.set_registered_model_alias("wine", "champion", "2")
    client.delete_registered_model_alias("wine", "champion")
    client.transition_model_version_stage("wine", "1", "Staging")
    client.update_registered_model("wine", "Nobody is told.")
    with pytest.raises(MlflowException):
        client.create_registered_model("wine")
    client.create_prompt("greet", "A prompt.", {"tone": "kind"})
    client.create_prompt_version("greet", "Hello {{name}}", "First.", {"lang": "en"})
    client.set_prompt_tag("greet", "tone", "rude")
    client.delete_prompt_tag("greet", "tone")
    client.set_prompt_version_tag("greet", "1", "lang", "de")
    client.delete_prompt_version_tag("greet", "1", "lang")
    client.set_prompt_alias("greet", "live", 1)
    client.delete_prompt_alias("greet", "live")
    return 8 + 8


def test_all_three_send_the_same(servers: dict[str, Server], receiver: Receiver) -> None:
    sent = {}
    for name, server in servers.items():
        client = MlflowClient(server.url, server.url)
        client.create_webhook("all", f"{receiver.url}/{name}", EVENTS, secret=SECRET)
        client.create_webhook("open", f"{receiver.url}/{name}-open", EVENTS[:1])
        off = client.create_webhook("off", f"{receiver.url}/{name}-off", EVENTS, status="DISABLED")
        count = work(client)
        assert client.get_webhook(off.webhook_id).status == "DISABLED"
        if name == "bridge":
            assert receiver.taken(f"/{name}") == []
            said = bridge(server.folder, "--once")
            assert said.count("delivered") == count + 2
        sent[name] = receiver.wait(count, f"/{name}")
        receiver.wait(2, f"/{name}-open")
    for name, requests in sent.items():
        assert len(requests) == 16, name
        assert all(request.is_signed(SECRET) for request in requests)
        assert {r.headers["content-type"] for r in requests} == {"application/json"}
        (plain, *_) = receiver.taken(f"/{name}-open")
        assert "x-mlflow-signature" not in plain.headers
        assert list(plain.document) == ["entity", "action", "timestamp", "data"]
        assert receiver.taken(f"/{name}-off") == []
    # MLflow's server sends from several threads at once; the bridge keeps the order of the log.
    assert told(sent["ledger"]) == told(sent["sql"])
    assert told(sent["bridge"]) == told(sent["sql"])
    actions = [request.told[0] for request in sent["bridge"]]
    assert actions[:4] == ["registered_model.created"] * 2 + ["model_version.created"] * 2
    assert actions[-2:] == ["prompt_alias.created", "prompt_alias.deleted"]


def told(requests: list) -> list[str]:
    """What was said, but for ids of runs, in an order that does not depend on threads."""
    said = []
    for request in requests:
        name, data = request.told
        if data.get("run_id"):
            data["run_id"] = "a run"
        said.append(f"{name} {sorted(data.items())}")
    return sorted(said)


def bridge(folder: Path, *options: str, status: int = 0) -> str:
    return run(
        folder, COMMAND, "webhooks", "ledger:./store", *options, status=status, **LOCAL
    ).stdout


@pytest.mark.parametrize("event", [None, *EVENTS], ids=str)
def test_a_webhook_is_tested_alike(
    event: WebhookEvent | None, servers: dict[str, Server], receiver: Receiver
) -> None:
    answers, sent = [], []
    for name, server in servers.items():
        client = MlflowClient(server.url, server.url)
        path = f"/test-{name}-{event}"
        # MLflow's SQL store has no order of events, and takes whichever comes first.
        events = EVENTS if event else EVENTS[:1]
        hook = client.create_webhook("tested", receiver.url + path, events, secret=SECRET)
        result = client.test_webhook(hook.webhook_id, event)
        client.delete_webhook(hook.webhook_id)
        answers.append((result.success, result.response_status, result.error_message))
        (request,) = receiver.taken(path)
        assert request.is_signed(SECRET)
        sent.append(request.told)
    assert answers == [(True, 200, None)] * 3
    assert sent[1:] == sent[:1] * 2


def test_a_test_that_fails_says_the_same(servers: dict[str, Server]) -> None:
    said = []
    for server in servers.values():
        client = MlflowClient(server.url, server.url)
        hook = client.create_webhook("nobody", "http://127.0.0.1:9/", EVENTS)
        result = client.test_webhook(hook.webhook_id)
        client.delete_webhook(hook.webhook_id)
        assert result.error_message is not None
        said.append((result.success, result.error_message.split("Failed to establish")[0][:60]))
    assert said[1:] == said[:1] * 2


def test_the_server_that_leaves_webhooks_to_the_bridge_has_them_all(
    servers: dict[str, Server],
) -> None:
    client = MlflowClient(servers["bridge"].url, servers["bridge"].url)
    hook = client.create_webhook("listed", "http://127.0.0.1:9/", EVENTS)
    assert hook.webhook_id in [found.webhook_id for found in client.list_webhooks()]
    client.delete_webhook(hook.webhook_id)


def test_budgets_stay_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_ledger.producers.registry_store import LedgerRegistryStore

    monkeypatch.setenv("MLFLOW_LEDGER_WEBHOOKS", "bridge")
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    store = LedgerRegistryStore(f"ledger://{tmp_path}/store")
    store.create_webhook("all", "http://127.0.0.1:9/", EVENTS)
    told = [str(event) for event in EVENTS if store.list_webhooks_by_event(event)]
    assert told == ["budget_policy.exceeded"]
    store.close()
