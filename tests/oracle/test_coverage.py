"""No method of MLflow's stores goes uncompared; test_machine.py counts what the machine calls."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from .methods import INHERITED, METHODS, REGISTRY, TRACKING

HERE = Path(__file__).parent
MACHINE = [HERE / name for name in ("test_machine.py", "machine_odd.py", "look.py")]


def named(files: Iterable[Path]) -> set[str]:
    """Every text in some modules: who calls a method of both stores names it in a text."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


DIRECTED = named(file for file in HERE.glob("test_*.py") if file not in MACHINE)


def test_every_method_is_driven_by_a_directed_test() -> None:
    assert (TRACKING | REGISTRY) - DIRECTED - INHERITED.keys() == set()


def test_every_method_is_driven_by_the_machine() -> None:
    """That each succeeds there, and is refused there, is counted by its long profile."""
    assert METHODS - named(MACHINE) == set()


def test_no_reason_outlives_its_method() -> None:
    assert INHERITED.keys() - (TRACKING | REGISTRY) == set()
    assert INHERITED.keys() & DIRECTED == set()
