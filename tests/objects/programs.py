"""Programs that serve objects, fetched once a machine."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["azurite", "versitygw"]

_VERSITYGW = "1.8.0"
_AZURITE = "3.35.0"
_GO = (1, 24)


def versitygw() -> Path | None:
    """The S3 gateway over a folder, or None where there is no Go to build it."""
    if not _has_go():
        return None
    module = f"github.com/versity/versitygw/cmd/versitygw@v{_VERSITYGW}"

    def build(folder: Path) -> None:
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": ""}
        _run(["go", "install", module], folder, environment)

    return _fetched(f"versitygw-{_VERSITYGW}", build) / "versitygw"


def azurite() -> Path | None:
    """The script of Azure's own emulator, or None where there is no Node to run it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None

    def install(folder: Path) -> None:
        options = ["--prefix", ".", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        _run(["npm", "install", *options, f"azurite@{_AZURITE}"], folder, dict(os.environ))

    folder = _fetched(f"azurite-{_AZURITE}", install)
    return folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _has_go() -> bool:
    if shutil.which("go") is None:
        return False
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= _GO


def _fetched(name: str, fetch: Callable[[Path], None]) -> Path:
    """The folder of a program, which comes into being whole."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = home / "mlflow-ledger-tests" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_name(f"{name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            fetch(unfinished)
            unfinished.rename(folder)
    return folder


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"{' '.join(command)} failed: {done.stderr[-2000:]}"
        raise RuntimeError(msg)
