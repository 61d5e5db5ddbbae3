"""Issues whose texts are too large for an event: as blobs they are kept, and looked after."""

from __future__ import annotations

from pathlib import Path

from mlflow_ledger.consumers import open_ledger, plan_collection
from mlflow_ledger.producers import LedgerTrackingStore
from mlflow_ledger.query.verify import verify

LARGE = "ключ" * 100_000


def test_large_texts_are_kept(tmp_path: Path) -> None:
    uri = f"ledger:{tmp_path}/store"
    store = LedgerTrackingStore(uri)
    issue = store.create_issue("0", name=LARGE, description=LARGE + "d", root_causes=[LARGE + "r"])
    assert store.get_issue(issue.issue_id) == issue
    assert (issue.name, issue.root_causes) == (LARGE, [LARGE + "r"])
    ledger = open_ledger(uri)
    assert plan_collection(ledger, now_ms=0, grace_ms=0).condemn == []
    report = verify(ledger)
    assert report.artifacts == 3
    assert report.findings == []
    store.update_issue(issue.issue_id, name="short")
    assert len(plan_collection(ledger, now_ms=0, grace_ms=0).condemn) == 1
