"""All families in one history: what one of them does to another, and that none is left out."""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path

import pytest
from mlflow.utils import crypto

from .families import FAMILIES, look_at_all, together
from .family_machine import play
from .methods import INHERITED, SMALL_FAMILIES
from .pair import Factory, Template

EXAMPLES = int(os.environ.get("MLFLOW_LEDGER_FAMILIES_EXAMPLES", "6"))
NOT_DRAWN = {
    "resolve_trace_archival_config": "reads what a server was started with",
    "supports_trace_archival": "says what a store can do",
    "unlink_traces_from_run": "MLflow's store has none",
}


def test_histories_of_all_families(
    tmp_path: Path, template: Template, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)
    play(tmp_path, template, factory, together(), look_at_all, examples=EXAMPLES, steps=80)


def test_no_family_is_left_out() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    with_histories = {path.stem for path in files if "\nCALLS: Calls" in path.read_text("utf-8")}
    assert with_histories == {f"test_{name}" for name in FAMILIES}


def test_no_method_is_left_out() -> None:
    """Each is drawn, or reads what a history has left."""
    drawn = {method for family in FAMILIES.values() for method in family.CALLS}
    for family in FAMILIES.values():
        for node in ast.walk(ast.parse(inspect.getsource(family))):
            if isinstance(node, ast.FunctionDef) and "look" in node.name:
                drawn |= {
                    str(word.value) for word in ast.walk(node) if isinstance(word, ast.Constant)
                }
    assert SMALL_FAMILIES - INHERITED.keys() - drawn == NOT_DRAWN.keys()
