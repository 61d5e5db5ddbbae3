"""docs/differences.md names what is missing, and has a section for each documented difference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mlflow.store.tracking.abstract_store import AbstractStore

from mlflow_ledger.producers import LedgerTrackingStore
from mlflow_ledger.producers.later import later_methods
from tests.oracle import field_policy

PAGE = (Path(__file__).parents[2] / "docs/differences.md").read_text("utf-8")


def test_every_later_method_is_named_and_no_other() -> None:
    table = PAGE.partition("## Not there yet")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")]
    newer = [row for row in rows if ", from MLflow " in row]
    named = [name for row in rows[1:] for name in re.findall(r"`(\w+)`", row)]
    not_here = {
        name
        for row in newer
        for name in re.findall(r"`(\w+)`", row)
        if not hasattr(AbstractStore, name)
    }
    assert sorted(set(named) - not_here) == later_methods(LedgerTrackingStore)
    assert len(named) == len(set(named))


@pytest.mark.parametrize("heading", sorted({row[2] for row in field_policy.DIFFERENCES}))
def test_every_documented_difference_has_its_section(heading: str) -> None:
    assert f"\n### {heading}\n" in PAGE
