"""No method of MLflow's stores goes uncompared; test_machine.py counts what the machine calls."""

from __future__ import annotations

import ast
from pathlib import Path

from .methods import INHERITED, REGISTRY, TRACKING

HERE = Path(__file__).parent
MACHINE = {"test_machine.py", "machine_odd.py"}


def driven() -> set[str]:
    """Every text in a directed test; each test of a method has the method's name in it."""
    files = [file for file in HERE.glob("test_*.py") if file.name not in MACHINE]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def test_every_method_is_driven_by_a_directed_test() -> None:
    assert (TRACKING | REGISTRY) - driven() - INHERITED.keys() == set()


def test_no_reason_outlives_its_method() -> None:
    assert INHERITED.keys() - (TRACKING | REGISTRY) == set()
    assert INHERITED.keys() & driven() == set()
