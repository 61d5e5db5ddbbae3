"""Who says it: the MLflow plugin.

Its classes are imported when they are first asked for: MLflow reads its entry points while it is
itself being imported, and a script that only logs never needs DuckDB.
"""

from importlib import import_module
from typing import Any

__all__ = ["LedgerArtifactRepository", "LedgerRegistryStore", "LedgerTrackingStore"]

_MODULES = {
    "LedgerArtifactRepository": "artifact_repository",
    "LedgerRegistryStore": "registry_store",
    "LedgerTrackingStore": "tracking_store",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
