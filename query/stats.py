"""What takes how much of a ledger's folder, as ``du`` counts: blocks, folders included."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import format_time

__all__ = ["EventSize", "Part", "Stats", "stats"]

_BLOCK_BYTES = 512  # of which st_blocks counts, whatever the file system's own are
_PARTS = ("log", "state", "snapshots", "blobs", "other")
_ENTITIES = {
    "experiments": "SELECT count(*) FROM experiments WHERE lifecycle <> 'purged'",
    "runs": "SELECT count(*) FROM runs",
    "logged models": "SELECT count(*) FROM logged_models",
    "registered models": "SELECT count(*) FROM registered_models",
    "model versions": "SELECT count(*) FROM model_versions",
    "artifacts": "SELECT count(*) FROM artifacts WHERE deleted = 0",
    "refused": "SELECT count(*) FROM rejections",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the folder: how many files, what they and their folders take on disk.

    ``disposable`` says whether it can be folded again.
    """

    name: str
    files: int
    size_bytes: int
    disposable: bool


@dataclass(frozen=True, slots=True)
class EventSize:
    """How many events of a type there are, and what they take as encoded."""

    type: str
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The folder by parts, the log by event types, the state by entities.

    ``blob_store`` is where blobs are kept, which may be elsewhere.
    """

    folder: str
    blob_store: str
    ledger_id: str
    position: str
    events: int
    first: str | None
    last: str | None
    parts: list[Part]
    types: list[EventSize]
    entities: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """The whole folder."""
        return sum(part.size_bytes for part in self.parts)


def stats(ledger: Ledger) -> Stats:
    """Measure a ledger and close it; files that come or go meanwhile are counted or not."""
    types = [EventSize(*row) for row in ledger.log.sizes()]
    entities = ledger.query(
        lambda db: {name: int(db.execute(sql).fetchone()[0]) for name, sql in _ENTITIES.items()}
    )
    times = ledger.log.times()
    position = str(ledger.log.end())
    ledger.close()  # what SQLite keeps beside an open file, and what a crash has left, goes with it
    return Stats(
        folder=str(ledger.folder),
        blob_store=str(ledger.blobs),
        ledger_id=ledger.ledger_id,
        position=position,
        events=sum(size.count for size in types),
        first=format_time(times[0]) if times else None,
        last=format_time(times[-1]) if times else None,
        parts=_parts(ledger.folder),
        types=sorted(types, key=lambda size: (-size.size_bytes, size.type)),
        entities=entities,
    )


def _parts(folder: Path) -> list[Part]:
    found = {name: [0, 0] for name in _PARTS}
    seen = set()
    for path in (folder, *folder.rglob("*")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        part = found[_part_of(path.relative_to(folder))]
        part[0] += not stat.S_ISDIR(status.st_mode)
        if (status.st_dev, status.st_ino) not in seen:  # two names of one file take its room once
            seen.add((status.st_dev, status.st_ino))
            part[1] += status.st_blocks * _BLOCK_BYTES
    return [
        Part(name, files, size_bytes, name in ("state", "snapshots"))
        for name, (files, size_bytes) in found.items()
    ]


def _part_of(path: Path) -> str:
    """The part that a file belongs to, from its path in the folder."""
    top = next(iter(path.parts), "")
    if top in ("blobs", "snapshots"):
        return top
    if top == "lock" or top.startswith("log.sqlite"):
        return "log"
    return "state" if top.startswith(("state", "CURRENT")) else "other"
