"""Rules about the manifest of artifacts and the collection of blobs."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    BlobCollected,
    BlobCondemned,
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
        "INSERT OR IGNORE INTO blobs VALUES (?, ?, NULL)", event.digest, context.envelope.time_ms
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
