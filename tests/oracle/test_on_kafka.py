"""A share of the random histories of each family on a broker; `make oracle-kafka` plays all."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from mlflow.utils import crypto

from . import (
    test_evaluation_datasets,
    test_gateway_bindings,
    test_gateway_budgets,
    test_gateway_endpoints,
    test_gateway_guardrails,
    test_gateway_models,
    test_gateway_secrets,
    test_issues,
    test_label_schemas,
    test_mcp_servers,
    test_review_queues,
    test_scorers,
    test_traces,
)
from .family_machine import play
from .pair import Template
from .stores import make_kafka_ledger, wants_kafka

FAMILIES = (
    test_evaluation_datasets,
    test_gateway_bindings,
    test_gateway_budgets,
    test_gateway_endpoints,
    test_gateway_guardrails,
    test_gateway_models,
    test_gateway_secrets,
    test_issues,
    test_label_schemas,
    test_mcp_servers,
    test_review_queues,
    test_scorers,
    test_traces,
)


def _named(family: ModuleType) -> str:
    return family.__name__.rpartition("test_")[2]


@pytest.mark.brokers
@pytest.mark.skipif(wants_kafka(), reason="each family plays all of its histories there already")
@pytest.mark.parametrize("family", FAMILIES, ids=_named)
def test_a_few_histories(
    family: ModuleType, tmp_path: Path, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)
    look = vars(family)["_look"]
    play(tmp_path, template, make_kafka_ledger, family.CALLS, look, examples=2, steps=15)


def test_no_family_is_left_out() -> None:
    with_histories = {
        path.stem
        for path in Path(__file__).parent.glob("test_*.py")
        if "\nCALLS: Calls" in path.read_text("utf-8")
    }
    assert with_histories == {f"test_{_named(family)}" for family in FAMILIES}
