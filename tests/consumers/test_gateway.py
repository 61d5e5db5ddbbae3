"""What the fold decides about the gateway where two hosts say things that do not go together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    GatewayEndpointCreated,
    GatewayEndpointDeleted,
    GatewayEndpointUpdated,
    GatewayModelAttached,
    GatewayModelCreated,
    GatewayModelDeleted,
    GatewayModelDetached,
    GatewaySecretDeleted,
)
from tests.families import gateway_endpoints, gateway_models, gateway_secrets

from .folding import Bench

ENDPOINT = next(e for e in gateway_endpoints.FULL if isinstance(e, GatewayEndpointCreated))
MODEL = next(e for e in gateway_models.FULL if isinstance(e, GatewayModelCreated))
USE = ENDPOINT.models[0]


def with_id(mapping_id: str, **changed: object) -> object:
    return USE.model_copy(update={"mapping_id": mapping_id, **changed})


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.accept(
        ExperimentCreated(experiment_id="17", name="traces", artifact_location="x"),
        gateway_secrets.CREATED,
        MODEL,
        ENDPOINT,
    )
    yield made
    made.close()


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (GatewayModelDeleted(model_definition_id="d1"), "INVALID_STATE"),
        (ENDPOINT.model_copy(update={"endpoint_id": "e2"}), "RESOURCE_ALREADY_EXISTS"),
        (
            ENDPOINT.model_copy(update={"endpoint_id": "e2", "models": []}),
            "BAD_REQUEST",
        ),
        (
            GatewayEndpointUpdated(endpoint_id="e1", models=[with_id("m8"), with_id("m9")]),
            "BAD_REQUEST",
        ),
        (
            GatewayEndpointUpdated(endpoint_id="e1", models=[with_id("m8", weight=math.inf)]),
            "INVALID_PARAMETER_VALUE",
        ),
        (
            GatewayEndpointUpdated(
                endpoint_id="e1", models=[with_id("m8", model_definition_id="d9")]
            ),
            "RESOURCE_DOES_NOT_EXIST",
        ),
        (GatewayEndpointUpdated(endpoint_id="e1", experiment_id="99"), "BAD_REQUEST"),
        (GatewayModelAttached(endpoint_id="e1", model=with_id("m9")), "RESOURCE_ALREADY_EXISTS"),
        (GatewayModelDetached(endpoint_id="e1", mapping_id="m9"), "RESOURCE_DOES_NOT_EXIST"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else value,
)
def test_what_does_not_go_together_is_refused(bench: Bench, event: Event, code: str) -> None:
    before = bench.essence()
    (verdict,) = bench.say(event)
    assert (verdict.kind, verdict.code) == ("rejected", code)
    assert bench.essence() == before


def test_a_model_may_go_when_no_endpoint_uses_it(bench: Bench) -> None:
    bench.accept(
        GatewayModelDetached(endpoint_id="e1", mapping_id="m1"),
        GatewayModelDetached(endpoint_id="e1", mapping_id="m2"),
        GatewayModelDeleted(model_definition_id="d1"),
    )


def test_an_endpoint_takes_its_use_of_models_along(bench: Bench) -> None:
    bench.accept(
        GatewaySecretDeleted(secret_id="s1"),
        GatewayEndpointDeleted(endpoint_id="e1"),
        GatewayModelDeleted(model_definition_id="d1"),
    )
    assert bench.rows("SELECT * FROM items") == []
