"""A share of the random histories of each family on a broker; `make oracle-kafka` plays all."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.utils import crypto

from .families import FAMILIES, look_at_all, together
from .family_machine import play
from .pair import Template
from .stores import make_erasable_ledger, make_kafka_ledger, wants_kafka

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.skipif(wants_kafka(), reason="all histories are played there already"),
]


@pytest.fixture(autouse=True)
def _keys_are_made_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_histories(family: str, tmp_path: Path, template: Template) -> None:
    calls, look = FAMILIES[family].CALLS, vars(FAMILIES[family])["_look"]
    play(tmp_path, template, make_kafka_ledger, calls, look, examples=2, steps=15)


def test_histories_of_all_families(tmp_path: Path, template: Template) -> None:
    calls = together()
    play(tmp_path, template, make_kafka_ledger, calls, look_at_all, examples=2, steps=60)


def test_histories_on_an_erasable_ledger(tmp_path: Path, template: Template) -> None:
    """What is sealed reads as what is not."""
    play(tmp_path, template, make_erasable_ledger, together(), look_at_all, examples=2, steps=60)
