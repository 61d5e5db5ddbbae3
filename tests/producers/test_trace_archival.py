"""Traces that are archived into the ledger's own artifacts, and what two hosts do at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.entities import Span

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.producers import LedgerTrackingStore
from mlflow_ledger.query import archival_generation, artifacts_below
from mlflow_ledger.schemas import TraceArchived
from tests.oracle.tracing import span, trace, trace_id

ONE = trace_id(1)


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"ledger://{tmp_path / 'store'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def told(store: LedgerTrackingStore, spans: list[Span]) -> None:
    store.start_trace(trace(1))
    store.log_spans("0", spans)


def archived(store: LedgerTrackingStore, location: str) -> int:
    return store.archive_traces(resolved_trace_archival_location=location, broader_retention="1d")


def test_traces_are_archived_into_the_ledger(uri: str, tmp_path: Path) -> None:
    store = LedgerTrackingStore(uri)
    large = span(1, 2, 1, attributes={"mlflow.spanInputs": "ж" * 300_000})
    told(store, [span(1, 1), large])
    before = [(one.name, one.inputs) for one in store.get_trace(ONE).data.spans]
    assert archived(store, store.get_experiment("0").artifact_location) == 1
    after = store.get_trace(ONE)
    assert after.info.tags["mlflow.trace.spansLocation"] == "ARCHIVE_REPO"
    assert [(one.name, one.inputs) for one in after.data.spans] == before
    ledger = Ledger(tmp_path / "store")
    (texts,) = ledger.query(lambda db: db.execute("SELECT max(text) FROM spans").fetchone())
    assert texts == ""
    paths = [row.path for row in ledger.query(lambda db: artifacts_below(db, ""))]
    assert [path for path in paths if path.endswith(f"{ONE}/artifacts/traces.pb")]
    assert store.delete_traces("0", trace_ids=[ONE]) == 1
    assert ledger.query(lambda db: artifacts_below(db, "")) == []
    ledger.close()
    store.close()


def test_spans_that_came_meanwhile_are_not_lost(uri: str, tmp_path: Path) -> None:
    """Another host archives what it has read before; the rule looks at what has come since."""
    store = LedgerTrackingStore(uri)
    told(store, [span(1, 1)])
    ledger = Ledger(tmp_path / "store")
    generation = ledger.query(lambda db: archival_generation(db, ONE))
    store.log_spans("0", [span(1, 2, 1)])
    late = TraceArchived(trace_id=ONE, archive_uri="file:///nowhere", generation=generation)
    with pytest.raises(Exception, match="went on while it was archived"):
        ledger.write(lambda _: [late])
    ledger.close()
    assert len(store.get_trace(ONE).data.spans) == 2
    assert archived(store, (tmp_path / "archive").as_uri()) == 1
    assert len(store.get_trace(ONE).data.spans) == 2
    store.close()
