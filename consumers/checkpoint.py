"""A checkpoint (C2SP tlog-checkpoint): what a tree was at one size, signed."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_ledger.bus import EMBEDDED, Partition

from .merkle import HASH_BYTES
from .note import NoteInvalid, PublicKey, SigningKey, open_note, plain_base64, sign_note

__all__ = ["Checkpoint", "event_leaves", "leaf_data", "origin_of", "unchecked"]

_LEAST_LINES = 3
_TIME_BYTES = 8
_LEAF = struct.Struct(f">x{HASH_BYTES}sQ")
"""What a leaf's hash is computed of: a zero as RFC 6962 puts before each, and :func:`leaf_data`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of a tree of ``size`` leaves; ``origin`` names the tree.

    ``position`` is the one behind the last of its events, ``time`` when it was signed, by the
    clock of who did. Both stand in extension lines, and are worth what the signer is worth.
    """

    origin: str
    size: int
    root: bytes
    position: str = ""
    time: str = ""

    def text(self) -> str:
        """The note's text."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode()]
        lines += [f"position {self.position}"] if self.position else []
        lines += [f"time {self.time}"] if self.time else []
        return "\n".join(lines) + "\n"

    def signed(self, key: SigningKey, name: str) -> str:
        """The checkpoint as a signed note; ``name`` is for keys that have none."""
        return sign_note(self.text(), key, name)

    @classmethod
    def opened(cls, note: str, keys: Iterable[PublicKey]) -> Checkpoint:
        """Read a signed note.

        Raises:
            NoteInvalid: it is no checkpoint, or none of the keys has signed it.
        """
        text, _ = open_note(note, keys)
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text.

        Raises:
            NoteInvalid: it is no checkpoint.
        """
        lines = text.removesuffix("\n").split("\n")
        said = {name: rest for name, _, rest in (line.partition(" ") for line in lines[3:])}
        try:
            origin, size, root = lines[:_LEAST_LINES]
            found = cls(
                origin, int(size), plain_base64(root),
                said.get("position", ""), said.get("time", ""),
            )  # fmt: skip
        except ValueError:
            found = None
        whole = found and found.origin and str(found.size) == size and found.size >= 0
        if found is None or not whole or len(found.root) != HASH_BYTES:
            msg = f"it is no checkpoint: {text[:80]!r}"
            raise NoteInvalid(msg)
        return found


def unchecked(note: str) -> Checkpoint:
    """What a note says, whoever has signed it.

    Raises:
        NoteInvalid: it is no checkpoint.
    """
    return Checkpoint.parse(note.rpartition("\n\n")[0] + "\n")


def origin_of(ledger_id: str, partition: Partition = EMBEDDED) -> str:
    """The name of the tree over a partition; an embedded ledger has but one, named as itself."""
    topic, number = partition
    ledger = f"mlflow-ledger/{ledger_id}"
    return ledger if partition == EMBEDDED else f"{ledger}/{topic}/{number}"


def leaf_data(digest: bytes, append_ms: int) -> bytes:
    """What a leaf is the hash of: the event's digest, and when the log took it, as a u64."""
    return digest + append_ms.to_bytes(_TIME_BYTES, "big")


def event_leaves(events: Iterable[tuple[int, bytes, int]]) -> list[bytes]:
    """The hashes of many events' leaves, of each by offset, digest and append time."""
    hashed, framed = hashlib.sha256, _LEAF.pack  # leaf_hash and leaf_data, without their calls
    return [hashed(framed(digest, append_ms)).digest() for _, digest, append_ms in events]
