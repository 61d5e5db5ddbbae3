"""One signed tree: the events of a partition, compared with the checkpoints and tiles of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mlflow_ledger.bus import EMBEDDED, Partition
from mlflow_ledger.consumers import (
    WIDTH,
    Checkpoint,
    Edge,
    Ledger,
    NoteInvalid,
    ProofError,
    PublicKey,
    Tile,
    TreeStore,
    check_consistency,
    consistency_path,
    hashes_in,
    leaf_hashes,
    nodes_in,
    origin_of,
    unchecked,
)
from mlflow_ledger.schemas import ArtifactError

from .report import TreeReport
from .tree_difference import Leaves, deviations

__all__ = ["Found", "SignedTree", "place_in"]

_HASH_BYTES = 32
_SHOWN = 20
_KEPT = re.compile(r"checkpoints/(?:0|[1-9][0-9]*)")

Found = tuple[str, str, str]
"""Part, place and message of a finding."""


class SignedTree:
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
        self._refused = 0
        self._unread: dict[str, str] = {}
        """Files of the store that could not be read, and why."""

    @property
    def is_anything(self) -> bool:
        """Whether there are events, or anything was said of them."""
        return bool(self._hashes or self._signed or self._refused or self._unread)

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
            self._refused,
            not self._unread,
        )

    def findings(self) -> Iterator[Found]:
        """What does not hold."""
        yield from self._read_checkpoints()
        if self._signed:
            yield from self._compare()
        for message in dict.fromkeys(self._unread.values()):
            yield "trees", self._store.prefix, message

    def _compare(self) -> Iterator[Found]:
        wrong = list(self._wrong_roots())
        newest = max(self._signed.values(), key=lambda made: made.size)
        stored = self._stored_hashes(newest)
        if wrong:
            yield from self._named(wrong, newest, stored)
        elif newest.size <= len(self._hashes):
            stored = self._hashes[: newest.size]
        if stored is not None:
            yield from self._tiles(newest, stored)

    def _read_checkpoints(self) -> Iterator[Found]:
        names = [name for name in self._names("checkpoints") if _KEPT.fullmatch(name)]
        names = [*sorted(names, key=lambda name: int(name.rpartition("/")[2])), "checkpoint"]
        kept = {name: self._note(name) for name in names}
        held = {name: note for name, note in self._held.items() if self._is_mine(note)}
        for name, note in kept.items():
            if note is not None:
                yield from self._read_checkpoint(self._store_name(name), note, name)
        for name, note in held.items():
            yield from self._read_checkpoint(name, note, None)

    def _read_checkpoint(self, place: str, note: str, own: str | None) -> Iterator[Found]:
        """Take a checkpoint, if it is one that counts; ``own`` is its name in the store."""
        try:
            made = Checkpoint.opened(note, self._keys) if self._keys else unchecked(note)
        except NoteInvalid as error:
            self._refused += 1
            yield "trees", place, str(error)
            return
        if made.origin != self._origin:
            self._refused += 1
            yield "trees", place, f"is of {made.origin}, not of {self._origin}"
        elif own not in (None, "checkpoint", f"checkpoints/{made.size}"):
            self._refused += 1
            yield "trees", place, f"is one of {made.size} events"
        else:
            self._signed[place] = made

    def _read(self, name: str) -> bytes | None:
        """A file of the store; what cannot be read is remembered."""
        try:
            return self._store.read(name)
        except ArtifactError as error:
            self._unread[name] = str(error)
            return None

    def _note(self, name: str) -> str | None:
        data = self._read(name)
        return None if data is None else data.decode("utf-8", "replace")

    def _names(self, below: str) -> list[str]:
        try:
            return self._store.names(below)
        except ArtifactError as error:
            self._unread[below] = str(error)
            return []

    def _is_mine(self, note: str) -> bool:
        try:
            return unchecked(note).origin == self._origin
        except NoteInvalid:
            return False

    def _wrong_roots(self) -> Iterator[tuple[str, Checkpoint]]:
        """The checkpoints that the log does not lead to, the smallest first."""
        edge = Edge()
        for name, made in sorted(self._signed.items(), key=lambda entry: entry[1].size):
            if made.size > len(self._hashes):
                yield name, made
                continue
            for _ in edge.extend(self._hashes[edge.size : made.size]):
                pass
            if edge.root() != made.root:
                yield name, made

    def _stored_hashes(self, newest: Checkpoint) -> list[bytes] | None:
        """The leaves as the tiles have them; None where these are not what was signed."""
        data = b"".join(self._read(t.name) or b"" for t in Tile.of_size(newest.size, 0))
        hashes = hashes_in(data)
        edge = Edge()
        for _ in edge.extend(hashes):
            pass
        return hashes if (edge.size, edge.root()) == (newest.size, newest.root) else None

    def _named(
        self,
        wrong: list[tuple[str, Checkpoint]],
        newest: Checkpoint,
        stored: list[bytes] | None,
    ) -> Iterator[Found]:
        """Name the events that are not what was signed, or at least what they stand among."""
        name, first = wrong[0]
        count = 0
        if stored is not None:
            for leaf, message in deviations(stored, self._hashes, self._leaves):
                count += 1
                if count <= _SHOWN and leaf not in self._leaves.unreadable:
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
            message = f"the log is not what was signed{when}: {made.size} events"
            yield "trees", name, message + self._by_tiles(made)

    def _by_tiles(self, made: Checkpoint) -> str:
        """What the tiles add about a checkpoint that the log does not lead to.

        It is proved from the tiles alone that the tree of the store's newest checkpoint begins
        with the one in question, or it is not so (RFC 6962, 2.1.4).
        """
        own = (entry for name, entry in self._signed.items() if name not in self._held)
        newest = max(own, key=lambda entry: entry.size, default=None)
        if newest is None or made.size > newest.size:
            return ""
        try:
            path = consistency_path(nodes_in(self._tile, newest.size), made.size, newest.size)
            check_consistency(made.size, made.root, newest.size, newest.root, path)
        except ArtifactError:
            return ""  # the tiles that it takes are not there
        except ProofError:
            return (
                f"; nor is it, by the tiles, the beginning of the checkpoint of {newest.size} "
                "events in the store: another history was signed, or tiles were changed"
            )
        return "; the tiles still lead to it: it is the log that was changed"

    def _tile(self, tile: Tile) -> bytes:
        data = self._read(tile.name)
        if data is None and tile.width < WIDTH:
            data = self._read(Tile(tile.level, tile.number).name)
        if data is None:
            raise ArtifactError(tile.name)
        return data

    def _tiles(self, newest: Checkpoint, hashes: list[bytes]) -> Iterator[Found]:
        """Compare every tile with the one that the signed leaves give."""
        edge = Edge()
        expected = dict(edge.extend(hashes)) | dict(edge.partial())
        size = newest.size
        wanted = {tile for level in Tile.levels(size) for tile in Tile.of_size(size, level)}
        whole = {(tile.level, tile.number): data for tile, data in expected.items()}
        there = {tile for name in self._names("tile") if (tile := Tile.parse(name))}
        for tile in sorted(wanted | {tile for tile in there if tile.end <= size}):
            data = self._read(tile.name)
            if tile.name in self._unread:
                continue
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
            return place_in(self._partition, offsets[leaf])
        topic, number = self._partition
        return f"{topic}-{number}, number {leaf}"


def place_in(partition: Partition, offset: int) -> str:
    """Where an event stands in a topic, in words."""
    topic, number = partition
    return f"{topic}-{number} at offset {offset}"
