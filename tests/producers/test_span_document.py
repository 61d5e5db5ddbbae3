"""What is stored of a span is what MLflow would store, whatever its attributes are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.entities import Span
from mlflow.tracing.otel.translation import translate_span_when_storing

from mlflow_ledger.producers import span_document as module
from mlflow_ledger.producers.span_document import span_document

TEXTS = st.sampled_from(
    [
        "",
        "a",
        "1",
        '"a"',
        '{"model": "m"}',
        "[1]",
        ' {"a": 1}',
        "\t[",
        "\\",
        "{",
        '"',
        "null",
        "\ufeff",
    ]
) | st.text('aé \\"{[', max_size=5)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(
    [
        "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType", "mlflow.llm.model",
        "mlflow.llm.provider", "mlflow.llm.cost", "mlflow.chat.tokenUsage", "mlflow.message.format",
        "mlflow.chat.tools", "mlflow.traceTag.team", "mlflow.own", "temperature", "session.id",
        "gen_ai.request.model", "gen_ai.usage.input_tokens", "input_tokens", "lk.agent_name",
    ]
)  # fmt: skip


def made(attributes: dict[str, Any], *, events: bool = False) -> Span:
    event = {"name": "e", "time_unix_nano": 1, "attributes": {"a": "b"}}
    return Span.from_dict(
        {
            "trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==",
            "span_id": "AAAAAAAAAAE=",
            "parent_span_id": None,
            "name": "answer",
            "start_time_unix_nano": 1,
            "end_time_unix_nano": 2,
            "events": [event] if events else [],
            "status": {"code": "STATUS_CODE_OK", "message": ""},
            "attributes": {"mlflow.traceRequestId": json.dumps("tr-1"), **attributes},
        }
    )


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, default=str)


@given(
    values=st.dictionaries(NAMES, VALUES, max_size=5),
    layers=st.integers(1, 3),
    events=st.booleans(),
)
@example(values={"mlflow.spanInputs": {"model": "m"}}, layers=1, events=False)
@example(values={"mlflow.spanInputs": ' {"a": 1}'}, layers=2, events=False)
def test_it_is_what_mlflow_stores(values: dict[str, Any], layers: int, events: bool) -> None:
    attributes = {}
    for name, value in values.items():
        document = value
        for _ in range(layers):
            document = json.dumps(document)
        attributes[name] = document
    span = made(attributes, events=events)
    for _ in range(2):
        assert written(span_document(span)) == written(translate_span_when_storing(span))


def test_names_on_which_mlflow_adds_something_are_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def translate(span: Span) -> dict[str, Any]:
        document: dict[str, Any] = span.to_dict()
        return {**document, "attributes": {**document["attributes"], "mlflow.new": "1"}}

    monkeypatch.setattr(module, "translate_span_when_storing", translate)
    span = made({"mlflow.only here": "1"})
    assert span_document(span) == span_document(span) == translate(span)
