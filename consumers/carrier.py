"""How bytes get to where every reader of a ledger finds them, and back."""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlflow_ledger.bus import SqliteLog, reach
from mlflow_ledger.schemas import ArtifactError, BlobChunkLogged, BlobMissing, Event

from .blob_place import check_shared
from .blobs import Blobs, checked, digest_of, file_pieces, write_file
from .carried import Carried, carried, chunks_there
from .chunks import chunk_count, cut, joined, sound_places

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Carrier"]

_log = logging.getLogger(__name__)

_PER_WRITE = 8
_LOOK_S = 0.05


class Carrier:
    """Chooses the way of bytes, by their size: over the bus, or straight to the blob store.

    Where a ledger is one host's, nothing travels: its blob store is at hand. Where several share
    it, small files travel as events, in chunks, and a consumer writes them to the blob store; a
    reader that overtakes it takes them from the log.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Carry for one ledger; :attr:`Ledger.shared` says whether it has a bus."""
        self._ledger = ledger

    @property
    def _blobs(self) -> Blobs:
        return self._ledger.blobs

    def put_file(self, path: Path) -> tuple[str, int]:
        """Bring a file's bytes under way; returns their digest and size in bytes.

        Raises:
            ArtifactError: no way leads to where other hosts find them, or the file changes.
        """
        if not self._travels(path.stat().st_size):
            try:
                return self._blobs.put_file(path)
            except ArtifactError as error:
                if not self._ledger.spools:
                    raise
                _log.warning("%s; the file travels over the bus instead", error)
        digest, size_bytes = digest_of(file_pieces(path))
        with path.open("rb") as file:
            self._send(digest, size_bytes, file)
        return digest, size_bytes

    def put(self, data: bytes) -> tuple[str, int]:
        """Bring some bytes under way; returns their digest and size in bytes."""
        if not self._travels(len(data)):
            return self._blobs.put(data)
        digest, size_bytes = digest_of([data])
        self._send(digest, size_bytes, io.BytesIO(data))
        return digest, size_bytes

    def put_again(self, db: sqlite3.Connection, digest: str, path: Path) -> None:
        """Where a blob may just have been collected, keep it again; ``db`` is the state.

        What came over the bus is in the log for good, and is delivered anew once a manifest names
        it. It says nothing, and may therefore be called while something is being decided.
        """
        known = carried(db, digest)
        if known is None or not known.complete:
            self._blobs.put_file(path)

    def read(self, digest: str, wait_s: float | None = None) -> Iterator[bytes]:
        """The bytes of a blob, in pieces; the last piece is given only if the digest is right.

        Where it is still on its way this waits, by default as the settings say.

        Raises:
            BlobMissing: it is not there, and did not come; says what was waited for.
            ArtifactError: it cannot be read, or is not what its digest says.
        """
        if not self._ledger.shared:
            return self._blobs.read(digest)
        if wait_s is None:
            wait_s = self._ledger.settings.read_wait_s
        deadline = time.monotonic() + wait_s
        while True:
            known = self._ledger.query(lambda db: carried(db, digest))
            try:
                return self._found(digest, known)
            except BlobMissing as error:
                if time.monotonic() >= deadline:
                    raise BlobMissing(self._waited_for(digest, known, wait_s, error)) from None
            time.sleep(_LOOK_S)

    def get(self, digest: str) -> bytes:
        """The bytes of a blob, checked."""
        return b"".join(self.read(digest))

    def download(self, digest: str, target: Path) -> None:
        """Write a blob to a file, which appears only when the digest was right."""
        write_file(self.read(digest), target)

    def _travels(self, size_bytes: int) -> bool:
        """Whether bytes go over the bus; where they do not, others must reach the blob store."""
        if not self._ledger.shared:
            return False
        if size_bytes <= self._ledger.settings.bus_bytes:
            return True
        if self._ledger.spools and isinstance(self._blobs.place, Path):
            return True  # logging never fails for want of a connection
        check_shared(self._blobs.place)
        return False

    def _send(self, digest: str, size_bytes: int, file: BinaryIO) -> None:
        """Say the chunks that are not there yet; none where the blob is."""
        known = self._ledger.query(lambda db: carried(db, digest))
        if known is None:
            self._say(digest, size_bytes, chunk_count(size_bytes), file)
        elif known.size_bytes != size_bytes:
            msg = (
                f"blob {digest} was announced on the bus with {known.size_bytes} bytes, and has "
                f"{size_bytes}: whoever said so was wrong (`mlflow-ledger log` shows who), and it "
                "cannot travel; set MLFLOW_LEDGER_BUS_BYTES=0 to send it to the blob store"
            )
            raise ArtifactError(msg)
        elif not self._is_there(known):
            self._resume(known, file)
        reach("carry.sent")

    def _resume(self, known: Carried, file: BinaryIO) -> None:
        """Say what another attempt has left to say, and all of it where that was no good."""
        if not known.complete:
            self._say(known.digest, known.size_bytes, known.chunk_count, file)
            now = self._ledger.query(lambda db: carried(db, known.digest))
            if now is not None and self._is_there(now):
                return
            file.seek(0)
        self._say(known.digest, known.size_bytes, known.chunk_count, file, again=True)

    def _is_there(self, known: Carried) -> bool:
        """Whether a blob needs not be sent: somebody has stored it, or its chunks are sound."""
        if not known.complete:
            return False
        if known.stores or not self._ledger.logs():
            return True
        try:
            self._sound(known)
        except ArtifactError:
            return False
        return True

    def _sound(self, known: Carried) -> tuple[SqliteLog, list[int]]:
        """The log that holds all chunks of a blob, and where in it.

        Raises:
            ArtifactError: none of the logs does.
        """
        *others, last = self._ledger.logs()
        for log in others:
            try:
                return log, sound_places(log, known)
            except ArtifactError:
                continue
        return last, sound_places(last, known)

    def _say(
        self, digest: str, size_bytes: int, count: int, file: BinaryIO, *, again: bool = False
    ) -> None:
        """Say the chunks of a file, some in each write, but for those that are there."""
        found = hashlib.sha256()
        chunks = cut(digest, size_bytes, count, file)
        while some := list(itertools.islice(chunks, _PER_WRITE)):
            for chunk in some:
                assert chunk.content is not None
                found.update(chunk.content.data)
            self._ledger.write(lambda db, some=some: _missing(db, some, again))  # type: ignore[misc]  # mypy: lambda default
            reach("carry.written")
        if f"sha256:{found.hexdigest()}" != digest or file.read(1):
            msg = f"a file changed while it was being logged (blob {digest}); log it again"
            raise ArtifactError(msg)

    def _found(self, digest: str, known: Carried | None) -> Iterator[bytes]:
        """The blob from wherever it is: the store, where that should have it, else the log."""
        complete = known is not None and known.complete
        undelivered = known is not None and complete and self._blobs.name not in known.stores
        if not undelivered and self._blobs.size_bytes(digest) is not None:
            return self._blobs.read(digest)
        if known is not None and complete and not self._ledger.logs():
            return checked(digest, self._ledger.distant_blob(digest), "the query service")
        if known is not None and complete:
            log, places = self._sound(known)
            return checked(digest, joined(log, places), "the log")
        msg = f"it is not in {self._blobs}"
        raise BlobMissing(msg)

    def _waited_for(
        self, digest: str, known: Carried | None, wait_s: float, error: BlobMissing
    ) -> str:
        waited = f"waited {wait_s:g} s for it (MLFLOW_LEDGER_READ_WAIT_S)"
        if known is None:
            return (
                f"blob {digest} is not in {self._blobs}, and nothing of it came over the bus; "
                f"{waited}. If it went straight to another blob store, set MLFLOW_LEDGER_BLOBS to "
                "that one"
            )
        if not known.complete:
            return (
                f"blob {digest} is still on its way: {known.there} of {known.chunk_count} chunks "
                f"are in the log; {waited}. Ask again; where its writer has died, log the file "
                "again"
            )
        stores = ", ".join(known.stores) or "none"
        return (
            f"{error}; {waited}. `mlflow-ledger consume` writes it to a blob store, and so far has "
            f"to {stores}; here it is looked for in {self._blobs}"
        )


def _missing(db: sqlite3.Connection, some: list[BlobChunkLogged], again: bool) -> list[Event]:
    """Of some chunks those to say."""
    if again:
        return list(some)
    known = carried(db, some[0].digest)
    if known is not None and known.complete:
        return []
    there = chunks_there(db, some[0].digest)
    return [chunk for chunk in some if chunk.index not in there]
