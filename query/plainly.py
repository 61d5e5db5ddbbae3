"""Values as JSON can say them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["plainly"]


def plainly(value: Any) -> Any:
    """A value as JSON can say it; NaN and infinities are texts, as in MLflow's own JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plainly(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, Mapping):
        return {str(key): plainly(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plainly(entry) for entry in value]
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
