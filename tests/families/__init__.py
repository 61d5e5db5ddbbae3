"""Sample events of the small families, a module each: what every test of all event types takes."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from mlflow_ledger.schemas import Event

__all__ = ["SAMPLES"]

SAMPLES: tuple[Event, ...] = tuple(
    event
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name)
    for event in import_module(f"{__name__}.{found.name}").FULL
)
"""One event of each type with all it can hold; in each family those that create things first."""
