"""Tiles of a Merkle tree, laid out as C2SP's tlog-tiles has them: their names, and what grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from .merkle import HASH_BYTES, Nodes, node_hash, subtree_hash

__all__ = ["ENTRIES", "WIDTH", "Edge", "Tile", "nodes_in", "pack_entries", "unpack_entries"]

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""How many hashes, or entries, a full tile holds."""

ENTRIES = -1
"""The level of bundles of entries: what the hashes of level 0 are hashes of."""

_NAME = re.compile(r"tile/(entries|\d+)/((?:x\d{3}/)*\d{3})(?:\.p/(\d+))?")


class Tile(NamedTuple):
    """A tile by level, index within its level and width; one below 256 is partial."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def name(self) -> str:
        """Its path below the tree's prefix, such as ``tile/0/x001/067.p/12``."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"tile/{level}/{path}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @classmethod
    def parse(cls, name: str) -> Tile | None:
        """Read a path; None where it names no tile."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        level, path, width = found.groups()
        index = int(path.replace("x", "").replace("/", ""))
        return cls(ENTRIES if level == "entries" else int(level), index, int(width or WIDTH))

    @property
    def leaves(self) -> int:
        """How many leaves one of its hashes stands for."""
        return 1 << HEIGHT * max(self.level, 0)

    @property
    def end(self) -> int:
        """How many leaves a tree has at least that this is a tile of."""
        return (self.index * WIDTH + self.width) * self.leaves

    @staticmethod
    def of_size(size: int, level: int) -> Iterator[Tile]:
        """The tiles of one level of a tree; the last may be partial."""
        hashes = size >> HEIGHT * max(level, 0)
        yield from (Tile(level, index) for index in range(hashes // WIDTH))
        if hashes % WIDTH:
            yield Tile(level, hashes // WIDTH, hashes % WIDTH)

    @staticmethod
    def levels(size: int) -> range:
        """The levels, without that of entries, of which a tree of this size has tiles."""
        return range(-(-size.bit_length() // HEIGHT))


class Edge:
    """The right edge of a tree: the hashes of its partial tiles, which is all that growing takes.

    ``size`` counts leaves.
    """

    def __init__(self, size: int = 0, rows: Sequence[Sequence[bytes]] = ()) -> None:
        """Begin with an empty tree, or with the partial tiles of one, level by level."""
        self.size = size
        self._rows = [list(row) for row in rows]

    def extend(self, leaves: Iterable[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Add leaf hashes; yields each tile that is full now, with its bytes."""
        row = self._row(0)
        for leaf in leaves:
            row.append(leaf)
            self.size += 1
            if len(row) == WIDTH:
                yield from self._fill(0)

    def partial(self) -> Iterator[tuple[Tile, bytes]]:
        """The partial tiles as they are now."""
        for level, row in enumerate(self._rows):
            if row:
                yield Tile(level, self.size >> HEIGHT * (level + 1), len(row)), b"".join(row)

    def root(self) -> bytes:
        """The tree's root."""
        return subtree_hash(self._node, 0, self.size)

    def _fill(self, level: int) -> Iterator[tuple[Tile, bytes]]:
        row = self._rows[level]
        yield Tile(level, (self.size >> HEIGHT * (level + 1)) - 1), b"".join(row)
        above = self._row(level + 1)
        above.append(_hash_of(row))
        row.clear()
        if len(above) == WIDTH:
            yield from self._fill(level + 1)

    def _row(self, level: int) -> list[bytes]:
        while len(self._rows) <= level:
            self._rows.append([])
        return self._rows[level]

    def _node(self, level: int, index: int) -> bytes:
        """A full subtree on the edge: of the partial tile of its level."""
        above, within = divmod(level, HEIGHT)
        first = (index << within) % WIDTH
        return _hash_of(self._rows[above][first : first + (1 << within)])


def nodes_in(read: Callable[[Tile], bytes], size: int) -> Nodes:
    """The full subtrees of a tree of ``size`` leaves, from its tiles; each is read once."""
    known: dict[Tile, bytes] = {}

    def node(level: int, index: int) -> bytes:
        above, within = divmod(level, HEIGHT)
        number, first = divmod(index << within, WIDTH)
        width = min(WIDTH, (size >> HEIGHT * above) - number * WIDTH)
        tile = Tile(above, number, width)
        if tile not in known:
            known[tile] = read(tile)
        data = known[tile]
        hashes = range(first, first + (1 << within))
        return _hash_of([data[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in hashes])

    return node


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """A bundle: each entry behind its length as a big-endian u16."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack_entries(data: bytes) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        ValueError: the bytes are no such bundle.
    """
    entries, at = [], 0
    while at < len(data):
        begin = at + 2
        at = begin + int.from_bytes(data[at:begin], "big")
        if at > len(data):
            msg = f"a bundle of {len(data)} bytes ends within its entry {len(entries)}"
            raise ValueError(msg)
        entries.append(data[begin:at])
    return entries


def _hash_of(row: list[bytes]) -> bytes:
    """The hash of the full subtree over a row of hashes."""
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]
