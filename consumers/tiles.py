"""Tiles of a Merkle tree, laid out as C2SP's tlog-tiles has them: their names, and what grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .merkle import (
    HASH_BYTES,
    Nodes,
    ProofError,
    hashes_in,
    perfect_hash,
    perfect_hashes,
    subtree_hash,
)

__all__ = ["WIDTH", "Edge", "Tile", "nodes_in"]

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""How many hashes a full tile holds."""

_NAME = re.compile(r"tile/(\d+)/((?:x\d{3}/)*\d{3})(?:\.p/(\d+))?")


class Tile(NamedTuple):
    """A tile by level, number within its level and width; one below 256 is partial."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def name(self) -> str:
        """Its path below the tree's prefix, such as ``tile/0/x001/067.p/12``."""
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"tile/{self.level}/{path}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @classmethod
    def parse(cls, name: str) -> Tile | None:
        """Read a path; None where it names no tile."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        level, path, width = found.groups()
        number = int(path.replace("x", "").replace("/", ""))
        return cls(int(level), number, int(width or WIDTH))

    @property
    def leaves(self) -> int:
        """How many leaves one of its hashes stands for."""
        return 1 << HEIGHT * self.level

    @property
    def end(self) -> int:
        """How many leaves a tree has at least that this is a tile of."""
        return (self.number * WIDTH + self.width) * self.leaves

    @staticmethod
    def of_size(size: int, level: int) -> Iterator[Tile]:
        """The tiles of one level of a tree; the last may be partial."""
        hashes = size >> HEIGHT * level
        yield from (Tile(level, number) for number in range(hashes // WIDTH))
        if hashes % WIDTH:
            yield Tile(level, hashes // WIDTH, hashes % WIDTH)

    @staticmethod
    def levels(size: int) -> range:
        """The levels of which a tree of this size has tiles."""
        return range(-(-size.bit_length() // HEIGHT))


class Edge:
    """The right edge of a tree: the hashes of its partial tiles, which is all that growing takes.

    ``size`` counts leaves.
    """

    def __init__(self, size: int = 0, rows: Sequence[Sequence[bytes]] = ()) -> None:
        """Begin with an empty tree, or with the partial tiles of one, level by level."""
        self.size = size
        self._rows = [list(row) for row in rows]

    def copy(self) -> Edge:
        """Another one like this."""
        return Edge(self.size, self._rows)

    def extend(self, leaves: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Add leaf hashes; yields each tile that is full now, with its bytes."""
        before, self.size = self.size, self.size + len(leaves)
        yield from self._grow(0, before, leaves)

    def partial(self) -> Iterator[tuple[Tile, bytes]]:
        """The partial tiles as they are now."""
        for level, row in enumerate(self._rows):
            if row:
                yield Tile(level, self.size >> HEIGHT * (level + 1), len(row)), b"".join(row)

    def root(self) -> bytes:
        """The tree's root."""
        return subtree_hash(self._node, 0, self.size)

    def _grow(self, level: int, size: int, hashes: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Add hashes of a level to a tree of ``size`` leaves; full tiles are hashed in one go."""
        if len(self._rows) == level:
            self._rows.append([])
        row = [*self._rows[level], *hashes]
        full, first = len(row) // WIDTH, size >> HEIGHT * (level + 1)
        self._rows[level] = row[full * WIDTH :]
        for number in range(full):
            yield Tile(level, first + number), b"".join(row[number * WIDTH : (number + 1) * WIDTH])
        if full:
            yield from self._grow(level + 1, size, perfect_hashes(row[: full * WIDTH], HEIGHT))

    def _node(self, level: int, index: int) -> bytes:
        """A full subtree on the edge: of the partial tile of its level."""
        above, within = divmod(level, HEIGHT)
        first = (index << within) % WIDTH
        row = self._rows[above][first : first + (1 << within)]
        if len(row) != 1 << within:
            raise IndexError(level, index)
        return perfect_hash(row)


def nodes_in(read: Callable[[Tile], bytes], size: int) -> Nodes:
    """The full subtrees of a tree of ``size`` leaves, from its tiles; each is read once."""
    known: dict[Tile, list[bytes]] = {}

    def node(level: int, index: int) -> bytes:
        above, within = divmod(level, HEIGHT)
        number, first = divmod(index << within, WIDTH)
        width = min(WIDTH, (size >> HEIGHT * above) - number * WIDTH)
        tile = Tile(above, number, width)
        if tile not in known:
            known[tile] = hashes_in(read(tile))
        row = known[tile][first : first + (1 << within)]
        if len(row) != 1 << within or len(row[-1]) != HASH_BYTES:
            msg = f"{tile.name} ends early"
            raise ProofError(msg)
        return perfect_hash(row)

    return node
