"""Events about artifacts: the manifest, blobs on their way, and those that nothing names.

All are keyed by digest, so that condemning a blob and rescuing it are decided in one order.
"""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Event

__all__ = [
    "ArtifactDeleted",
    "ArtifactEvent",
    "ArtifactLogged",
    "BlobChunkLogged",
    "BlobChunkLoggedContent",
    "BlobCollected",
    "BlobCondemned",
    "BlobStored",
]


class ArtifactEvent(Event):
    """Anything that happens to one blob; ``digest`` is ``sha256:<hex>``."""

    digest: str

    @property
    def key(self) -> str:
        """The blob's digest."""
        return self.digest

    @property
    def subject(self) -> str:
        """``blobs:/<digest>``."""
        return f"blobs:/{self.digest}"


class ArtifactLogged(ArtifactEvent):
    """A file was logged: ``path`` below the ledger's artifact root holds these bytes.

    ``owner`` is the entity it belongs to, such as ``runs:/<id>`` or ``logged_models:/<id>``.
    ``written_ns`` is the writer's clock in nanoseconds, strictly increasing for one writer: of two
    blobs logged to one path, which may be decided in two partitions, the later one is there.
    """

    topic_name: ClassVar[str] = "artifacts"
    path: str
    size_bytes: int
    owner: str
    written_ns: int

    @property
    def subject(self) -> str:
        """The owner."""
        return self.owner


class ArtifactDeleted(ArtifactEvent):
    """A file was removed; its blob stays until it is collected."""

    topic_name: ClassVar[str] = "artifacts"
    path: str
    owner: str
    written_ns: int

    @property
    def subject(self) -> str:
        """The owner."""
        return self.owner


class BlobCondemned(ArtifactEvent):
    """A blob that no manifest names may be collected after a grace."""

    topic_name: ClassVar[str] = "artifacts"


class BlobCollected(ArtifactEvent):
    """A condemned blob was removed from the blob store."""

    topic_name: ClassVar[str] = "artifacts"


class BlobChunkLoggedContent(Content):
    """The bytes of a chunk."""

    data: bytes


class BlobChunkLogged(ArtifactEvent):
    """A chunk of a blob travels over the bus, for whoever reads the log.

    Of ``count`` chunks it is the one at ``index``. Chunk ``i`` of a blob of ``size_bytes`` holds
    its bytes from ``i * size_bytes // count`` to ``(i + 1) * size_bytes // count``.
    """

    topic_name: ClassVar[str] = "artifacts"
    index: int
    count: int
    size_bytes: int
    content: BlobChunkLoggedContent | None = None


class BlobStored(ArtifactEvent):
    """A blob that came in chunks was written to a blob store, named ``store``."""

    topic_name: ClassVar[str] = "artifacts"
    store: str
