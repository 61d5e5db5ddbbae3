"""Whether the log is what was signed of it: leaves, tiles and checkpoints compared."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlflow_ledger.bus import EMBEDDED, Partition, Stored
from mlflow_ledger.consumers import (
    Checkpoint,
    Edge,
    Ledger,
    NoteInvalid,
    PublicKey,
    Tile,
    TreeStore,
    leaf_data,
    leaf_hashes,
    origin_of,
    unchecked,
)
from mlflow_ledger.schemas import DecodeError, LedgerCreated, Record, decode

from .tree_difference import Leaves, deviations

__all__ = ["TreeCheck", "TreeReport", "oddity"]

_HASH_BYTES = 32
_SHOWN = 20

Told = Callable[[str, int, int], None]
Found = tuple[str, str, str]
"""Part, place and message of a finding."""


@dataclass(frozen=True, slots=True)
class TreeReport:
    """A tree: how many events the log has of it, how many of them the newest checkpoint signs.

    ``signed_by`` is the key that did; None where no key was given to check by.
    """

    origin: str
    events: int
    signed: int
    checkpoints: int
    time: str
    signed_by: str | None


def oddity(record: Record, ledger_id: str, *, first: bool) -> str | None:
    """What is odd about a record, the first of its partition or not, and shows in no digest."""
    content, digest = record.content, record.content_digest
    if content is not None and digest is not None and hashlib.sha256(content).digest() != digest:
        return "has a content that is not the one that it keeps the digest of"
    if not first or record.envelope.type != LedgerCreated.__name__:
        return None
    try:
        begun = decode(record.envelope.type, record.head, record.content)
    except DecodeError:
        return None  # the fold says so
    if isinstance(begun, LedgerCreated) and begun.ledger_id != ledger_id:
        return f"begins ledger {begun.ledger_id}, and the log calls itself {ledger_id}"
    return None


class TreeCheck:
    """Is shown every event of the log in order, and then compares them with what was signed."""

    def __init__(self, ledger: Ledger, keys: Sequence[PublicKey], held: Mapping[str, str]) -> None:
        """Believe ``keys``; ``held`` are checkpoints from elsewhere, by a name for each."""
        self._ledger = ledger
        self._keys = keys
        self._held = held
        self._leaves: dict[Partition, Leaves] = {}
        self.reports: list[TreeReport] = []

    def note(self, stored: Stored) -> Partition:
        """Take the next event of the log; the partition that it is of."""
        partition, offset = self._ledger.log.origin(stored.offset)
        leaves = self._leaves.get(partition)
        if leaves is None:
            leaves = self._leaves[partition] = Leaves()
        leaves.add(offset, stored.record.digest(), stored.append_ms)
        return partition

    def is_first(self, partition: Partition) -> bool:
        """Whether the event that came last is the first of its partition."""
        return len(self._leaves[partition]) == 1

    def findings(self, progress: Told, *, whole: bool) -> Iterator[Found]:
        """Where the log is not what was signed; ``whole`` says whether all of it could be read."""
        yield from self._foreign()
        for number, partition in enumerate(sorted(self._leaves)):
            progress("trees", number, len(self._leaves))
            tree = _Tree(self._ledger, partition, self._leaves[partition], self._keys, self._held)
            yield from tree.findings(whole=whole)
            self.reports.append(tree.report())
        progress("trees", len(self._leaves), len(self._leaves))
        yield from self._copied(progress)

    def _foreign(self) -> Iterator[Found]:
        known = {origin_of(self._ledger.ledger_id, partition) for partition in self._leaves}
        for name, note in self._held.items():
            try:
                origin = unchecked(note).origin
            except NoteInvalid as error:
                yield "trees", name, str(error)
                continue
            if origin not in known:
                yield "trees", name, f"is of {origin}, of which there is nothing in this log"

    def _copied(self, progress: Told) -> Iterator[Found]:
        """Compare a copy of the log with what it is a copy of."""
        seen: dict[Partition, int] = {}
        count = sum(map(len, self._leaves.values()))
        for stored in self._ledger.originals():
            leaves = self._leaves.get(stored.partition) or Leaves()
            place = f"{_place(stored.partition, stored.offset)}"
            at = seen.get(stored.partition, 0)
            seen[stored.partition] = at + 1
            if at >= len(leaves) or leaves.offsets[at] != stored.offset:
                yield "log", place, "stands in the topic, and not in this host's copy of it"
                seen[stored.partition] = bisect_left(leaves.offsets, stored.offset + 1)
            elif leaves.data(at) != leaf_data(stored.record.digest(), stored.append_ms):
                yield "log", place, "is another one in the topic than in this host's copy of it"
            if at % 1000 == 0:
                progress("topics", sum(seen.values()), count)
        if seen:
            progress("topics", count, count)


class _Tree:
    """One partition: its events, and what its store says of them."""

    def __init__(
        self,
        ledger: Ledger,
        partition: Partition,
        leaves: Leaves,
        keys: Sequence[PublicKey],
        held: Mapping[str, str],
    ) -> None:
        self._partition = partition
        self._leaves = leaves
        self._keys = keys
        self._held = held
        self._origin = origin_of(ledger.ledger_id, partition)
        self._store = TreeStore(ledger.blobs.place, self._origin)
        self._hashes = leaf_hashes(leaves.all())
        self._signed: dict[str, Checkpoint] = {}

    def report(self) -> TreeReport:
        """What there was to compare with."""
        newest = max(self._signed.values(), key=lambda made: made.size, default=None)
        return TreeReport(
            self._origin,
            len(self._hashes),
            newest.size if newest else 0,
            len(self._signed),
            newest.time if newest else "",
            ", ".join(map(str, self._keys)) or None,
        )

    def findings(self, *, whole: bool) -> Iterator[Found]:
        """What does not hold."""
        yield from self._read_checkpoints()
        if not self._signed:
            return
        wrong = list(self._wrong_roots(whole=whole))
        newest = max(self._signed.values(), key=lambda made: made.size)
        stored = self._stored_hashes(newest)
        if wrong:
            yield from self._named(wrong, newest, stored, whole=whole)
        elif newest.size <= len(self._hashes):
            stored = self._hashes[: newest.size]
        if stored is not None:
            yield from self._tiles(newest, stored)

    def _read_checkpoints(self) -> Iterator[Found]:
        notes = {
            f"checkpoints/{size}": self._store.note(f"checkpoints/{size}")
            for size in self._store.checkpoints()
        }
        notes["checkpoint"] = self._store.note("checkpoint")
        own = {name: self._store_name(name) for name in notes}
        notes |= {name: note for name, note in self._held.items() if self._is_mine(note)}
        for name, note in notes.items():
            if note is None:
                continue
            try:
                made = Checkpoint.opened(note, self._keys) if self._keys else unchecked(note)
            except NoteInvalid as error:
                yield "trees", own.get(name, name), str(error)
                continue
            if made.origin != self._origin:
                yield "trees", own.get(name, name), f"is of {made.origin}, not of {self._origin}"
            elif name not in ("checkpoint", f"checkpoints/{made.size}") and name in own:
                yield "trees", own[name], f"is one of {made.size} events"
            else:
                self._signed[own.get(name, name)] = made

    def _is_mine(self, note: str) -> bool:
        try:
            return unchecked(note).origin == self._origin
        except NoteInvalid:
            return False

    def _wrong_roots(self, *, whole: bool) -> Iterator[tuple[str, Checkpoint]]:
        """The checkpoints that the log does not lead to, the smallest first."""
        edge = Edge()
        for name, made in sorted(self._signed.items(), key=lambda entry: entry[1].size):
            if made.size > len(self._hashes):
                if whole:
                    yield name, made
                continue
            for _ in edge.extend(self._hashes[edge.size : made.size]):
                pass
            if edge.root() != made.root:
                yield name, made

    def _stored_hashes(self, newest: Checkpoint) -> list[bytes] | None:
        """The leaves as the tiles have them; None where these are not what was signed."""
        data = b"".join(self._store.read(t.name) or b"" for t in Tile.of_size(newest.size, 0))
        hashes = [data[at : at + _HASH_BYTES] for at in range(0, len(data), _HASH_BYTES)]
        edge = Edge()
        for _ in edge.extend(hashes):
            pass
        return hashes if (edge.size, edge.root()) == (newest.size, newest.root) else None

    def _named(
        self,
        wrong: list[tuple[str, Checkpoint]],
        newest: Checkpoint,
        stored: list[bytes] | None,
        *,
        whole: bool,
    ) -> Iterator[Found]:
        """Name the events that are not what was signed, or at least what they stand among."""
        name, first = wrong[0]
        count = 0
        if stored is not None:
            found = self._hashes if whole else self._hashes[: newest.size]
            for leaf, message in deviations(stored, found, self._leaves, whole=whole):
                count += 1
                if count <= _SHOWN:
                    yield "log", self._event(leaf), message
            if count > _SHOWN:
                yield "log", self._origin, f"{count - _SHOWN} more events are not what was signed"
        if count == 0:  # the tiles were lost, or were made anew with the log
            good = max((m.size for m in self._signed.values() if m.size < first.size), default=0)
            if first.size > len(self._hashes):
                message = f"{first.size} events were signed, the log has {len(self._hashes)}"
                yield "log", self._origin, message
            else:
                last = self._event(first.size - 1)
                message = (
                    f"one of those from here to {last} is not what was signed; which one, the "
                    "tiles do not tell"
                )
                yield "log", self._event(good), message
        for name, made in wrong:
            when = f" at {made.time}" if made.time else ""
            yield "trees", name, f"the log is not what was signed{when}: {made.size} events"

    def _tiles(self, newest: Checkpoint, hashes: list[bytes]) -> Iterator[Found]:
        """Compare every tile with the one that the signed leaves give."""
        edge = Edge()
        expected = dict(edge.extend(hashes)) | dict(edge.partial())
        size = newest.size
        wanted = {tile for level in Tile.levels(size) for tile in Tile.of_size(size, level)}
        whole = {(tile.level, tile.number): data for tile, data in expected.items()}
        there = {tile for name in self._store.names("tile") if (tile := Tile.parse(name))}
        for tile in sorted(wanted | {tile for tile in there if tile.end <= size}):
            data = self._store.read(tile.name)
            right = whole[tile.level, tile.number][: tile.width * _HASH_BYTES]
            if data is None:
                yield "trees", self._store_name(tile.name), "is missing"
            elif data != right:
                yield "trees", self._store_name(tile.name), "is not what was signed"

    def _store_name(self, name: str) -> str:
        return f"{self._store.prefix}/{name}"

    def _event(self, leaf: int) -> str:
        offsets = self._leaves.offsets
        if self._partition == EMBEDDED:
            return f"event {leaf + 1}"
        if leaf < len(offsets):
            return _place(self._partition, offsets[leaf])
        topic, number = self._partition
        return f"{topic}-{number}, number {leaf}"


def _place(partition: Partition, offset: int) -> str:
    topic, number = partition
    return f"{topic}-{number} at offset {offset}"
