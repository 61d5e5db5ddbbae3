"""A second implementation of RFC 6962's tree, by the letter of its section 2.1.

It shares nothing with ours, not even the way: lists of leaves are cut and hashed again each time,
and proofs are checked by the recursion that makes them, not by RFC 9162's loops.
"""

from __future__ import annotations

from hashlib import sha256

D = list[bytes]


def k(n: int) -> int:
    power = 1
    while power * 2 < n:
        power *= 2
    return power


def mth(d: D) -> bytes:
    if not d:
        return sha256().digest()
    if len(d) == 1:
        return sha256(bytes([0]) + d[0]).digest()
    cut = k(len(d))
    return sha256(bytes([1]) + mth(d[:cut]) + mth(d[cut:])).digest()


def path(m: int, d: D) -> D:
    if len(d) == 1:
        return []
    cut = k(len(d))
    if m < cut:
        return [*path(m, d[:cut]), mth(d[cut:])]
    return [*path(m - cut, d[cut:]), mth(d[:cut])]


def proof(m: int, d: D) -> D:
    return subproof(m, d, True)


def subproof(m: int, d: D, b: bool) -> D:
    if m == len(d):
        return [] if b else [mth(d)]
    cut = k(len(d))
    if m <= cut:
        return [*subproof(m, d[:cut], b), mth(d[cut:])]
    return [*subproof(m - cut, d[cut:], False), mth(d[:cut])]


def root_by_path(m: int, n: int, leaf: bytes, rest: D) -> bytes:
    """The root that a path gives, from its end: the last entry is the root's child."""
    if n == 1:
        assert not rest
        return sha256(bytes([0]) + leaf).digest()
    cut, last = k(n), rest[-1]
    if m < cut:
        return sha256(bytes([1]) + root_by_path(m, cut, leaf, rest[:-1]) + last).digest()
    return sha256(bytes([1]) + last + root_by_path(m - cut, n - cut, leaf, rest[:-1])).digest()
