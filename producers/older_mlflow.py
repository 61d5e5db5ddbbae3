"""What one MLflow that we work with lacks or names otherwise, as the newest has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mlflow.entities import Span
from mlflow.entities import span as spans
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.tracing import utils as tracing
from mlflow.tracing.otel.translation import translate_loaded_span
from mlflow.utils import validation
from mlflow.utils.validation import _validate_model_version
from mlflow.version import VERSION

__all__ = [
    "SINCE_3_18",
    "SpanNode",
    "check_new_trace_id",
    "cost_of",
    "is_custom_code",
    "parse_experiment_id",
    "parse_experiment_ids",
    "preview",
    "since_3_18",
    "stored_span",
    "usage_of",
    "validate_alias",
    "validate_alias_is_free",
    "validate_icons",
    "version_number",
]

SINCE_3_18 = tuple(map(int, VERSION.split(".")[:2])) >= (3, 18)
"""Whether answers are those that MLflow gives from 3.18 on, where they changed."""


def since_3_18(module: str, name: str) -> Any:
    """What a module of MLflow has from 3.18 on."""
    return getattr(import_module(module), name)


def _either(newer: str, older: str) -> Any:
    return getattr(validation, newer, None) or getattr(validation, older, None)


# Renamed in MLflow 3.18, where skills share them.
validate_alias: Callable[[str], None] = _either(
    "_validate_alias_name", "_validate_model_alias_name"
)
"""Refuse what is no name of an alias."""

validate_alias_is_free: Callable[[str], None] = _either(
    "_validate_alias_name_reserved", "_validate_model_alias_name_reserved"
)
"""Refuse an alias that means something of its own: ``latest``, ``v1``."""

validate_icons: Callable[[Any, str], None] = _either(
    "_validate_icon_payloads", "_validate_mcp_icon_payloads"
)
"""Refuse what is no list of icons; the second argument names the field. 3.12 has no icons."""


def parse_experiment_id(experiment_id: str | int) -> int:
    """An experiment's id as a number.

    Raises:
        MlflowException: it is none.
    """
    try:
        return int(experiment_id)
    except (ValueError, TypeError) as error:
        raise MlflowException(
            f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.",
            INVALID_PARAMETER_VALUE,
        ) from error


def parse_experiment_ids(experiment_ids: list[str]) -> list[int]:
    """Experiments' ids as numbers; see :func:`parse_experiment_id`."""
    return [parse_experiment_id(experiment_id) for experiment_id in experiment_ids]


def version_number(version: str | int) -> int:
    """A model version's number.

    Raises:
        MlflowException: it is none.
    """
    _validate_model_version(version)
    return int(version)


@dataclass
class _SpanNode:
    """A span as far as the sums over a trace look at it."""

    span_id: str
    parent_id: str | None
    data: dict[str, Any] | None

    def get_attribute(self, _key: str) -> dict[str, Any] | None:
        """What the sum is of: the only attribute that is asked for."""
        return self.data


SpanNode: Any = getattr(tracing, "SpanAggregationNode", _SpanNode)
"""A span in :func:`usage_of` and :func:`cost_of`."""

usage_of: Callable[[list[Any]], dict[str, int] | None] = getattr(
    tracing, "aggregate_usage_from_span_nodes", tracing.aggregate_usage_from_spans
)
"""The tokens of a trace; a span whose ancestor has counted them is left out."""

cost_of: Callable[[list[Any]], dict[str, float] | None] = getattr(
    tracing, "aggregate_cost_from_span_nodes", tracing.aggregate_cost_from_spans
)
"""The cost of a trace, likewise."""


def stored_span(text: str) -> Span:
    """A span of a text that a store keeps; newer MLflow reads it when it is looked at."""
    lazy = getattr(spans, "LazySpan", None)
    if lazy is None:
        return Span.from_dict(translate_loaded_span(json.loads(text)))
    span: Span = lazy.from_stored_content(text)
    return span


def check_new_trace_id(trace_id: str) -> str:
    """Refuse what is no id of a new trace; older MLflow takes anything. Returns the id.

    Raises:
        MlflowException: it would be another place than its own among the artifacts.
    """
    if SINCE_3_18:
        since_3_18("mlflow.store.tracking.file_store", "_validate_new_trace_id")(trace_id)
    return trace_id


def preview(text: str | None) -> str | None:
    """A preview as MLflow keeps it: from 3.18 on without NUL, which PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd") if text and SINCE_3_18 else text


def is_custom_code(serialized_scorer: str) -> bool:
    """Whether a serialized scorer holds code of its own; older MLflow does not ask."""
    from mlflow.genai.scorers import base

    found = getattr(base, "_serialized_scorer_is_custom_code", None)
    return found is not None and bool(found(serialized_scorer))
