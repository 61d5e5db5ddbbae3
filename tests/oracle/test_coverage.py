"""No method of MLflow's stores goes uncompared; test_machine.py counts what the machine calls."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from pathlib import Path

import pytest
from mlflow.store.model_registry.abstract_store import AbstractStore as AbstractRegistry
from mlflow.store.tracking.abstract_store import AbstractStore as AbstractTracking

from mlflow_ledger.producers import LedgerRegistryStore, LedgerTrackingStore

from .methods import INHERITED, METHODS, REGISTRY, TRACKING

HERE = Path(__file__).parent
OURS = "mlflow_ledger."
PAGE = (HERE.parents[1] / "docs/differences.md").read_text("utf-8")
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


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(AbstractTracking, LedgerTrackingStore), (AbstractRegistry, LedgerRegistryStore)],
)
def test_whatever_else_a_store_has_is_ours_or_documented(theirs: type, ours: type) -> None:
    """Properties and class methods; methods are looked at by `later_methods`."""
    said = {name for name, member in inspect.getmembers(theirs) if not inspect.isfunction(member)}
    known = {
        name for base in ours.__mro__ if base.__module__.startswith(OURS) for name in vars(base)
    }
    missing = {name for name in said - known if name[0] != "_" and f"`{name}`" not in PAGE}
    assert missing == set()


def test_no_reason_outlives_its_method() -> None:
    assert INHERITED.keys() - (TRACKING | REGISTRY) == set()
    assert INHERITED.keys() & DIRECTED == set()
