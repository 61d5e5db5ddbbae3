"""The Merkle tree of RFC 6962 (RFC 9162, section 2): hashes, roots, proofs. Nothing here reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Nodes",
    "ProofError",
    "check_consistency",
    "consistency_path",
    "hashes_in",
    "inclusion_path",
    "leaf_hash",
    "leaf_hashes",
    "node_hash",
    "nodes_of",
    "perfect_hash",
    "perfect_hashes",
    "root_from_path",
    "subtree_hash",
]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Nodes = Callable[[int, int], bytes]
"""The hash of the full subtree of height ``level`` that is the ``index``-th of its level."""


class ProofError(ValueError):
    """A path that does not lead where it should."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """The hashes of many leaves."""
    hashed = hashlib.sha256  # a look-up and a call a leaf: of what a tree costs, a third
    return [hashed(b"\x00" + data).digest() for data in entries]


def perfect_hash(hashes: Sequence[bytes]) -> bytes:
    """The hash of the full subtree over so many hashes, which are a power of two."""
    (root,) = perfect_hashes(hashes, len(hashes).bit_length() - 1)
    return root


def perfect_hashes(hashes: Sequence[bytes], height: int) -> Sequence[bytes]:
    """The hashes of the full subtrees of a height over hashes that stand side by side."""
    begun, row = hashlib.sha256(b"\x01").copy, hashes  # node_hash, without its call for each
    for _ in range(height):
        above = []
        for left, right in zip(row[::2], row[1::2], strict=True):
            node = begun()
            node.update(left + right)
            above.append(node.digest())
        row = above
    return row


def hashes_in(data: bytes) -> list[bytes]:
    """The hashes that stand one behind the other."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_of(leaves: Sequence[bytes]) -> Nodes:
    """The full subtrees over leaf hashes, each computed when it is asked for."""

    def node(level: int, index: int) -> bytes:
        return perfect_hash(leaves[index << level : (index + 1) << level])

    return node


def subtree_hash(nodes: Nodes, begin: int, end: int) -> bytes:
    """The tree hash over the leaves from ``begin`` up to ``end``: MTH(D[begin:end]).

    ``begin`` is one that RFC 6962 splits at, such as 0: then all it needs are full subtrees.
    """
    size = end - begin
    if size == 0:
        return EMPTY_ROOT
    level = size.bit_length() - 1
    if size == 1 << level:
        return nodes(level, begin >> level)
    middle = begin + (1 << level)
    return node_hash(nodes(level, begin >> level), subtree_hash(nodes, middle, end))


def inclusion_path(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The path from a leaf to the root of the tree of ``size`` leaves, the leaf's sibling first."""
    if not 0 <= index < size:
        msg = f"there is no leaf {index} in a tree of {size}"
        raise ProofError(msg)
    return _path(nodes, index, 0, size)


def _path(nodes: Nodes, index: int, begin: int, end: int) -> list[bytes]:
    if end - begin == 1:
        return []
    middle = begin + _split(end - begin)
    if index < middle:
        return [*_path(nodes, index, begin, middle), subtree_hash(nodes, middle, end)]
    return [*_path(nodes, index, middle, end), subtree_hash(nodes, begin, middle)]


def consistency_path(nodes: Nodes, first: int, second: int) -> list[bytes]:
    """What shows that the tree of ``first`` leaves is the beginning of that of ``second``."""
    if not 0 <= first <= second:
        msg = f"a tree of {first} leaves is no beginning of one of {second}"
        raise ProofError(msg)
    return [] if first in (0, second) else _consistency(nodes, first, 0, second, whole=True)


def _consistency(nodes: Nodes, first: int, begin: int, end: int, *, whole: bool) -> list[bytes]:
    if first == end:
        return [] if whole else [subtree_hash(nodes, begin, end)]
    middle = begin + _split(end - begin)
    if first <= middle:
        path = _consistency(nodes, first, begin, middle, whole=whole)
        return [*path, subtree_hash(nodes, middle, end)]
    path = _consistency(nodes, first, middle, end, whole=False)
    return [*path, subtree_hash(nodes, begin, middle)]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that a leaf's path leads to (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: a path of that length belongs to no such leaf.
    """
    if not 0 <= index < size:
        msg = f"there is no leaf {index} in a tree of {size}"
        raise ProofError(msg)
    node, last, found = index, size - 1, leaf
    for other in path:
        if last == 0:
            msg = f"the path of leaf {index} in a tree of {size} is too long"
            raise ProofError(msg)
        if node & 1 or node == last:
            found = node_hash(other, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, other)
        node, last = node >> 1, last >> 1
    if last:
        msg = f"the path of leaf {index} in a tree of {size} is too short"
        raise ProofError(msg)
    return found


def check_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Do nothing where one tree is the beginning of the other (RFC 9162, 2.1.4.2).

    Raises:
        ProofError: it is not, or the path does not show it.
    """
    if first > second:
        msg = f"a tree of {first} leaves is no beginning of one of {second}"
        raise ProofError(msg)
    if first in (0, second):
        if path or first_root != (second_root if first == second else EMPTY_ROOT):
            msg = f"two roots of one size ({first}) differ"
            raise ProofError(msg)
        return
    rest = list(path) if first & (first - 1) else [first_root, *path]
    if not rest or (found := _both_roots(first - 1, second - 1, rest)) is None:
        msg = f"the path from a tree of {first} leaves to one of {second} has a wrong length"
        raise ProofError(msg)
    if found != (first_root, second_root):
        msg = f"the tree of {second} leaves does not begin with that of {first}"
        raise ProofError(msg)


def _both_roots(node: int, last: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The roots of both trees by a path that begins with their common subtree."""
    while node & 1:
        node, last = node >> 1, last >> 1
    smaller = larger = path[0]
    for other in path[1:]:
        if last == 0:
            return None
        if node & 1 or node == last:
            smaller, larger = node_hash(other, smaller), node_hash(other, larger)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            larger = node_hash(larger, other)
        node, last = node >> 1, last >> 1
    return None if last else (smaller, larger)


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1
