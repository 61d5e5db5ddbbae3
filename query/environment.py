"""What logged models need to run: the files that say so, read by their digests."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import ArtifactError

from .lineage_graph import Graph

__all__ = ["EnvironmentFile", "environment_of"]

MOST_BYTES = 256 * 1024
"""Up to which size a file is read; environments are small."""

_MOST_FILES = 100


@dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """A file that says what a logged model needs; ``note`` tells why there is no ``text``."""

    model_id: str
    path: str
    digest: str
    size_bytes: int
    text: str | None
    note: str | None


def environment_of(ledger: Ledger, graph: Graph) -> list[EnvironmentFile]:
    """The environment files in a graph, by model and path."""
    found: list[EnvironmentFile] = []
    for edge in graph.edges:
        if edge.relation == "needs" and len(found) < _MOST_FILES:
            model_id = edge.target.removeprefix("logged_models:/")
            digest = edge.source.removeprefix("blobs:/")
            size_bytes = edge.detail["size_bytes"]
            text, note = _text(ledger, digest, size_bytes)
            path = edge.detail["path"]
            found.append(EnvironmentFile(model_id, path, digest, size_bytes, text, note))
    return sorted(found, key=lambda file: (file.model_id, file.path))


def _text(ledger: Ledger, digest: str, size_bytes: int) -> tuple[str | None, str | None]:
    if size_bytes > MOST_BYTES:
        return None, f"of {size_bytes} bytes, more than the {MOST_BYTES} that are read"
    try:
        data = b"".join(ledger.carrier.read(digest, 0))
    except ArtifactError as error:
        return None, str(error)
    return data.decode("utf-8", "replace"), None
