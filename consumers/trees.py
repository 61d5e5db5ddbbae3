"""The Merkle trees of a ledger: one for each partition of its log, grown, signed, kept as tiles."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mlflow_ledger.bus import MirrorLog, Partition, SqliteLog
from mlflow_ledger.schemas import LedgerError, SettingsError, format_time

from .checkpoint import Checkpoint, event_leaves, origin_of, unchecked
from .gathered import Gathered
from .ledger import Ledger
from .merkle import hashes_in
from .note import NoteInvalid, PublicKey, SigningKey, read_public_keys, read_signing_key
from .tiles import WIDTH, Edge, Tile
from .tree_store import TreeStore

__all__ = [
    "Stretch",
    "TreeBroken",
    "Trees",
    "newest_notes",
    "public_keys",
    "signing_key",
    "stretches",
]

_log = logging.getLogger(__name__)

_SLICE = 4096
"""How many leaves are hashed before their tiles are written."""


class TreeBroken(LedgerError):
    """The log, or the tiles, are not what a checkpoint says: nothing is signed."""


class Stretch(NamedTuple):
    """Events of one partition that stand one behind the other in the log of this host.

    ``leaf`` is the number of the first one in its partition, counted from 0.
    """

    partition: Partition
    leaf: int
    first: int
    behind: int


def stretches(log: SqliteLog) -> Iterator[Stretch]:
    """The whole log, in the order in which this host has it."""
    counts: dict[Partition, int] = {}
    for partition, first, behind in log.stretches():
        leaf = counts.get(partition, 0)
        yield Stretch(partition, leaf, first, behind)
        counts[partition] = leaf + behind - first


def signing_key(ledger: Ledger) -> SigningKey | None:
    """The key that checkpoints are signed with, None where none is set.

    Raises:
        SettingsError: there is no such key at that place.
    """
    path = ledger.settings.signing_key
    return None if path is None else read_signing_key(path)


def public_keys(ledger: Ledger, said: str | None = None) -> list[PublicKey]:
    """The keys whose checkpoints are believed: those that are said, else those that are set.

    Raises:
        SettingsError: there is no such key at that place.
    """
    if said is not None:
        return read_public_keys(said)
    if ledger.settings.public_key is not None:
        return read_public_keys(ledger.settings.public_key)
    key = signing_key(ledger)
    return [] if key is None else [key.public]


def newest_notes(ledger: Ledger) -> dict[str, str]:
    """The newest checkpoint of each tree as it stands in the store, by the tree's name.

    Raises:
        ArtifactError: the blob store does not answer.
    """
    partitions = dict.fromkeys(stretch.partition for stretch in stretches(ledger.log))
    origins = [origin_of(ledger.ledger_id, partition) for partition in sorted(partitions)]
    found = {origin: TreeStore(ledger.blobs.place, origin).newest() for origin in origins}
    return {origin: note for origin, note in found.items() if note is not None}


class Trees:
    """Grows the trees of a ledger up to the end of its log, and signs what they are then.

    A tree goes on from the tiles that its newest checkpoint of this key vouches for. Nothing is
    signed that is no continuation of that. Any number of hosts may do so side by side: they write
    the same tiles, and the first checkpoint of a size stays.
    """

    def __init__(
        self,
        ledger: Ledger,
        key: SigningKey | None = None,
        gathered: Gathered | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sign with ``key``, by default the one that is set; ``clock`` gives seconds since 1970.

        Raises:
            SettingsError: no key is set.
        """
        self._ledger = ledger
        self._log = ledger.log
        self._key = key or signing_key(ledger) or _no_key()
        self._gathered = gathered or Gathered()
        self._clock = clock
        self._trees: dict[Partition, _Tree] = {}

    @property
    def key(self) -> SigningKey:
        """Who signs."""
        return self._key

    def publish(self) -> list[Checkpoint]:
        """Take in all that stands in the log, and sign each tree that has grown.

        Raises:
            TreeBroken: the log is not what was signed earlier.
            ArtifactError: the blob store does not answer.
        """
        self._log.sync()
        found = list(stretches(self._log))
        sizes = {s.partition: s.leaf + s.behind - s.first for s in found}
        trees = {p: tree for p, size in sizes.items() if (tree := self._tree(p, size)) is not None}
        last: dict[Partition, int] = {}
        try:
            for stretch in found:
                if stretch.partition in trees:
                    self._take_in(trees[stretch.partition], stretch)
                    last[stretch.partition] = stretch.behind - 1
            return [
                tree.sign(self._log.position_behind(last[partition]), self._clock())
                for partition, tree in trees.items()
                if tree.size > tree.signed_size
            ]
        except BaseException:
            self._trees.clear()  # what was half done is read again from what was signed
            raise
        finally:
            self._gathered.drop()

    def _tree(self, partition: Partition, size: int) -> _Tree | None:
        """The tree of a partition; None where another host has copied and signed more of it."""
        origin = origin_of(self._ledger.ledger_id, partition)
        store = TreeStore(self._ledger.blobs.place, origin)
        note = store.newest()
        tree = self._trees.get(partition)
        if tree is None or tree.note != note:
            name = origin_of(self._ledger.ledger_id)
            tree = self._trees[partition] = _Tree(store, origin, self._key, name, note)
        if tree.signed_size > size and isinstance(self._log, MirrorLog):
            return None
        if tree.signed_size > size:
            msg = (
                f"the log has {size} events of {origin}, and a checkpoint of {tree.signed_size} "
                f"stands in {store}: it was cut back, or is another one. Nothing is signed; "
                "`mlflow-ledger verify` tells more"
            )
            raise TreeBroken(msg)
        return tree

    def _take_in(self, tree: _Tree, stretch: Stretch) -> None:
        offset = stretch.first + max(0, tree.size - stretch.leaf)
        while offset < stretch.behind:
            leaves = self._leaves(offset, min(stretch.behind, offset + _SLICE))
            tree.take(leaves)
            offset += len(leaves)

    def _leaves(self, first: int, behind: int) -> list[bytes]:
        """The hashes of the leaves from ``first`` to the one before ``behind``."""
        known = self._gathered.leaves(first, behind)
        if known:
            return known
        rows = self._log.rows(first, behind - first, "AND seq < ?", (behind,))
        found = event_leaves((s.offset, s.record.digest(), s.append_ms) for s in rows)
        if len(found) < behind - first:
            raise self._log.damaged(f"some of events {first} to {behind - 1} are missing")
        return found


class _Tree:
    """One tree as it grows from the newest checkpoint on."""

    def __init__(
        self, store: TreeStore, origin: str, key: SigningKey, name: str, note: str | None
    ) -> None:
        self.note = note
        self._store = store
        self._origin = origin
        self._key = key
        self._name = name
        self._edge = Edge()
        self._partial: set[Tile] = set()
        self._signed = self._signed_before()
        self._holds = self._signed is None
        """Whether what was taken leads to the root that was signed."""
        if self._signed is not None:
            self._stand_on(self._signed)

    @property
    def size(self) -> int:
        """How many leaves it has: which one is to be taken next."""
        return self._edge.size

    @property
    def signed_size(self) -> int:
        """How many leaves the newest checkpoint has signed."""
        return self._signed.size if self._signed else 0

    def take(self, leaves: list[bytes]) -> None:
        """Take the hashes of the next leaves; what is full is written.

        Raises:
            TreeBroken: they are not those that were signed.
        """
        known = 0 if self._holds else max(0, self.signed_size - self.size)
        files = list(self._edge.extend(leaves[:known]))
        self._compare()
        files += self._edge.extend(leaves[known:])
        self._write(files)
        for tile, _ in files:
            if tile in self._partial:
                self._partial.remove(tile)
                self._store.remove_partial(tile)

    def sign(self, position: str, time_s: float) -> Checkpoint:
        """Write what is not full yet, and sign the tree as it is; it may go on growing."""
        assert self._holds
        files = list(self._edge.partial())
        self._write(files)
        self._partial.update(Tile(tile.level, tile.number) for tile, _ in files)
        moment = format_time(int(time_s * 1000))
        made = Checkpoint(self._origin, self.size, self._edge.root(), position, moment)
        self.note = made.signed(self._key, self._name)
        self._store.keep(made.size, self.note)
        self._signed = made
        return made

    def _compare(self) -> None:
        """What is taken up to the signed size must lead to the signed root."""
        signed = self._signed
        if self._holds or signed is None or self.size < signed.size:
            return
        if self._edge.root() != signed.root:
            msg = (
                f"the first {signed.size} events of {self._origin} are not those that were signed "
                f"at {signed.time or 'an unknown time'}: the log was changed, or the checkpoint in "
                f"{self._store} was. Nothing is signed; `mlflow-ledger verify` tells more"
            )
            raise TreeBroken(msg)
        self._holds = True

    def _write(self, files: list[tuple[Tile, bytes]]) -> None:
        """Write tiles; one that stands there and differs was never signed, and is replaced."""
        named = {tile.name: data for tile, data in files}
        others = self._store.write(named.items())
        if others:
            _log.warning("tiles that differ are replaced: %s", ", ".join(others))
            self._store.replace((name, named[name]) for name in others)

    def _signed_before(self) -> Checkpoint | None:
        """The newest checkpoint; that of another key counts too: the log has to agree with it."""
        if self.note is None:
            return None
        try:
            found = unchecked(self.note)
        except NoteInvalid as error:
            msg = f"the checkpoint in {self._store} is none: {error}"
            raise TreeBroken(msg) from error
        if found.origin != self._origin:
            msg = f"the checkpoint in {self._store} is of {found.origin}, not of {self._origin}"
            raise TreeBroken(msg)
        return found

    def _stand_on(self, signed: Checkpoint) -> None:
        """Go on from the tiles, where they are what this key has signed; else read the log anew."""
        assert self.note is not None
        rows: list[list[bytes]] = []
        for level in Tile.levels(signed.size):
            *_, last = Tile.of_size(signed.size, level)
            data = b"" if last.width == WIDTH else self._store.read(last.name) or b""
            rows.append(hashes_in(data))
            self._partial.add(Tile(level, signed.size // WIDTH ** (level + 1)))
        edge = Edge(signed.size, rows)
        try:
            Checkpoint.opened(self.note, [self._key.public])
            self._holds = edge.root() == signed.root
        except (NoteInvalid, IndexError):
            self._holds = False
        if self._holds:
            self._edge = edge
        else:
            _log.warning("what is signed in %s is compared with the whole log", self._store)


def _no_key() -> SigningKey:
    msg = (
        "no key is set to sign checkpoints with, and there are none without a signature: "
        "`mlflow-ledger keygen FILE` makes a key, MLFLOW_LEDGER_SIGNING_KEY=FILE sets it"
    )
    raise SettingsError(msg)
