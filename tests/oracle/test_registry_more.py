"""The registry's prompts and webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus

from . import look
from .pair import Pair, Ref, Text

# A literal of a public address passes MLflow's check of host names without any network.
URL = "https://8.8.8.8/hook"
CREATED = WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED)
VERSION = WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED)
TAGGED = WebhookEvent(WebhookEntity.MODEL_VERSION_TAG, WebhookAction.SET)

# --- prompts -------------------------------------------------------------------------------------


def test_prompts(pair: Pair) -> None:
    pair.ok("create_prompt", name="p", description="d", tags={"k": "v"})
    pair.call("create_prompt", name="p")
    pair.ok("create_registered_model", name="m")
    pair.call("create_prompt", name="m")
    pair.call("create_registered_model", name="p")
    pair.ok("create_prompt_version", name="p", template="Hello {{name}}", tags={"a": "b"})
    chat = [{"role": "user", "content": "{{x}} and {{ y }}"}]
    pair.ok("create_prompt_version", name="p", template=chat, description="second")
    pair.call("create_prompt_version", name="p", template="", response_format={"type": "object"})
    config = {"model_name": "x", "temperature": 0.5}
    pair.call("create_prompt_version", name="p", template="t", model_config=config)
    pair.call("create_prompt_version", name="p", template="t", model_config={"temperature": "hot"})
    pair.call("create_prompt_version", name="none", template="t")
    pair.call("create_prompt_version", name="m", template="t")
    pair.ok("create_model_version", name="m", source="s")
    look.at_registry(pair)
    for version in (1, "2", 3, 9, "best", "latest", "x y", None, 1.5):
        for name in ("p", "m", "none"):
            pair.call("get_prompt_version", name=name, version=version)
    for alias in ("best", "latest", "v1", "a b", ""):
        pair.call("set_prompt_alias", name="p", alias=alias, version=2)
        pair.call("get_prompt_version_by_alias", name="p", alias=alias)
        pair.call("delete_prompt_alias", name="p", alias=alias)
    for version in (1, "1", "x", None, 9):
        at = {"name": "p", "version": version}
        pair.call("set_prompt_version_tag", key="k", value="v", **at)
        pair.call("delete_prompt_version_tag", key="k", **at)
    pair.call("set_prompt_tag", name="p", key="k2", value="é")
    pair.call("delete_prompt_tag", name="p", key="k")
    pair.call("set_prompt_tag", name="m", key="k2", value="on a model")
    look.at_registry(pair)
    for version in (1, "x", 9, "2"):
        pair.call("delete_prompt_version", name="p", version=version)
    look.at_registry(pair)
    pair.ok("delete_prompt", name="p")
    pair.call("delete_prompt", name="p")
    pair.call("get_prompt", name="p")
    look.at_registry(pair)


def test_search_of_prompts(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="e")
    for i, name in enumerate(["alpha", "Alpha", "b_ta", "é"]):
        tags: dict[str, Any] = {"t": str(i % 2)}
        if i % 2:
            tags["_mlflow_experiment_ids"] = Text(",{},", experiment)
        pair.ok("create_prompt", name=name, tags=tags)
        for j in range(i):
            pair.ok("create_prompt_version", name=name, template=f"{j}")
    pair.ok("create_registered_model", name="model")
    filters: list[Any] = ["name = 'alpha'", "name ILIKE 'A%'", "tags.t = '1'", "name IN ('é')", "x"]
    filters += ["experiment_id = 'x'", "experiment_id = '7'", "tags.t = '1' AND name LIKE 'A%'"]
    filters += [Text("experiment_id = '{}'", experiment), None, "", "name = 'model'"]
    filters += [Text("name LIKE 'A%' AND experiment_id = \"{}\"", experiment)]
    filters += [Text("experiment_id='{}' AND tags.t = '1'", experiment)]
    filters += ["tags.`mlflow.prompt.is_prompt` = 'false'"]
    for text in filters:
        pair.call("search_prompts", filter_string=text)
        pair.pages("search_prompts", 1, filter_string=text)
    for name in ("é", "alpha", "model", "none"):
        pair.call("search_prompt_versions", name=name)
        pair.pages("search_prompt_versions", 1, name=name)
    for size in (0, -1, 1000, 1001, None):
        pair.call("search_prompts", max_results=size)
        pair.call("search_prompt_versions", name="é", max_results=size)


def test_links_of_prompts(pair: Pair) -> None:
    pair.ok("create_prompt", name="p")
    for _ in range(2):
        pair.ok("create_prompt_version", name="p", template="t")
    args = {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n"}
    run = pair.make("create_run", experiment_id="0", **args)
    model = pair.make("create_logged_model", experiment_id="0", name="l")
    for version in ("1", "1", "2", "9"):
        pair.call("link_prompt_version_to_run", name="p", version=version, run_id=run)
        pair.call("link_prompt_version_to_model", name="p", version=version, model_id=model)
    pair.call("link_prompt_version_to_run", name="p", version="1", run_id="f" * 32)
    look.at_tracking(pair, [], [run], [model])


# --- webhooks ------------------------------------------------------------------------------------


def make(pair: Pair, name: str = "hook", **kwargs: Any) -> Ref:
    return pair.make("create_webhook", **{"name": name, "url": URL, "events": [CREATED], **kwargs})


def test_webhooks(pair: Pair) -> None:
    hook = make(pair, events=[CREATED, VERSION], description="d", secret="it's secret")
    pair.ok("get_webhook", webhook_id=hook)
    second = make(pair, events=[TAGGED], status=WebhookStatus.DISABLED)  # a name may come twice
    for changed in (
        {},
        {"name": "renamed"},
        {"description": ""},
        {"url": "https://8.8.4.4/x?y=z"},
        {"events": [TAGGED, CREATED]},
        {"events": [TAGGED]},
        {"events": [TAGGED, TAGGED]},
        {"events": []},
        {"secret": "é"},
        {"secret": ""},
        {"status": WebhookStatus.DISABLED},
        {"name": "bad name", "description": "half way"},
        {"description": "half way", "url": "http://8.8.8.8/"},
    ):
        pair.call("update_webhook", webhook_id=hook, **changed)
        pair.ok("get_webhook", webhook_id=hook)
    for event in (CREATED, VERSION, TAGGED):
        pair.ok("list_webhooks_by_event", event=event)
    pair.ok("delete_webhook", webhook_id=hook)
    for given in (hook, "none", "", None):
        pair.call("get_webhook", webhook_id=given)
        pair.call("delete_webhook", webhook_id=given)
        pair.call("update_webhook", webhook_id=given, name="x")
    for event in (CREATED, VERSION, TAGGED):
        pair.ok("list_webhooks_by_event", event=event)
    pair.ok("get_webhook", webhook_id=second)
    look.at_registry(pair)


@pytest.mark.parametrize(
    "changed",
    [
        *({"name": name} for name in ("", "a", "a b", "-a", "a-", "a.b_c-d", "x" * 63, "x" * 64)),
        *({"name": name} for name in (None, 5, "é", "it's", "a\n")),
        *({"url": url} for url in ("", " ", None, 5, "http://8.8.8.8/", "https://", "https:///x")),
        *({"url": url} for url in ("https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/")),
        *({"url": url} for url in ("ftp://8.8.8.8", "https://u:p@8.8.8.8:99/", "https://[bad/")),
        *(
            {"url": url}
            for url in ("https://[2001:4860:4860::8888]/", "https://8.8.8.8/" + "x" * 600)
        ),
        *({"events": events} for events in ([], None, [CREATED, CREATED], (CREATED,), ["x"])),
        *({"status": status} for status in (None, WebhookStatus.DISABLED, "ACTIVE", "x")),
        *({"secret": secret} for secret in ("", "s" * 2000, 5)),
        {"description": "x" * 1001},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_webhooks(pair: Pair, changed: dict[str, Any]) -> None:
    pair.call("create_webhook", **{"name": "hook", "url": URL, "events": [CREATED], **changed})
    look.at_registry(pair)


def test_pages_of_webhooks(pair: Pair) -> None:
    for i in range(7):
        make(pair, f"hook{i}", events=[CREATED, VERSION] if i % 2 else [CREATED])
    for size in (1, 2, 3, 6, 7, 100):
        assert len(pair.pages("list_webhooks", size)) == 7
        assert len(pair.pages("list_webhooks_by_event", size, event=VERSION)) == 3
    for size in (0, -1, 1000, 1001, None):
        pair.call("list_webhooks", max_results=size)
        pair.call("list_webhooks_by_event", event=CREATED, max_results=size)
    for token in ("", "x", "e30=", "eyJvZmZzZXQiOiA1fQ=="):
        pair.call("list_webhooks", page_token=token)
        pair.call("list_webhooks_by_event", event=CREATED, page_token=token)
