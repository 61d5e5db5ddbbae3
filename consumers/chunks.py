"""Chunks: how a blob is cut for the bus, and put together from the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from mlflow_ledger.bus import Selection, SqliteLog, Stored
from mlflow_ledger.schemas import (
    ArtifactError,
    BlobChunkLogged,
    BlobChunkLoggedContent,
    BlobMissing,
    DecodeError,
    decode,
)

from .blobs import digest_of
from .carried import Carried

__all__ = ["CHUNK_BYTES", "chunk_count", "cut", "joined", "sound_places"]

CHUNK_BYTES = 384 * 1024
"""The most that a chunk holds: an event takes at most 512 KiB."""

_AT_ONCE = 8


def chunk_count(size_bytes: int) -> int:
    """In how many chunks a new blob travels; an empty one in one."""
    return max(1, -(-size_bytes // CHUNK_BYTES))


def cut(digest: str, size_bytes: int, count: int, file: BinaryIO) -> Iterator[BlobChunkLogged]:
    """The chunks of a file from its beginning, one at a time in memory."""
    for index in range(count):
        length = (index + 1) * size_bytes // count - index * size_bytes // count
        content = BlobChunkLoggedContent(data=file.read(length))
        yield BlobChunkLogged(
            digest=digest, index=index, count=count, size_bytes=size_bytes, content=content
        )


def sound_places(log: SqliteLog, blob: Carried) -> list[int]:
    """Where in the log the chunks stand that make up the blob, by their index.

    A chunk may have come several times. Those that came first are taken, or, where they do not have
    the digest, those that came last.

    Raises:
        BlobMissing: chunks are not in this log.
        ArtifactError: what is there does not have the digest.
    """
    found = _places(log, blob, latest=False)
    if digest_of(joined(log, found))[0] == blob.digest:
        return found
    found = _places(log, blob, latest=True)
    if digest_of(joined(log, found))[0] == blob.digest:
        return found
    msg = (
        f"blob {blob.digest} came over the bus in {blob.chunk_count} chunks that hold other bytes; "
        "log the file again, which sends them anew"
    )
    raise ArtifactError(msg)


def joined(log: SqliteLog, places: Sequence[int]) -> Iterator[bytes]:
    """The bytes of the chunks at some places of a log."""
    for place in places:
        stored = log.at(place)
        event = None if stored is None else _chunk(stored)
        if event is not None and event.content is not None:
            yield event.content.data


def _places(log: SqliteLog, blob: Carried, *, latest: bool) -> list[int]:
    """The place of each chunk; looked for where the state has seen them, then everywhere."""
    for first, last in ((blob.first_no, blob.last_no), (1, None)):
        found: dict[int, int] = {}
        for place, index in _seen(log, blob, first, last):
            if latest or index not in found:
                found[index] = place
            if not latest and len(found) == blob.chunk_count:
                break
        if len(found) == blob.chunk_count:
            return [found[index] for index in range(blob.chunk_count)]
    msg = (
        f"blob {blob.digest} came over the bus in {blob.chunk_count} chunks, of which this host's "
        f"log has {len(found)} with their bytes; others were redacted, or are not here yet"
    )
    raise BlobMissing(msg)


def _seen(log: SqliteLog, blob: Carried, first: int, last: int | None) -> Iterator[tuple[int, int]]:
    """Place and index of each chunk in a part of the log, a few of them in memory at a time."""
    selection = Selection(types=(BlobChunkLogged.__name__,), subjects=(f"blobs:/{blob.digest}",))
    where, about = selection.sql()
    values: tuple[object, ...] = about
    if last is not None:
        where, values = f"{where} AND seq <= ?", (*about, last)
    while True:
        batch = list(log.rows(first, _AT_ONCE, where, values))
        for stored in batch:
            event = _chunk(stored)
            if event is not None and event.content is not None and _fits(event, blob):
                yield stored.offset, event.index
        if len(batch) < _AT_ONCE:
            return
        first = batch[-1].offset + 1


def _fits(event: BlobChunkLogged, blob: Carried) -> bool:
    """Whether the fold has taken it; what contradicts the first chunk it has not."""
    return (event.count, event.size_bytes) == (blob.chunk_count, blob.size_bytes)


def _chunk(stored: Stored) -> BlobChunkLogged | None:
    envelope = stored.record.envelope
    try:
        event = decode(envelope.type, stored.record.head, stored.record.clear())
    except DecodeError:
        return None  # the fold has kept it as unreadable
    return event if isinstance(event, BlobChunkLogged) else None
