"""Check a proof of mlflow-ledger without mlflow-ledger: ``python proof_check.py PROOF KEY.pub``.

It needs Python's hashlib and the package cryptography, and shows who said what, when, in a log
whose root the key has signed; whether that makes the entity what the proof calls it is left to the
reader. It stands on its own, and bundles hold a copy. docs/proofs.md says what a proof is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


def signed(note: str, key: Ed25519PublicKey) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that the key has signed (C2SP signed-note)."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    for line in lines.splitlines():
        _, name, signature = line.split(" ")
        data = base64.b64decode(signature)
        said = name.encode() + b"\n\x01" + key.public_bytes(*RAW)
        if data[:4] == hashlib.sha256(said).digest()[:4]:
            key.verify(data[4:], text.encode())  # raises InvalidSignature
            origin, size, root, *_ = text.split("\n")
            return origin, int(size), base64.b64decode(root)
    sys.exit("the key has not signed this checkpoint")


def require(holds: bool, what: str) -> None:
    """End with status 1 and say what is wrong, where something does not hold."""
    if not holds:
        sys.exit(what)


def root_of(leaf: bytes, number: int, size: int, path: list[bytes]) -> bytes:
    """The root that a path leads to (RFC 6962): its last entry is the root's child."""
    if size == 1:
        require(not path, "the path is too long")
        return leaf
    require(bool(path), "the path is too short")
    half = 1 << (size - 1).bit_length() - 1
    if number < half:
        return node(root_of(leaf, number, half, path[:-1]), path[-1])
    return node(path[-1], root_of(leaf, number - half, size - half, path[:-1]))


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def main(proof: dict[str, Any], key: Ed25519PublicKey) -> None:
    """Check each event, and say what its header says."""
    require(bool(proof["events"]), "the proof holds no event")
    for event in proof["events"]:
        origin, size, root = signed(proof["checkpoints"][event["tree"]], key)
        header, head = event["header"].encode(), base64.b64decode(event["head"])
        content = bytes.fromhex(event["content_digest"])
        if event["content"] is not None:
            shown = hashlib.sha256(base64.b64decode(event["content"])).digest()
            require(shown == content, "a content is not the one that was digested")
        framed = [len(header).to_bytes(4, "big"), header, len(head).to_bytes(4, "big"), head]
        digest = hashlib.sha256(b"".join([*framed, content])).digest()
        leaf = hashlib.sha256(b"\x00" + digest + event["append_ms"].to_bytes(8, "big")).digest()
        path = [base64.b64decode(other) for other in event["path"]]
        require(origin == event["tree"] and 0 <= event["leaf"] < size, "it is of another tree")
        require(root_of(leaf, event["leaf"], size, path) == root, "it is not what was signed")
        said = json.loads(header)
        print(f"{said['time']} {said['actor']}: {said['type']} {said['subject']}")
    print(
        f"signed; whether these events make {proof['entity']!r} is yours to read", file=sys.stderr
    )


def read(proof: str, key: str) -> tuple[dict[str, Any], Ed25519PublicKey]:
    """The two files."""
    public_key = serialization.load_pem_public_key(Path(key).read_bytes())
    if not isinstance(public_key, Ed25519PublicKey):
        sys.exit(f"{key} holds no Ed25519 key")
    return json.loads(Path(proof).read_text("utf-8")), public_key


if __name__ == "__main__":
    try:
        _, proof_file, key_file = sys.argv
    except ValueError:
        sys.exit("usage: python proof_check.py PROOF KEY.pub")
    try:
        main(*read(proof_file, key_file))
    except InvalidSignature:
        sys.exit("a checkpoint was changed after the key had signed it")
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read: {error.strerror}")
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        said = f"{type(error).__name__}: {error}"
        sys.exit(f"{proof_file} is no proof, or {key_file} no public key ({said})")
