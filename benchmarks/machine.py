"""What the figures were taken on, without naming the machine."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import sqlite3
from pathlib import Path

__all__ = ["facts"]


def facts(folder: Path, postgres: str | None) -> dict[str, str]:
    """Cores, versions, the kind of file system, and how busy the machine is just now."""
    version = importlib.metadata.version
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cores": str(len(os.sched_getaffinity(0)) if _has_affinity() else os.cpu_count()),
        "load average at start": f"{os.getloadavg()[0]:.1f}",
        "file system": _file_system(folder),
        "Python": platform.python_version(),
        "mlflow-ledger": version("mlflow-ledger"),
        "MLflow": version("mlflow"),
        "DuckDB": version("duckdb"),
        "SQLite": sqlite3.sqlite_version,
        "SQLAlchemy": version("sqlalchemy"),
        "PostgreSQL": postgres or "none",
    }


def _has_affinity() -> bool:
    return hasattr(os, "sched_getaffinity")


def _file_system(folder: Path) -> str:
    """The type of the mount that a folder stands on."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    found = {
        Path(fields[1]): fields[2]
        for line in mounts.read_text("utf-8").splitlines()
        if len(fields := line.split()) > 2  # noqa: PLR2004  # device, mount point, type
    }
    return next((found[at] for at in (folder, *folder.parents) if at in found), "unknown")
