"""MLflow's artifacts on a ledger of several hosts: each has the log, none the other's disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_ledger.consumers import Delivery, Ledger, open_ledger


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_LEDGER_BUS_BYTES", "1MiB")
    monkeypatch.setenv("MLFLOW_LEDGER_READ_WAIT_S", "0")
    uri = f"ledger:{tmp_path}/store"
    open_ledger(uri).shared = True
    return uri


def counts(ledger: Ledger) -> Counter[str]:
    return Counter(stored.record.envelope.type for stored in ledger.log.rows(1))


def test_files_are_logged_listed_and_downloaded_before_and_after_delivery(
    uri: str, tmp_path: Path
) -> None:
    client, ledger = MlflowClient(uri, uri), open_ledger(uri)
    run_id = client.create_run("0").info.run_id
    folder = tmp_path / "local"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a", "utf-8")
    (folder / "deep" / "b.bin").write_bytes(bytes(range(256)) * 4000)
    (folder / "deep" / "empty").write_bytes(b"")
    client.log_artifacts(run_id, str(folder), "files")
    client.log_artifact(run_id, str(folder / "a.txt"))
    assert not (ledger.folder / "blobs").exists()
    assert counts(ledger)["ArtifactLogged"] == 4
    assert counts(ledger)["BlobChunkLogged"] == 1 + 3 + 1
    assert [entry.path for entry in client.list_artifacts(run_id)] == ["a.txt", "files"]
    for place in ("before", "after"):
        got = Path(client.download_artifacts(run_id, "files", str(_made(tmp_path / place))))
        assert (got / "deep" / "b.bin").read_bytes() == bytes(range(256)) * 4000
        assert (got / "deep" / "empty").read_bytes() == b""
        Delivery(ledger).round()
    assert len(list(ledger.blobs.all())) == 3


def test_a_file_too_large_for_the_bus_is_refused_and_nothing_is_seen(
    uri: str, tmp_path: Path
) -> None:
    client = MlflowClient(uri, uri)
    run_id = client.create_run("0").info.run_id
    (tmp_path / "large").write_bytes(bytes(1024 * 1024 + 1))
    with pytest.raises(MlflowException, match=r"folder of this host.*MLFLOW_LEDGER_BLOBS"):
        client.log_artifact(run_id, str(tmp_path / "large"))
    assert client.list_artifacts(run_id) == []


def test_a_file_whose_bytes_did_not_come_is_told(uri: str, tmp_path: Path) -> None:
    client, ledger = MlflowClient(uri, uri), open_ledger(uri)
    run_id = client.create_run("0").info.run_id
    (tmp_path / "file").write_bytes(b"abc")
    ledger.shared = False
    client.log_artifact(run_id, str(tmp_path / "file"))  # to this host's folder, as of old
    ledger.shared = True
    for blob, _ in list(ledger.blobs.all()):
        ledger.blobs.delete(blob)
    with pytest.raises(MlflowException, match="nothing of it came over the bus"):
        download_artifacts(
            artifact_uri=f"{client.get_run(run_id).info.artifact_uri}/file", tracking_uri=uri
        )


def test_a_long_description_travels_too(uri: str) -> None:
    client, ledger = MlflowClient(uri, uri), open_ledger(uri)
    text = "ы" * 200_000
    client.create_registered_model("m", description=text)
    assert client.get_registered_model("m").description == text
    assert counts(ledger)["BlobChunkLogged"] == 2
    assert not (ledger.folder / "blobs").exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
