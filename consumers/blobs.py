"""Blobs: immutable bytes named by their digest, in a folder or an object store."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from mlflow_ledger.bus import share
from mlflow_ledger.schemas import ArtifactError

__all__ = ["Blobs", "digest_of"]

_CHUNK_BYTES = 1024 * 1024
_HEX = re.compile("[0-9a-f]{64}")


class Blobs:
    """A content-addressed store. A blob is written once; writing it again changes nothing.

    Blobs stand at ``sha256/<first two hex digits>/<hex>``. A download checks the digest.
    """

    def __init__(self, place: Path | str) -> None:
        """Keep blobs in a folder (a path, made when needed) or at an object store's URL."""
        self._place = place

    def __str__(self) -> str:
        """The place, for messages."""
        return str(self._place)

    @cached_property
    def _store(self) -> ObjectStore:
        if not isinstance(self._place, Path):
            return from_url(self._place)
        try:
            return LocalStore(self._place)
        except (BaseError, OSError) as error:
            msg = f"cannot use {self._place} for blobs: {error}"
            raise ArtifactError(msg) from error

    def _check_there(self) -> None:
        """Where there is no folder yet there are no blobs: to look is no reason to make it."""
        if isinstance(self._place, Path) and not self._place.is_dir():
            raise FileNotFoundError(self._place)

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file's bytes; returns their digest and size in bytes."""
        digest, size_bytes = digest_of(_chunks(path))
        self._put(digest, path)
        return digest, size_bytes

    def put(self, data: bytes) -> tuple[str, int]:
        """Keep some bytes; returns their digest and size in bytes."""
        digest, size_bytes = digest_of([data])
        self._put(digest, data)
        return digest, size_bytes

    def read(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob, in pieces; the last piece is given only if the digest is right.

        Raises:
            ArtifactError: the blob is not there, or is not what its digest says.
        """
        found = hashlib.sha256()
        held, key = b"", _key(digest)
        try:
            self._check_there()
            for chunk in obstore.get(self._store, key).stream(_CHUNK_BYTES):
                piece = bytes(chunk)
                found.update(piece)
                if held:
                    yield held
                held = piece
        except (NotFoundError, FileNotFoundError) as error:
            msg = f"blob {digest} is not in {self._place}: it was never written there, or removed"
            raise ArtifactError(msg) from error
        except BaseError as error:
            msg = f"blob {digest} cannot be read from {self._place}: {error}"
            raise ArtifactError(msg) from error
        if f"sha256:{found.hexdigest()}" != digest:
            msg = f"blob {digest} in {self._place} holds other bytes (sha256:{found.hexdigest()})"
            raise ArtifactError(msg)
        yield held

    def get(self, digest: str) -> bytes:
        """The bytes of a blob, checked."""
        return b"".join(self.read(digest))

    def download(self, digest: str, target: Path) -> None:
        """Write a blob to a file, which appears only when the digest was right."""
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in self.read(digest):
                    file.write(chunk)
            mask = os.umask(0)
            os.umask(mask)
            unfinished.chmod(0o666 & ~mask)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def size_bytes(self, digest: str) -> int | None:
        """The size of a blob, or None where it is not there."""
        key = _key(digest)
        try:
            self._check_there()
            return int(obstore.head(self._store, key)["size"])
        except (NotFoundError, FileNotFoundError):
            return None

    def all(self) -> Iterator[tuple[str, int]]:
        """Every blob's digest and size in bytes."""
        if isinstance(self._place, Path) and not self._place.is_dir():
            return
        for batch in obstore.list(self._store, prefix="sha256"):
            for meta in batch:
                yield f"sha256:{meta['path'].rsplit('/', 1)[1]}", int(meta["size"])

    def delete(self, digest: str) -> None:
        """Remove a blob, if it is there."""
        key = _key(digest)
        try:
            self._check_there()
            obstore.delete(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return

    def _put(self, digest: str, data: Path | bytes) -> None:
        key = _key(digest)
        try:
            self._make_folders(key)
            obstore.put(self._store, key, data, mode="create")
            if isinstance(self._place, Path):
                share(self._place / key)
        except AlreadyExistsError:
            return
        except (BaseError, OSError) as error:
            msg = (
                f"blob {digest} cannot be written to {self._place}: {error}. Nothing was logged; "
                "try again when it is mended"
            )
            raise ArtifactError(msg) from error

    def _make_folders(self, key: str) -> None:
        """Make the folders of a blob, for whoever may write to the ledger's."""
        if isinstance(self._place, Path):
            folder = (self._place / key).parent
            for made in (self._place, folder.parent, folder):
                if not made.is_dir():
                    made.mkdir(parents=True, exist_ok=True)
                    share(made)


def digest_of(chunks: Iterable[bytes]) -> tuple[str, int]:
    """Digest (``sha256:<hex>``) and size in bytes of bytes given in pieces."""
    found, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        found.update(chunk)
        size_bytes += len(chunk)
    return f"sha256:{found.hexdigest()}", size_bytes


def _key(digest: str) -> str:
    kind, _, name = digest.partition(":")
    if kind != "sha256" or not _HEX.fullmatch(name):
        msg = f"{digest!r} is no digest; one looks like sha256:<64 hex digits>"
        raise ArtifactError(msg)
    return f"sha256/{name[:2]}/{name}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
