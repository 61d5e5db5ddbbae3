"""What the repository promises of itself: layers, locked dependencies, typed packages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("schemas", "bus", "consumers", "query", "producers")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of `folder`; what stands there is found before what is installed."""
    program = "import sys; from importlinter.cli import lint_imports_command as c; c(sys.argv[1:])"
    options = ["--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def normalised(requirement: str) -> str:
    """The name in a requirement, as package registries spell it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def test_imports_point_one_way() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("bus", "import mlflow", "Only producers may import mlflow BROKEN"),
        ("schemas", "from mlflow.entities import Run", "Only producers may import mlflow BROKEN"),
        ("schemas", "from mlflow_ledger import bus", "Imports point one way"),
        ("consumers", "from mlflow_ledger.query import cli", "Imports point one way"),
    ],
)
def test_a_forbidden_import_is_noticed(module: str, line: str, broken: str, tmp_path: Path) -> None:
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder,
            tmp_path / "mlflow_ledger" / folder,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    (tmp_path / "mlflow_ledger" / module / "stray.py").write_text(line + "\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stray" in done.stdout
    assert broken in done.stdout


def test_every_direct_dependency_is_locked() -> None:
    direct = [
        *PROJECT["project"]["dependencies"],
        *(needed for group in PROJECT["dependency-groups"].values() for needed in group),
    ]
    locked = {normalised(line) for line in LOCK.splitlines() if re.match(r"\w[^ ]*==", line)}
    assert {normalised(needed) for needed in direct} <= locked


def test_the_lock_has_hashes_and_names_no_registry() -> None:
    entries = re.split(r"\n(?=\w)", LOCK.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK
    assert "index" not in LOCK


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_part_is_typed(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][f"mlflow_ledger.{folder}"]


def test_every_package_is_shipped() -> None:
    found = {
        "mlflow_ledger." + ".".join(init.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_the_plugin_may_be_imported_before_mlflow() -> None:
    """MLflow reads its entry points while it is imported: the module has to be whole by then."""
    command = [sys.executable, "-W", "error", "-c", "import mlflow_ledger.producers.plugin"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
