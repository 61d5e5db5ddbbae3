"""Texts too large for an event, on a ledger in Kafka: they travel before anything is decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import AssessmentSource, Feedback
from mlflow.entities.assessment import FeedbackValue

from mlflow_ledger.bus import kafka_place
from mlflow_ledger.producers import plugin
from tests.oracle.tracing import trace, trace_id

from .homes import new_uri
from .servers import drop

LARGE = "x" * 300_000


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_PARTITIONS", "2")
    made = new_uri()
    yield made
    drop(kafka_place(made))


def test_descriptions_of_models_and_versions(uri: str) -> None:
    with closing(plugin.registry_store(uri, uri)) as store:
        store.create_registered_model("m", description="a" + LARGE)
        assert store.update_registered_model("m", "b" + LARGE).description == "b" + LARGE
        version = store.create_model_version("m", "s3://x", description="c" + LARGE)
        assert version.description == "c" + LARGE
        assert store.update_model_version("m", "1", "e" + LARGE).description == "e" + LARGE
        assert store.get_registered_model("m").description == "b" + LARGE


def test_reasons_of_assessments(uri: str) -> None:
    with closing(plugin.tracking_store(uri)) as store:
        store.start_trace(trace())
        source = AssessmentSource("HUMAN", "zoë")
        given = Feedback(name="good", value=1, source=source, trace_id=trace_id(1))
        assessment_id = store.create_assessment(given).assessment_id

        def changed(**said: Any) -> tuple[Any, str | None, str | None]:
            made = store.update_assessment(trace_id(1), assessment_id, **said)
            error = made.feedback.error
            return made.feedback.value, made.rationale, error and error.error_message

        assert changed(rationale="a" + LARGE) == (1, "a" + LARGE, None)
        assert changed(name="bad") == (1, "a" + LARGE, None)
        failed = Feedback(name="x", error=ValueError("b" + LARGE)).feedback
        assert changed(feedback=failed) == (None, "a" + LARGE, "b" + LARGE)
        assert changed(metadata={"a": "b"}) == (None, "a" + LARGE, "b" + LARGE)
        assert changed(feedback=FeedbackValue(2), rationale="c") == (2, "c", None)
