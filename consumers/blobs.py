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
from obstore.store import ObjectStore

from mlflow_ledger.bus import share
from mlflow_ledger.schemas import ArtifactError, BlobMissing

from .blob_place import explained, opened, place_name

__all__ = ["Blobs", "checked", "digest_of", "file_pieces", "write_file"]

_CHUNK_BYTES = 1024 * 1024
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
_MOST_PARTS = 9000  # S3 and Google take 10000
_HEX = re.compile("[0-9a-f]{64}")


class Blobs:
    """A content-addressed store. A blob is written once; writing it again changes nothing.

    Blobs stand at ``sha256/<first two hex digits>/<hex>``. A download checks the digest.
    """

    def __init__(self, place: Path | str) -> None:
        """Keep blobs in a folder (a path, made when needed) or at an object store's URL."""
        self.place = place

    def __str__(self) -> str:
        """The place, for messages."""
        return str(self.place)

    @cached_property
    def name(self) -> str:
        """What events call this store: the same wherever it is the same."""
        return place_name(self.place)

    @cached_property
    def _store(self) -> ObjectStore:
        return opened(self.place)

    def _check_there(self) -> None:
        """Where there is no folder yet there are no blobs: to look is no reason to make it."""
        if isinstance(self.place, Path) and not self.place.is_dir():
            raise FileNotFoundError(self.place)

    def put_file(self, path: Path) -> tuple[str, int]:
        """Keep a file's bytes; returns their digest and size in bytes."""
        digest, size_bytes = digest_of(file_pieces(path))
        self.keep(digest, path, size_bytes)
        return digest, size_bytes

    def put(self, data: bytes) -> tuple[str, int]:
        """Keep some bytes; returns their digest and size in bytes."""
        digest, size_bytes = digest_of([data])
        self.keep(digest, data, size_bytes)
        return digest, size_bytes

    def keep(self, digest: str, data: Path | bytes, size_bytes: int) -> None:
        """Keep bytes that are known to have this digest and size.

        What a store's own error says may hold secrets: it is never the cause of one of ours.

        Raises:
            ArtifactError: the store does not take them.
        """
        key = _key(digest)
        try:
            self._make_folders(key)
            self._write(key, data, size_bytes)
            if isinstance(self.place, Path):
                share(self.place / key)
        except AlreadyExistsError:
            return
        except (BaseError, OSError) as error:
            # A server may close the connection as soon as it sees that the blob is there.
            if isinstance(error, BaseError) and self._holds(key, size_bytes):
                return
            msg = (
                f"blob {digest} cannot be written to {self}: {explained(error)}. Nothing was "
                "logged; try again when it is mended"
            )
            raise ArtifactError(msg) from None

    def read(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob, in pieces; the last piece is given only if the digest is right.

        Raises:
            BlobMissing: the blob is not there.
            ArtifactError: it cannot be read, or is not what its digest says.
        """
        return checked(digest, self._pieces(digest), str(self))

    def get(self, digest: str) -> bytes:
        """The bytes of a blob, checked."""
        return b"".join(self.read(digest))

    def download(self, digest: str, target: Path) -> None:
        """Write a blob to a file, which appears only when the digest was right."""
        write_file(self.read(digest), target)

    def size_bytes(self, digest: str) -> int | None:
        """The size of a blob, or None where it is not there."""
        key = _key(digest)
        try:
            self._check_there()
            return int(obstore.head(self._store, key)["size"])
        except (NotFoundError, FileNotFoundError):
            return None
        except BaseError as error:
            msg = f"blob {digest} cannot be looked up in {self}: {explained(error)}"
            raise ArtifactError(msg) from None

    def all(self) -> Iterator[tuple[str, int]]:
        """Every blob's digest and size in bytes."""
        if isinstance(self.place, Path) and not self.place.is_dir():
            return
        try:
            for batch in obstore.list(self._store, prefix="sha256"):
                for meta in batch:
                    name = meta["path"].rsplit("/", 1)[1]
                    if _HEX.fullmatch(name):
                        yield f"sha256:{name}", int(meta["size"])
        except BaseError as error:
            msg = f"the blobs in {self} cannot be listed: {explained(error)}"
            raise ArtifactError(msg) from None

    def delete(self, digest: str) -> None:
        """Remove a blob, if it is there."""
        key = _key(digest)
        try:
            self._check_there()
            obstore.delete(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            msg = f"blob {digest} cannot be removed from {self}: {explained(error)}"
            raise ArtifactError(msg) from None

    def _pieces(self, digest: str) -> Iterator[bytes]:
        key = _key(digest)
        try:
            self._check_there()
            for chunk in obstore.get(self._store, key).stream(_CHUNK_BYTES):
                yield bytes(chunk)
        except (NotFoundError, FileNotFoundError):
            msg = f"blob {digest} is not in {self}: it was never written there, or removed"
            raise BlobMissing(msg) from None
        except BaseError as error:
            msg = f"blob {digest} cannot be read from {self}: {explained(error)}"
            raise ArtifactError(msg) from None

    def _write(self, key: str, data: Path | bytes, size_bytes: int) -> None:
        """Write what is small at once, and what is large in parts, a few of them in memory.

        No store writes parts only where nothing is; but whoever else writes a blob writes the same
        bytes.
        """
        try:
            obstore.head(self._store, key)
        except (NotFoundError, FileNotFoundError):
            if size_bytes <= _PART_BYTES:
                obstore.put(self._store, key, data, mode="create")
                return
            part_bytes = max(_PART_BYTES, -(-size_bytes // _MOST_PARTS))
            obstore.put(
                self._store, key, data, chunk_size=part_bytes, max_concurrency=_PARTS_AT_ONCE
            )

    def _holds(self, key: str, size_bytes: int) -> bool:
        try:
            return int(obstore.head(self._store, key)["size"]) == size_bytes
        except (BaseError, OSError):
            return False

    def _make_folders(self, key: str) -> None:
        """Make the folders of a blob, for whoever may write to the ledger's."""
        if isinstance(self.place, Path):
            folder = (self.place / key).parent
            for made in (self.place, folder.parent, folder):
                if not made.is_dir():
                    made.mkdir(parents=True, exist_ok=True)
                    share(made)


def checked(digest: str, pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Pieces of a blob, the last of which is given only if the digest is right.

    Raises:
        ArtifactError: it is not.
    """
    found, held = hashlib.sha256(), b""
    for piece in pieces:
        found.update(piece)
        if held:
            yield held
        held = piece
    if f"sha256:{found.hexdigest()}" != digest:
        msg = f"blob {digest} in {where} holds other bytes (sha256:{found.hexdigest()})"
        raise ArtifactError(msg)
    yield held


def write_file(pieces: Iterable[bytes], target: Path) -> None:
    """Write pieces to a file, which appears when the last of them is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o666 & ~mask)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def digest_of(chunks: Iterable[bytes]) -> tuple[str, int]:
    """Digest (``sha256:<hex>``) and size in bytes of bytes given in pieces."""
    found, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        found.update(chunk)
        size_bytes += len(chunk)
    return f"sha256:{found.hexdigest()}", size_bytes


def file_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _key(digest: str) -> str:
    kind, _, name = digest.partition(":")
    if kind != "sha256" or not _HEX.fullmatch(name):
        msg = f"{digest!r} is no digest; one looks like sha256:<64 hex digits>"
        raise ArtifactError(msg)
    return f"sha256/{name[:2]}/{name}"
