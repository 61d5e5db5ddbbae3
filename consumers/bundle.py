"""A bundle: log mirror, state and analytics of a replica, for hosts that have none yet."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mlflow_ledger.bus import MirrorLog, Partition, Position
from mlflow_ledger.schemas import ArtifactError

from .snapshots import Snapshot

__all__ = ["Bundle", "Packed", "check_log", "pack", "unpack"]

_PIECE_BYTES = 1024 * 1024
_COMPRESSION: Final = "zstd"


@dataclass(frozen=True)
class Packed:
    """A file as it travels: where it is in the store, its digest there, its size here and there."""

    key: str
    sha256: str
    packed_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself.

    ``position`` is where the mirror stands in the topics, ``events`` how many it holds; the state
    has folded ``seq`` of them, the last of which stands at ``offset`` and has this ``digest``.
    """

    ledger_id: str
    facts: dict[str, str]
    fold_version: int
    duckdb_version: str
    position: str
    events: int
    seq: int
    offset: int
    digest: str
    files: dict[str, Packed]

    @property
    def name(self) -> str:
        """A name that is the same for equal positions, and grows with the number of events."""
        found = hashlib.sha256(self.position.encode()).hexdigest()
        return f"{self.events:015d}-{found[:16]}"

    @property
    def packed_bytes(self) -> int:
        """What has to be fetched."""
        return sum(file.packed_bytes for file in self.files.values())

    def snapshot(self, folder: Path, generation: str) -> Snapshot:
        """The pair of state and analytics in it, for a state file of that name."""
        return Snapshot(
            folder, self.seq, self.offset, self.digest, generation, self.fold_version,
            self.duckdb_version,
        )  # fmt: skip

    def covers(self, partition: Partition, offset: int) -> bool:
        """Whether its log holds what stands at an offset of a partition."""
        return Position.parse(self.position).offset(partition) > offset

    def encoded(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Read what :meth:`encoded` gave.

        Raises:
            ValueError, TypeError: it is something else.
        """
        fields: dict[str, Any] = json.loads(data)
        files = {str(name): Packed(**file) for name, file in fields.pop("files").items()}
        return cls(files=files, **fields)


def pack(path: Path, target: Path, key: str) -> Packed:
    """Compress a file; it is to stand at ``key``."""
    with path.open("rb") as file, pa.CompressedOutputStream(str(target), _COMPRESSION) as out:
        while piece := file.read(_PIECE_BYTES):
            out.write(piece)
    with target.open("rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
    return Packed(key, digest, target.stat().st_size, path.stat().st_size)


def unpack(packed: Path, said: Packed, target: Path) -> None:
    """Check a file that was fetched, and decompress it.

    Raises:
        ArtifactError: it is not what the bundle says.
    """
    with packed.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != said.sha256:
        msg = f"{said.key} is damaged: its SHA-256 is {found}, and should be {said.sha256}"
        raise ArtifactError(msg)
    size_bytes = 0
    with pa.CompressedInputStream(str(packed), _COMPRESSION) as file, target.open("wb") as out:
        while piece := file.read(_PIECE_BYTES):
            size_bytes += out.write(piece)
            if size_bytes > said.size_bytes:
                break
    if size_bytes != said.size_bytes:
        msg = f"{said.key} holds {size_bytes} bytes or more, and should hold {said.size_bytes}"
        raise ArtifactError(msg)


def check_log(path: Path, bundle: Bundle) -> None:
    """A fetched mirror must be of the ledger and topics that its bundle names, as far as it says.

    Raises:
        ArtifactError: it is not.
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        facts = dict(db.execute("SELECT key, value FROM meta"))
        events = db.execute("SELECT count(*), max(seq) FROM events").fetchone()
    except sqlite3.Error as error:
        msg = f"the log of bundle {bundle.name} cannot be read: {error}"
        raise ArtifactError(msg) from error
    finally:
        db.close()
    mirror = MirrorLog(path, {})
    try:
        position = str(mirror.position())
    finally:
        mirror.close()
    wanted = {"ledger_id": bundle.ledger_id, **bundle.facts}
    if facts != wanted or events != (bundle.events,) * 2 or position != bundle.position:
        msg = f"the log of bundle {bundle.name} is not what the bundle says"
        raise ArtifactError(msg)
