"""Blobs: written once, named by their digest, checked when read."""

from __future__ import annotations

import filecmp
import random
import uuid
from pathlib import Path

import obstore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_ledger.consumers import Blobs, digest_of
from mlflow_ledger.schemas import ArtifactError
from tests.objects.servers import KINDS, objects

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def key(digest: str) -> str:
    name = digest.removeprefix("sha256:")
    return f"sha256/{name[:2]}/{name}"


@pytest.fixture(params=["folder", *KINDS])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    """An empty store of each kind."""
    if request.param == "folder":
        return Blobs(tmp_path / "blobs")
    found = objects(request.param)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return Blobs(f"{found.url}/{uuid.uuid4()}/and more")


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    Blobs(tmp_path / "blobs")
    assert list(tmp_path.iterdir()) == []


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
@given(data=st.binary())
def test_bytes_come_back_by_their_digest(blobs: Blobs, data: bytes) -> None:
    digest, size_bytes = blobs.put(data)
    assert (digest, size_bytes) == digest_of([data]) == (digest, len(data))
    assert blobs.get(digest) == data
    assert blobs.size_bytes(digest) == len(data)


def test_a_blob_stands_where_its_digest_says(blobs: Blobs) -> None:
    assert blobs.put(b"abc") == (ABC, 3)
    assert bytes(obstore.get(blobs._store, key(ABC)).bytes()) == b"abc"
    assert blobs.put(b"abc") == (ABC, 3)
    assert list(blobs.all()) == [(ABC, 3)]


def test_a_blob_is_written_once(blobs: Blobs) -> None:
    """Whoever comes second changes nothing, not even what is wrong."""
    blobs.put(b"something else")
    obstore.put(blobs._store, key(ABC), b"abd")
    assert blobs.put(b"abc") == (ABC, 3)
    with pytest.raises(ArtifactError, match="holds other bytes"):
        blobs.get(ABC)


@pytest.mark.parametrize("size_bytes", [0, 5_120_000, 20_000_000])
def test_files_of_any_size_come_back(blobs: Blobs, tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "file").write_bytes(random.Random(size_bytes).randbytes(size_bytes))
    digest, kept_bytes = blobs.put_file(tmp_path / "file")
    assert blobs.put_file(tmp_path / "file") == (digest, size_bytes)
    assert blobs.size_bytes(digest) == kept_bytes == size_bytes
    blobs.download(digest, tmp_path / "there" / "copy")
    assert filecmp.cmp(tmp_path / "file", tmp_path / "there" / "copy", shallow=False)
    assert list(blobs.all()) == [(digest, size_bytes)]


def test_large_files_go_through_in_pieces(blobs: Blobs, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "large").write_bytes(data)
    digest, size_bytes = blobs.put_file(tmp_path / "large")
    assert size_bytes == len(data)
    assert len(list(blobs.read(digest))) > 1
    blobs.download(digest, tmp_path / "there" / "copy")
    assert (tmp_path / "there" / "copy").read_bytes() == data
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["copy"]


def test_a_blob_that_holds_other_bytes_is_told_and_leaves_no_file(
    blobs: Blobs, tmp_path: Path
) -> None:
    digest, _ = blobs.put(b"x" * 3_000_000)
    obstore.put(blobs._store, key(digest), b"x" * 2_999_999 + b"y")
    with pytest.raises(ArtifactError, match="holds other bytes"):
        blobs.get(digest)
    with pytest.raises(ArtifactError, match="holds other bytes"):
        blobs.download(digest, tmp_path / "there" / "copy")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_blob_that_is_not_there_is_told(blobs: Blobs) -> None:
    with pytest.raises(ArtifactError, match="never written there, or removed"):
        blobs.get(ABC)
    assert blobs.size_bytes(ABC) is None
    blobs.delete(ABC)
    assert list(blobs.all()) == []
    blobs.put(b"abc")
    blobs.delete(ABC)
    blobs.delete(ABC)
    assert list(blobs.all()) == []


@pytest.mark.parametrize(
    "name",
    ["", "abc", "md5:" + "0" * 64, "sha256:" + "../" * 21 + "x", "sha256:" + "G" * 64, ABC * 2],
)
def test_what_is_no_digest_names_no_file(blobs: Blobs, name: str) -> None:
    for use in (blobs.get, blobs.size_bytes, blobs.delete):
        with pytest.raises(ArtifactError, match="is no digest"):
            use(name)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello", "utf-8")
    with pytest.raises(ArtifactError, match="file"):
        Blobs(tmp_path / "file").put(b"abc")
    with pytest.raises(ArtifactError, match="file"):
        Blobs(tmp_path / "file" / "below").put(b"abc")
