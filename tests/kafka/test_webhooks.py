"""The webhook bridge on a ledger in Kafka: any host goes on from a cursor of another's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.entities.webhook import WebhookEvent

from mlflow_ledger.bus import Writer
from mlflow_ledger.producers.registry_store import LedgerRegistryStore
from mlflow_ledger.schemas import RegisteredModelCreated, RunCreated
from tests.integration.programs import COMMAND, run
from tests.integration.receivers import receiving

from .homes import new_uri


@pytest.mark.brokers
def test_a_cursor_goes_from_host_to_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = new_uri()
    settings = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_LEDGER_KAFKA_REPLICATION": "1",
    }
    for name, value in {**settings, "MLFLOW_LEDGER_HOME": str(tmp_path / "writer")}.items():
        monkeypatch.setenv(name, value)
    store = LedgerRegistryStore(uri)
    ledger = store._ledger
    store.create_registered_model("wine")
    store.create_model_version("wine", "s3://bucket/wine")

    def say(number: int) -> None:
        store.set_model_version_tag("wine", "1", ModelVersionTag("n", str(number)))
        run = RunCreated(run_id=f"r{number}", experiment_id="0", artifact_uri="x")
        ledger.write(lambda _: [run])

    def bridge(home: str, *options: str) -> None:
        cursor = str(tmp_path / "cursor")
        words = [COMMAND, "webhooks", uri, "--once", "--cursor", cursor, *options]
        run(tmp_path, *words, **settings, MLFLOW_LEDGER_HOME=str(tmp_path / home))

    with receiving() as receiver:
        names = ["model_version_tag.set", "registered_model.created"]
        events = [WebhookEvent.from_str(name) for name in names]
        store.create_webhook("hook", receiver.url, events, secret="s")
        for number in range(5):
            say(number)
        bridge("one")
        position = str(ledger.position())
        for number in range(5, 10):
            say(number)
        # A writer that loses a race, and one that sends what it has said twice.
        lost = Writer().stamp_all([RegisteredModelCreated(model_uid="u", name="wine")], {
            **ledger.log.partitions()
        })  # fmt: skip
        new = Writer().stamp_all(
            [RegisteredModelCreated(model_uid="n", name="new")], ledger.log.partitions()
        )
        getattr(ledger, "kafka").append([*lost, *new, *new])  # noqa: B009  # only on Kafka
        bridge("two")  # it has none of the events in the order of the first
        shutil.rmtree(tmp_path / "one")
        bridge("one")
        told = [request.told[1] for request in receiver.taken()]
        assert [data.get("value", data["name"]) for data in told] == [*map(str, range(10)), "new"]
        assert all(request.is_signed("s") for request in receiver.taken())
        before = {request.delivery_id for request in receiver.taken()}
        bridge("three", "--since", position)
        again = receiver.taken()[len(told) :]
        assert [r.told[1].get("value") for r in again] == [*map(str, range(5, 10)), None]
        assert {request.delivery_id for request in again} < before
    store.close()
