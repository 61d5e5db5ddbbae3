"""Where blobs may be kept, and how a store that does not answer is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ByteSize

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import (
    Blobs,
    Delivery,
    Ledger,
    check_shared,
    collect,
    plan_collection,
)
from mlflow_ledger.query.stats import stats
from mlflow_ledger.query.verify import verify
from mlflow_ledger.schemas import ArtifactDeleted, ArtifactError, ArtifactLogged, SettingsError
from tests.objects.servers import KINDS, Objects, objects

DIGEST = "sha256:" + "ab" * 32
SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"s3://key:{SECRET}@bucket/prefix", "secrets come from"),
        ("s3://key@bucket/prefix", "secrets come from"),
        (f"az://container/prefix?sig={SECRET}", "secrets come from"),
        (f"abfs://container:{SECRET}@account.dfs.core.windows.net/x", "secrets come from"),
        (f"https://{SECRET}/bucket", "is no place for blobs"),
        ("file:relative", "is no place for blobs"),
        ("file://host/folder", "is no place for blobs"),
        ("s3:///prefix", "is no place for blobs"),
        ("blobs", "is no place for blobs"),
    ],
)
def test_what_is_no_place_is_refused_without_its_secrets(
    url: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        Ledger(tmp_path / "store", Settings(blobs=url))
    if "://" in url and "@" in url:
        assert SECRET not in str(caught.value)
    assert "sig=" not in str(caught.value)


def reached(kind: str, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An object store, and the environment that says how to reach it."""
    found = objects(kind)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


def test_a_folder_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    ledger = Ledger(tmp_path / "store", Settings(blobs=elsewhere.as_uri()))
    digest, _ = ledger.blobs.put(b"abc")
    assert Blobs(elsewhere).get(digest) == b"abc"
    assert not (tmp_path / "store" / "blobs").exists()


def test_the_environment_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_BLOBS", "s3://bucket/prefix/")
    assert str(Ledger(tmp_path / "store").blobs) == "s3://bucket/prefix"


def test_a_folder_among_several_hosts_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"MLFLOW_LEDGER_BLOBS.*s3://.*MLFLOW_LEDGER_BUS_BYTES"):
        check_shared(tmp_path)
    check_shared("s3://bucket/prefix")


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_does_not_take_the_key_is_told_without_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reached(kind, monkeypatch)
    if kind == "s3":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    blobs = Blobs(f"{found.url}-that-is-not-there/prefix")
    with pytest.raises(ArtifactError) as caught:
        blobs.put(b"abc")
    message = str(caught.value)
    assert str(blobs) in message
    assert "sha256:ba7816bf" in message
    assert "try again" in message
    for name, value in found.environment.items():
        assert "KEY" not in name or value not in message
    assert SECRET not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_store_that_nobody_serves_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    blobs = Blobs("s3://bucket/prefix")
    for use in (
        lambda: blobs.get(DIGEST),
        lambda: blobs.size_bytes(DIGEST),
        lambda: [*blobs.all()],
    ):
        with pytest.raises(ArtifactError, match="s3://bucket/prefix"):
            use()


def test_http_is_refused_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = reached("s3", monkeypatch)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(ArtifactError):
        Blobs(found.url).put(b"abc")


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_with_its_blobs_in_an_object_store(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reached(kind, monkeypatch)
    where = f"{found.url}/{tmp_path.name}"
    ledger = Ledger(tmp_path / "store", Settings(blobs=where))
    digest, size_bytes = ledger.blobs.put(b"abc")
    named = {"digest": digest, "path": "a", "owner": "runs:/r"}
    ledger.write(lambda _: [ArtifactLogged(**named, size_bytes=size_bytes, written_ns=1)])
    report = verify(ledger)
    assert (report.findings, report.artifacts, report.artifact_bytes) == ([], 1, 3)
    assert stats(ledger).blob_store == where
    ledger.write(lambda _: [ArtifactDeleted(**named, written_ns=2)])
    done = collect(ledger, plan_collection(ledger, 2**62, 0))
    assert done.remove == [(digest, 3)]
    assert list(ledger.blobs.all()) == []
    ledger.close()


@pytest.mark.parametrize("kind", KINDS)
def test_hosts_that_share_a_ledger_and_an_object_store(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones over the bus and by a consumer, a large one straight: all end in the store."""
    found = reached(kind, monkeypatch)
    where = f"{found.url}/{tmp_path.name}-shared"
    settings = Settings(blobs=where, bus_bytes=ByteSize(1_000_000), read_wait_s=0)
    ledger = Ledger(tmp_path / "store", settings)
    ledger.shared = True
    small, _ = ledger.carrier.put(b"small")
    large, _ = ledger.carrier.put(bytes(1_000_001))
    assert dict(ledger.blobs.all()) == {large: 1_000_001}
    assert ledger.carrier.get(small) == b"small"
    delivery = Delivery(ledger)
    assert delivery.round() == ([small], {})
    assert dict(ledger.blobs.all()) == {small: 5, large: 1_000_001}
    assert ledger.carrier.get(small) == b"small"
    assert ledger.carrier.get(large) == bytes(1_000_001)
    ledger.close()
