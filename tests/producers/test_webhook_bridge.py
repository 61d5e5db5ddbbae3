"""The webhook bridge: order, retries, replay, what is given up, kills, and whom it calls."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookStatus

from mlflow_ledger.bus import Outgoing, Writer
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.producers import webhook_sending
from mlflow_ledger.producers.registry_store import LedgerRegistryStore
from mlflow_ledger.producers.webhook_bridge import Attempt, Bridge
from mlflow_ledger.query.cli.program import program
from mlflow_ledger.query.deliveries import Deliveries
from mlflow_ledger.query.webhook_metrics import WEBHOOK_METRICS
from mlflow_ledger.schemas import (
    LogForeign,
    LogUnavailable,
    ModelVersionTagSet,
    RegisteredModelCreated,
    TagContent,
)
from tests.integration.programs import COMMAND, environment, wait_until
from tests.integration.receivers import Receiver, receiving

TAGS = [WebhookEvent.from_str("model_version_tag.set")]
MODELS = [WebhookEvent.from_str("registered_model.created")]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let webhooks be on this machine, and fail soon."""
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES", "1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LedgerRegistryStore]:
    store = LedgerRegistryStore(f"ledger://{tmp_path}/store")
    store.create_registered_model("wine")
    store.create_model_version("wine", "s3://bucket/wine")
    yield store
    store.close()


def tag(store: LedgerRegistryStore, *values: object) -> None:
    for value in values:
        store.set_model_version_tag("wine", "1", ModelVersionTag("n", str(value)))


def numbers(receiver: Receiver, path: str = "/") -> list[int]:
    return [int(request.document["data"]["value"]) for request in receiver.taken(path)]


@contextmanager
def bridged(store: LedgerRegistryStore, **options: float) -> Iterator[tuple[Bridge, list[Attempt]]]:
    ledger = Ledger(store._ledger.folder)
    attempts: list[Attempt] = []
    with (
        closing(ledger),
        closing(Deliveries(ledger.folder / "webhooks.sqlite", ledger.ledger_id)) as deliveries,
    ):
        yield Bridge(ledger, deliveries, attempts.append, first_pause_s=0.01, **options), attempts


def once(store: LedgerRegistryStore, **options: float) -> tuple[bool, list[Attempt]]:
    with bridged(store, **options) as (bridge, attempts):
        return asyncio.run(bridge.once()), attempts


def command(store: LedgerRegistryStore, *options: str) -> Result:
    return CliRunner().invoke(program, ["webhooks", f"ledger://{store._ledger.folder}", *options])


def test_each_webhook_gets_what_it_listened_for_in_order(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    tag(store, 0)
    hook = store.create_webhook("late", receiver.url, TAGS)
    store.create_webhook("other", f"{receiver.url}/models", MODELS)
    tag(store, *range(1, 20))
    store.update_webhook(hook.webhook_id, events=MODELS)
    tag(store, 20)
    store.create_registered_model("beer")
    store.update_webhook(hook.webhook_id, events=TAGS)
    tag(store, 21)
    assert once(store)[0]
    told = [request.told for request in receiver.taken("/")]
    assert [name for name, _ in told] == [*["model_version_tag.set"] * 19, *(
        "registered_model.created", "model_version_tag.set",
    )]  # fmt: skip
    assert [data["value"] for _, data in told if "value" in data] == [*map(str, range(1, 20)), "21"]
    assert [request.told[1]["name"] for request in receiver.taken("/models")] == ["beer"]
    assert once(store) == (True, [])


def test_a_retry_is_the_same_delivery(store: LedgerRegistryStore, receiver: Receiver) -> None:
    store.create_webhook("hook", receiver.url, TAGS, secret="s")
    tag(store, 1, 2)
    answers = iter([503, 200, 200])
    receiver.answer = lambda _: next(answers)
    done, attempts = once(store)
    assert done
    assert [attempt.outcome for attempt in attempts] == ["failed", "delivered", "delivered"]
    assert [attempt.attempts for attempt in attempts] == [1, 2, 1]
    first, again, second = receiver.requests
    assert first.delivery_id == again.delivery_id == attempts[0].delivery_id
    assert first.body == again.body
    assert second.delivery_id != first.delivery_id
    assert all(request.is_signed("s") for request in receiver.requests)


def test_a_broken_receiver_holds_up_nobody_and_keeps_its_place(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("broken", f"{receiver.url}/broken", TAGS)
    store.create_webhook("well", f"{receiver.url}/well", TAGS)
    tag(store, *range(10))
    receiver.answer = lambda request: 500 if request.path == "/broken" else 200
    done, attempts = once(store)
    assert not done
    assert numbers(receiver, "/well") == list(range(10))
    assert {a.outcome for a in attempts if a.name == "broken"} == {"failed"}
    said = command(store, "--status", "--json")
    rows = {row["name"]: row for row in json.loads(said.stdout)["webhooks"]}
    assert (rows["well"]["due"], rows["broken"]["due"], rows["broken"]["attempts"]) == (0, 10, 2)
    assert "500" in rows["broken"]["error"]
    receiver.answer = lambda _: 200
    assert once(store)[0]
    assert numbers(receiver, "/broken") == list(range(10))


def test_a_receiver_that_hangs_holds_up_nobody(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    import threading

    release = threading.Event()
    store.create_webhook("hangs", f"{receiver.url}/hangs", TAGS)
    store.create_webhook("well", f"{receiver.url}/well", TAGS)
    tag(store, *range(5))

    def answer(request: object) -> int:
        if getattr(request, "path", "") == "/hangs":
            wait_until(lambda: len(receiver.taken("/well")) == 5, 30, "the others are told")
            release.set()
        return 200

    receiver.answer = answer
    assert once(store)[0]
    assert release.is_set()
    assert numbers(receiver, "/hangs") == numbers(receiver, "/well") == list(range(5))


def test_what_is_given_up_is_kept_and_can_be_sent_again(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("picky", receiver.url, TAGS)
    tag(store, 1, 2, 3)
    receiver.answer = lambda request: 400 if request.document["data"]["value"] == "2" else 200
    done, attempts = once(store, give_up_after_s=0.0)
    assert done
    assert [a.outcome for a in attempts] == ["delivered", "given up", "delivered"]
    assert numbers(receiver) == [1, 3]
    (row,) = json.loads(command(store, "--status", "--json").stdout)["webhooks"]
    assert (row["due"], row["given_up"]) == (0, 1)
    receiver.answer = lambda _: 200
    said = command(store, "--retry-given-up", "--once")
    assert said.exit_code == 0, said.output
    assert "1 deliveries are due again" in said.stderr
    assert numbers(receiver) == [1, 3, 2]


def test_a_replay_tells_what_webhooks_listen_for_now(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    old = store.create_webhook("old", f"{receiver.url}/old", TAGS)
    tag(store, 1, 2)
    position = str(store._ledger.position())
    tag(store, 3, 4)
    assert once(store)[0]
    before = {r.delivery_id for r in receiver.taken("/old")}
    new = store.create_webhook("new", f"{receiver.url}/new", TAGS)
    assert command(store, "--since", position, "--once").exit_code == 0
    assert numbers(receiver, "/old") == [1, 2, 3, 4, 3, 4]
    assert {r.delivery_id for r in receiver.taken("/old")} == before
    assert numbers(receiver, "/new") == [3, 4]
    said = command(store, "--since", "2020-01-01T00:00:00Z", "--webhook", new.webhook_id, "--once")
    assert said.exit_code == 0
    assert numbers(receiver, "/new") == [3, 4, 1, 2, 3, 4]
    assert len(receiver.taken("/old")) == 6
    assert command(store, "--webhook", new.webhook_id).exit_code == 2
    unknown = command(store, "--since", position, "--webhook", "x", "--once")
    assert (unknown.exit_code, old.webhook_id in unknown.output) == (2, True)


def test_a_new_cursor_with_since_leaves_what_was_before(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("hook", receiver.url, TAGS)
    tag(store, 1)
    position = str(store._ledger.position())
    tag(store, 2)
    store.create_model_version("wine", "s3://bucket/wine")
    store.create_webhook("v", f"{receiver.url}/v", [WebhookEvent.from_str("model_version.created")])
    assert command(store, "--since", position, "--once").exit_code == 0
    assert numbers(receiver) == [2]
    assert [request.told[1]["version"] for request in receiver.taken("/v")] == ["2"]
    store.create_model_version("wine", "s3://bucket/wine")
    assert command(store, "--once").exit_code == 0
    assert [request.told[1]["version"] for request in receiver.taken("/v")] == ["2", "3"]
    elsewhere = store._ledger.folder / "again"
    assert command(store, "--once", "--cursor", str(elsewhere)).exit_code == 0
    assert numbers(receiver) == [2, 1, 2]


def test_a_webhook_that_moves_is_disabled_or_deleted(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    moved = store.create_webhook("moved", "http://127.0.0.1:9/", TAGS, secret="old")
    waits = store.create_webhook("waits", f"{receiver.url}/waits", TAGS)
    goes = store.create_webhook("goes", "http://127.0.0.1:9/", TAGS)
    tag(store, 1)
    assert not once(store)[0]
    tag(store, 2)
    with bridged(store) as (bridge, _):
        bridge.feed.take()
    store.update_webhook(moved.webhook_id, url=f"{receiver.url}/moved", secret="new")
    store.update_webhook(waits.webhook_id, status=WebhookStatus.DISABLED)
    store.delete_webhook(goes.webhook_id)
    tag(store, 3)
    done, attempts = once(store)
    assert not done  # one waits
    assert numbers(receiver, "/moved") == [1, 2, 3]
    assert all(request.is_signed("new") for request in receiver.taken("/moved"))
    assert [a.error for a in attempts if a.outcome == "dropped"] == ["deleted with 2 due"]
    store.update_webhook(waits.webhook_id, status=WebhookStatus.ACTIVE)
    assert once(store)[0]
    assert numbers(receiver, "/waits") == [1, 2]  # as in MLflow, nothing of when it was disabled


def test_refused_and_repeated_events_are_not_told(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("hook", receiver.url, [*MODELS, *TAGS])
    voice, ledger = Writer(), store._ledger
    content = TagContent(value="7")
    events = [
        RegisteredModelCreated(model_uid="u", name="wine"),  # another has lost this race
        ModelVersionTagSet(
            model_uid="x", name="x", version_uid="x", version=1, tag="n", content=content
        ),
        RegisteredModelCreated(model_uid="new", name="new"),
    ]
    said: list[Outgoing] = [*voice.stamp_all(events, ledger.log.partitions())]
    ledger.log.append(said)
    assert once(store)[0]
    ledger.log.append(said)  # a second delivery
    assert once(store)[0]
    assert [request.told[1]["name"] for request in receiver.taken()] == ["new"]


def test_prompts_are_told_by_their_own_names(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    names = ["prompt_version_tag.set", "model_version_tag.set", "prompt_tag.deleted"]
    store.create_webhook("hook", receiver.url, [WebhookEvent.from_str(name) for name in names])
    tag(store, 1)
    store.set_registered_model_tag("wine", RegisteredModelTag("mlflow.prompt.is_prompt", "True"))
    tag(store, 2)
    store.delete_registered_model_tag("wine", "mlflow.prompt.is_prompt")
    tag(store, 3)
    assert once(store)[0]
    told = [request.told[0] for request in receiver.taken()]
    assert told == ["model_version_tag.set", "prompt_version_tag.set", "model_version_tag.set"]


def test_texts_that_travel_as_blobs_are_told_whole(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("hook", receiver.url, MODELS)
    long = "é" * 200_000
    store.create_registered_model("long", description=long)
    assert once(store)[0]
    (request,) = receiver.taken()
    assert request.document["data"]["description"] == long


def test_it_does_not_follow_and_waits_as_it_is_asked(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("hook", receiver.url, TAGS)
    tag(store, 1)
    receiver.headers = {"Location": "http://elsewhere.invalid/"}
    receiver.answer = lambda _: 307
    _, attempts = once(store)
    assert "not followed" in attempts[0].error
    receiver.headers = {"Retry-After": "3"}
    answers = iter([429, 200])
    receiver.answer = lambda _: next(answers)
    done, attempts = once(store)
    assert done
    assert attempts[0].again_in_s == 3


@pytest.mark.parametrize("checked", [True, False])
def test_only_public_addresses_are_called(
    checked: bool,
    store: LedgerRegistryStore,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that is looked up a second time may lead elsewhere: the peer is looked at as well."""
    store.create_webhook("hook", receiver.url, TAGS)
    tag(store, 1)
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "false")
    if not checked:
        monkeypatch.setattr(webhook_sending, "_validate_webhook_url", lambda _: None)
    done, attempts = once(store)
    assert not done
    assert "public IP" in attempts[0].error
    assert receiver.requests == []


def test_a_key_that_is_lost_is_said_and_nothing_is_sent_unsigned(
    store: LedgerRegistryStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_webhook("hook", receiver.url, TAGS, secret="s")
    tag(store, 1)
    from cryptography.fernet import Fernet

    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", Fernet.generate_key().decode())
    done, attempts = once(store)
    assert not done
    assert "encrypted with another key" in attempts[0].error
    assert receiver.requests == []


def test_one_bridge_at_a_time_and_each_on_its_own_ledger(
    store: LedgerRegistryStore, tmp_path: Path
) -> None:
    with bridged(store), pytest.raises(LogUnavailable, match="another bridge"):
        Deliveries(store._ledger.folder / "webhooks.sqlite", store._ledger.ledger_id)
    with pytest.raises(LogForeign, match="is of ledger"):
        Deliveries(store._ledger.folder / "webhooks.sqlite", "another")
    (tmp_path / "text").write_text("no database, but something that is long enough to be one" * 9)
    with pytest.raises(LogForeign, match="no cursor"):
        Deliveries(tmp_path / "text", "x")
    with pytest.raises(LogUnavailable, match="cannot use"):
        Deliveries(tmp_path / "no" / "folder", "x")


def test_a_log_that_ends_before_the_cursor_is_named(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    store.create_webhook("hook", receiver.url, TAGS)
    tag(store, 1)
    with bridged(store) as (bridge, _):
        bridge.feed.take()
        bridge.deliveries.advance(10_000)
    with bridged(store) as (bridge, _), pytest.raises(LogForeign, match="ends before"):
        bridge.feed.take()


class Process:
    """A bridge as a process."""

    def __init__(self, folder: Path, *options: str) -> None:
        more = {
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        }
        self.process = subprocess.Popen(
            [COMMAND, "webhooks", f"ledger://{folder}", *options],
            env=environment(folder.parent, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said
        return said


KILLS = 3


def test_killed_at_any_moment_it_loses_none(store: LedgerRegistryStore, receiver: Receiver) -> None:
    chance = random.Random(7)
    store.create_webhook("hook", receiver.url, TAGS)
    receiver.answer = lambda _: 503 if chance.random() < 0.005 else 200
    written = 0
    for _ in range(KILLS):
        bridge = Process(store._ledger.folder)
        target = len(receiver.requests) + chance.randrange(1, 60)
        wait_until(lambda: bridge.process.poll() is None, 1, "it runs")  # noqa: B023
        while len(receiver.requests) < target:
            if written - len(receiver.taken()) < 100:
                tag(store, written)
                written += 1
            time.sleep(chance.random() / 100)  # writers take their time
        bridge.kill()
        tag(store, written)
        written += 1
    last = Process(store._ledger.folder)
    wait_until(lambda: set(numbers(receiver)) >= set(range(written)), 90, "all of it is told")
    said = last.end()
    assert "delivered" in said
    found = numbers(receiver)
    assert list(dict.fromkeys(found)) == list(range(written))
    assert len(found) - written <= KILLS  # at most what was under way is told twice
    by_number: dict[int, set[str]] = {}
    for request in receiver.taken():
        by_number.setdefault(int(request.document["data"]["value"]), set()).add(request.delivery_id)
    assert all(len(ids) == 1 for ids in by_number.values())


def test_it_serves_metrics_and_ends_when_asked(
    store: LedgerRegistryStore, receiver: Receiver
) -> None:
    hook: Webhook = store.create_webhook("hook", receiver.url, TAGS)
    receiver.answer = lambda request: 500 if request.document["data"]["value"] == "2" else 200
    bridge = Process(store._ledger.folder, "--metrics-port", "0")
    assert bridge.process.stdout is not None
    url = bridge.process.stdout.readline().split()[2].rsplit("/", 1)[0]
    tag(store, 1, 2, 3)
    wait_until(lambda: len(receiver.requests) >= 2, 60, "it has tried the second")

    def get(path: str) -> str:
        with urllib.request.urlopen(url + path, timeout=10) as answer:
            return str(answer.read().decode())

    wait_until(lambda: "webhook_failures_total 1.0" in get("/metrics"), 30, "it says so")
    text = get("/metrics")
    found = {line.partition("{")[0].split()[0] for line in text.splitlines() if line[0] != "#"}
    assert found == set(WEBHOOK_METRICS)
    assert f'mlflow_ledger_webhook_due{{webhook="{hook.webhook_id}"}} 2.0' in text
    assert json.loads(get("/health")) == {"status": "ok", "due": 2}
    assert "and what comes after it waits" in bridge.end()
