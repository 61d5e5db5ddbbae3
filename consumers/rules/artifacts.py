"""Rules about artifacts: the manifest, blobs that come in chunks, and their collection."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    BlobChunkLogged,
    BlobCollected,
    BlobCondemned,
    BlobStored,
    Reason,
    Refused,
)

from .context import Context, rule

__all__: list[str] = []


@rule(ArtifactLogged)
def artifact_logged(context: Context, event: ArtifactLogged) -> None:
    """A manifest names the blob, which is thereby rescued if it was condemned."""
    context.write(
        "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
        event.path,
        event.digest,
        event.size_bytes,
        event.owner,
        event.written_ns,
        context.envelope.source,
        context.envelope.id,
    )
    context.write("DELETE FROM blobs WHERE digest = ?", event.digest)


@rule(ArtifactDeleted)
def artifact_deleted(context: Context, event: ArtifactDeleted) -> None:
    """A path that is deleted must hold that blob."""
    gone = context.write(
        "UPDATE artifacts SET deleted = 1, written_ns = ?, source = ?, id = ? "
        "WHERE path = ? AND digest = ? AND deleted = 0",
        event.written_ns,
        context.envelope.source,
        context.envelope.id,
        event.path,
        event.digest,
    )
    if not gone:
        raise Refused(Reason.MISSING, f"No artifact {event.path} with digest {event.digest}")


@rule(BlobCondemned)
def blob_condemned(context: Context, event: BlobCondemned) -> None:
    """Only a blob that no manifest names is condemned."""
    if context.row("SELECT 1 FROM artifacts WHERE digest = ? AND deleted = 0", event.digest):
        raise Refused(Reason.STATE, f"Blob {event.digest} is named by a manifest")
    context.write(
        "INSERT INTO blobs VALUES (?, ?, NULL) ON CONFLICT DO UPDATE "
        "SET condemned_ms = excluded.condemned_ms, collected_ms = NULL "
        "WHERE collected_ms IS NOT NULL",
        event.digest,
        context.envelope.time_ms,
    )


@rule(BlobCollected)
def blob_collected(context: Context, event: BlobCollected) -> None:
    """Only a blob that is still condemned is collected."""
    gone = context.write(
        "UPDATE blobs SET collected_ms = ? WHERE digest = ? AND collected_ms IS NULL",
        context.envelope.time_ms,
        event.digest,
    )
    if not gone:
        raise Refused(Reason.STATE, f"Blob {event.digest} is not condemned")
    context.write("DELETE FROM stored_blobs WHERE digest = ?", event.digest)


@rule(BlobChunkLogged)
def blob_chunk_logged(context: Context, event: BlobChunkLogged) -> None:
    """All chunks of a blob agree on how many there are and on its size; each may come again."""
    if not (0 <= event.index < event.count <= max(event.size_bytes, 1)):
        raise Refused(
            Reason.INVALID,
            f"Blob {event.digest} of {event.size_bytes} bytes has no chunk {event.index} of "
            f"{event.count}",
        )
    known = context.row(
        "SELECT chunk_count, size_bytes FROM carried_blobs WHERE digest = ?", event.digest
    )
    if known is None:
        context.write(
            "INSERT INTO carried_blobs VALUES (?, ?, ?, NULL, ?, ?)",
            event.digest,
            event.size_bytes,
            event.count,
            context.seq,
            context.seq,
        )
    elif known != (event.count, event.size_bytes):
        raise Refused(
            Reason.STATE,
            f"Blob {event.digest} comes in {known[0]} chunks and has {known[1]} bytes; this one "
            f"says {event.count} and {event.size_bytes}",
        )
    _take_chunk(context, event)


def _take_chunk(context: Context, event: BlobChunkLogged) -> None:
    """Note that a chunk is there; once all are, that is all there is to know."""
    context.write(
        "UPDATE carried_blobs SET last_no = ? WHERE digest = ?", context.seq, event.digest
    )
    context.write(
        "INSERT OR IGNORE INTO blob_chunks SELECT ?, ? FROM carried_blobs "
        "WHERE digest = ? AND complete_ms IS NULL",
        event.digest,
        event.index,
        event.digest,
    )
    (count,) = context.row("SELECT count(*) FROM blob_chunks WHERE digest = ?", event.digest)
    if count == event.count:
        context.write(
            "UPDATE carried_blobs SET complete_ms = ? WHERE digest = ?",
            context.envelope.time_ms,
            event.digest,
        )
        context.write("DELETE FROM blob_chunks WHERE digest = ?", event.digest)


@rule(BlobStored)
def blob_stored(context: Context, event: BlobStored) -> None:
    """Who says so a second time changes nothing: the first moment stands."""
    context.write(
        "INSERT OR IGNORE INTO stored_blobs VALUES (?, ?, ?)",
        event.digest,
        event.store,
        context.envelope.time_ms,
    )
