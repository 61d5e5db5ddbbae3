"""The wheel: what is in it, and that it works in an environment of nothing but what it asks for."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from email import message_from_string
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .programs import ROOT, SCRIPTS, last_json, run, unknown

FOLDERS = ("schemas", "bus", "consumers", "query", "producers")
BUILD = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"
NOT_SOURCES = (".*", "__pycache__", "build", "dist", "*.egg-info", "demo-store", "mlruns", "*.db")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, by the hook of the build backend that pip and uv call."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = shutil.copytree(ROOT, folder / "sources", ignore=shutil.ignore_patterns(*NOT_SOURCES))
    run(Path(sources), sys.executable, "-c", BUILD, folder)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        here = str(ROOT).encode()
        assert not [name for name in names if here in archive.read(name)]
    shipped = {
        f"mlflow_ledger/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sql", ".avsc", ".md", ".typed")
    }
    information = {name for name in names if re.match(r"mlflow_ledger-[^/]+\.dist-info/", name)}
    assert names - information == shipped
    assert {f"mlflow_ledger/{folder}/py.typed" for folder in FOLDERS} <= names
    assert {name.rpartition("/")[2] for name in names if name.endswith(".sql")} == {
        "log.sql",
        "keys.sql",
        "mirror.sql",
        "spool.sql",
        "state.sql",
        "analytics.sql",
        "views.sql",
        "deliveries.sql",
    }
    assert len([name for name in names if name.endswith(".avsc")]) > 50
    assert [name for name in information if name.endswith("licenses/LICENSE")]


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and what the wheel asks for."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.folder / "bin" / "mlflow-ledger"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A new environment into which pip installed the wheel.

    What the wheel requires is not downloaded again: it is linked, package by package and nothing
    beyond what the metadata ask for, out of the environment that runs the tests. This project's
    own editable install is no part of that.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(folder, sys.executable, "-m", "venv", ".")
    run(folder, "bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        required = message_from_string(archive.read(metadata).decode()).get_all("Requires-Dist")
    needed = closure([*(required or ()), "scikit-learn"])
    assert "mlflow" in needed
    assert "mlflow-ledger" not in needed
    link(needed, folder / "required")
    [site_packages] = folder.glob("lib/python*/site-packages")
    (site_packages / "required.pth").write_text(f"{folder / 'required'}\n", "utf-8")
    return Installed(folder)


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """Everything that an installer would install for some requirements."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        extras = [("", name), *((wanted, name) for wanted in requirement.extras)]
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise AssertionError(f"{name} is required, and not installed here") from error
        assert requirement.specifier.contains(package.version, prereleases=True), requirement
        found[name] = package
        for key in extras:
            if key not in seen:
                seen.add(key)
                waiting += [(Requirement(text), key[0]) for text in package.requires or ()]
    return found


def link(packages: dict[str, Distribution], folder: Path) -> None:
    """Links to what packages have installed, and to nothing beside it."""
    folder.mkdir()
    for package in packages.values():
        for file in package.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(package.locate_file(top))).resolve())


def test_a_script_beside_modules_of_our_names(installed: Installed, tmp_path: Path) -> None:
    """The installed wheel is what runs, and the script's own modules stay the script's own."""
    shutil.copy(SCRIPTS / "shadow.py", tmp_path / "train.py")
    for name in ("schemas", "query", "producers"):
        (tmp_path / f"{name}.py").write_text("TEXT = 'from the script'\n", "utf-8")
    for name in ("bus", "consumers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("", "utf-8")
    (tmp_path / "consumers" / "queue.py").write_text("", "utf-8")

    done = run(tmp_path, installed.python, "train.py", MLFLOW_TRACKING_URI="ledger:./store")
    assert unknown(done.stderr) == []
    said = last_json(done.stdout)
    assert said["text"] == "from the script"
    assert said["own"] == ["schemas.py", "query.py", "producers.py", "__init__.py", "queue.py"]
    assert Path(said["prefix"]) == installed.folder
    [site_packages] = installed.folder.glob("lib/python*/site-packages/mlflow_ledger")
    assert said["ours"]
    assert all(Path(folder).is_relative_to(site_packages) for folder in said["ours"])
    assert not [finder for finder in said["finders"] if "ditable" in finder]

    done = run(
        tmp_path, installed.command, "sql", "ledger:./store", "--json",
        "SELECT key, value FROM params WHERE key = 'max_depth'",
    )  # fmt: skip
    assert json.loads(done.stdout) == [{"key": "max_depth", "value": "2"}]
    assert done.stderr == ""

    listed = run(
        tmp_path, installed.python, "-m", "mlflow", "runs", "list", "--experiment-id", "0",
        MLFLOW_TRACKING_URI="ledger:./store",
    )  # fmt: skip
    assert unknown(listed.stderr) == []
    assert said["run_id"] in listed.stdout
