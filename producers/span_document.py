"""A span as MLflow stores it: translated from other conventions, where it may be of one."""

from __future__ import annotations

import json
from typing import Any

from mlflow.entities import Span
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.otel.translation import translate_span_when_storing

__all__ = ["span_document"]

_OURS = "mlflow."
_MOST_NAMES = 1000
_agreed: dict[frozenset[str], bool] = {}


def span_document(span: Span) -> dict[str, Any]:
    """What ``translate_span_when_storing`` makes of a span.

    That looks for what a dozen tracing libraries call things. A span all of whose attributes are
    MLflow's own has none of it: looking takes three times as long as reading the span. The first
    span of each set of names is given to MLflow all the same, and those that come after it only
    pass by where the two agreed on the first.
    """
    document: dict[str, Any] = span.to_dict()
    names = frozenset(document["attributes"])
    agreed = _agreed.get(names)
    plain = None if agreed is False else _untranslated(document)
    if agreed and plain is not None:
        return plain
    translated: dict[str, Any] = translate_span_when_storing(span)
    if plain is not None and len(_agreed) < _MOST_NAMES:
        _agreed[names] = json.dumps(plain, default=str) == json.dumps(translated, default=str)
    return translated


def _untranslated(document: dict[str, Any]) -> dict[str, Any] | None:
    """The span as it is, or None where MLflow may have something to add."""
    attributes = document["attributes"]
    if document["events"] or not all(
        type(value) is str and name.startswith(_OURS) for name, value in attributes.items()
    ):
        return None
    kept = {name: _dumped_once(value) for name, value in attributes.items()}
    if SpanAttributeKey.CHAT_USAGE in kept and SpanAttributeKey.LLM_COST not in kept:
        return None
    if SpanAttributeKey.MODEL not in kept and (
        _may_name_model(kept.get(SpanAttributeKey.INPUTS, ""))
        or _may_name_model(kept.get(SpanAttributeKey.OUTPUTS, ""))
    ):
        return None
    return {**document, "attributes": kept}


def _may_name_model(text: str) -> bool:
    """Whether an object in JSON may have a key ``model``."""
    return '"model"' in text or "\\u" in text


def _dumped_once(value: str) -> str:
    """A value in JSON; of one that was put into JSON twice, what it was after the first time."""
    # Most values show by how they begin that no JSON of a text, list or object is within.
    begin = value[:2]
    if begin[:1] not in _MAY_BEGIN_TEXT or (begin[:1] == '"' and begin[1:] not in _MAY_BEGIN_JSON):
        return value
    try:
        once = json.loads(value)
        if isinstance(once, str) and isinstance(json.loads(once), str | dict | list):
            return once
    except json.JSONDecodeError:
        pass
    return value


_MAY_BEGIN_TEXT = ('"', " ", "\t", "\n", "\r")
_MAY_BEGIN_JSON = ("\\", "{", "[", " ", "\t", "\n", "\r")
