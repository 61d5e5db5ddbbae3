"""Blobs that nothing names are condemned, then removed; what is named again is rescued."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger, collect, plan_collection
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactError,
    ArtifactLogged,
    ClaimCheck,
    RegisteredModelCreated,
    RegisteredModelCreatedContent,
)

DAY_MS = 24 * 60 * 60 * 1000
LATER_MS = 4_000_000_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "store")


def log(ledger: Ledger, path: str, data: bytes, written_ns: int = 1) -> str:
    digest, size_bytes = ledger.blobs.put(data)
    event = ArtifactLogged(
        digest=digest, path=path, size_bytes=size_bytes, owner="runs:/r", written_ns=written_ns
    )
    ledger.write(lambda _: [event])
    return digest


def remove(ledger: Ledger, path: str, digest: str) -> None:
    event = ArtifactDeleted(digest=digest, path=path, owner="runs:/r", written_ns=9)
    ledger.write(lambda _: [event])


def digests(blobs: list[tuple[str, int]]) -> list[str]:
    return [digest for digest, _ in blobs]


def test_what_is_named_stays(ledger: Ledger) -> None:
    log(ledger, "a", b"kept")
    plan = plan_collection(ledger, LATER_MS, 0)
    assert (plan.condemn, plan.wait, plan.remove) == ([], [], [])


def test_condemned_then_removed_after_the_grace(ledger: Ledger) -> None:
    kept, gone = log(ledger, "a", b"kept"), log(ledger, "b", b"gone")
    remove(ledger, "b", gone)
    assert digests(collect(ledger, plan_collection(ledger, LATER_MS, DAY_MS)).condemn) == [gone]
    early = plan_collection(ledger, 0, DAY_MS)
    assert (digests(early.wait), early.remove) == ([gone], [])
    done = collect(ledger, plan_collection(ledger, LATER_MS, DAY_MS))
    assert digests(done.remove) == [gone]
    assert ledger.blobs.get(kept) == b"kept"
    with pytest.raises(ArtifactError, match="is not in"):
        ledger.blobs.get(gone)


def test_a_manifest_in_between_rescues(ledger: Ledger) -> None:
    digest = log(ledger, "a", b"bytes")
    remove(ledger, "a", digest)
    collect(ledger, plan_collection(ledger, LATER_MS, DAY_MS))
    plan = plan_collection(ledger, LATER_MS, 0)
    assert digests(plan.remove) == [digest]
    log(ledger, "b", b"bytes", written_ns=10)
    assert collect(ledger, plan).remove == []
    assert ledger.blobs.get(digest) == b"bytes"


def test_a_blob_at_two_paths_stays_until_both_are_gone(ledger: Ledger) -> None:
    digest = log(ledger, "a", b"same")
    assert log(ledger, "b", b"same") == digest
    remove(ledger, "a", digest)
    assert plan_collection(ledger, LATER_MS, 0).condemn == []
    remove(ledger, "b", digest)
    assert digests(plan_collection(ledger, LATER_MS, 0).condemn) == [digest]


def test_a_claim_check_names_its_blob(ledger: Ledger) -> None:
    digest, size_bytes = ledger.blobs.put(b"a long description")
    content = RegisteredModelCreatedContent(
        description=ClaimCheck(digest=digest, size_bytes=size_bytes)
    )
    event = RegisteredModelCreated(model_uid="u", name="m", content=content)
    ledger.write(lambda _: [event])
    assert plan_collection(ledger, LATER_MS, 0).condemn == []
