"""Signed notes (C2SP signed-note): a text, and lines with Ed25519 signatures of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from mlflow_ledger.schemas import LedgerError, SettingsError

__all__ = [
    "NoteInvalid",
    "PublicKey",
    "SigningKey",
    "open_note",
    "plain_base64",
    "read_public_keys",
    "read_signing_key",
    "sign_note",
]

_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_DASH = "\N{EM DASH} "
_MOST_BYTES = 65536
_KEY_BYTES = 32
_ID_BYTES = 4


class NoteInvalid(LedgerError, ValueError):
    """A note that is none, or that no key we were given has signed."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who is believed: a key, under one name or, where that is None, under any."""

    raw: bytes
    name: str | None = None

    def named(self, name: str) -> str:
        """The key in C2SP's form ``<name>+<id>+<base64>``, under a name."""
        return f"{name}+{_key_id(name, self.raw).hex()}+{_base64(_ED25519 + self.raw)}"

    def pem(self) -> str:
        """The key in PEM."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def signs(self, name: str, key_id: bytes) -> bool:
        """Whether a signature line of that name and key id is this key's."""
        return self.name in (None, name) and key_id == _key_id(name, self.raw)

    def __str__(self) -> str:
        """A name for messages: its SHA-256, shortened, which tells keys apart."""
        return f"key {hashlib.sha256(self.raw).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Who signs: a private key and, where it has one of its own, the name it signs under."""

    private: Ed25519PrivateKey
    name: str | None = None

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKey(raw, self.name)

    @classmethod
    def new(cls) -> SigningKey:
        """A fresh key."""
        return cls(Ed25519PrivateKey.generate())

    def pem(self) -> str:
        """The private key in PEM (PKCS#8), not encrypted."""
        return self.private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode()


def sign_note(text: str, key: SigningKey, name: str) -> str:
    """A text, which ends in a newline, with its signature; ``name`` is for keys without one."""
    assert text.endswith("\n")
    name = key.name or name
    signature = key.private.sign(text.encode("utf-8"))
    line = _base64(_key_id(name, key.public.raw) + signature)
    return f"{text}\n{_DASH}{name} {line}\n"


def open_note(note: str, keys: Iterable[PublicKey]) -> tuple[str, PublicKey]:
    """The text of a note, and the key that signed it; signatures of other keys do not count.

    Raises:
        NoteInvalid: it is no note, or none of the keys has signed it.
    """
    text, signatures = _taken_apart(note)
    known = list(keys)
    for name, signature in signatures:
        for key in known:
            if key.signs(name, signature[:_ID_BYTES]):
                _check(key, signature[_ID_BYTES:], text)
                return text, key
    who = ", ".join(name for name, _ in signatures)
    asked = " or ".join(map(str, known)) or "any key that was given"
    msg = f"it is signed as {who}, but not by {asked}"
    raise NoteInvalid(msg)


def _check(key: PublicKey, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, text.encode("utf-8"))
    except InvalidSignature:
        msg = f"its signature is not one of {key} of this text: one of the two was changed"
        raise NoteInvalid(msg) from None


def _taken_apart(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    body, found, below = note.rpartition("\n\n")
    lines = below.splitlines() if below.endswith("\n") else []
    if not found or not body or not lines or len(note.encode()) > _MOST_BYTES:
        msg = "it is no signed note: a text, an empty line, lines with signatures"
        raise NoteInvalid(msg)
    return f"{body}\n", [_signature_in(line) for line in lines]


def _signature_in(line: str) -> tuple[str, bytes]:
    name, _, text = line.removeprefix(_DASH).partition(" ")
    try:
        signature = plain_base64(text)
    except ValueError:
        signature = b""
    if not line.startswith(_DASH) or not name or len(signature) <= _ID_BYTES:
        msg = f"it is no signed note: {line[:80]!r} is no signature"
        raise NoteInvalid(msg)
    return name, signature


def read_signing_key(path: Path) -> SigningKey:
    """A private key from a file: PEM (``openssl genpkey -algorithm ed25519``) or C2SP's form.

    Raises:
        SettingsError: it cannot be read, or is no such key.
    """
    text = _text_of(path)
    try:
        key = _private(text)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if key is None:
        msg = f"{path} holds no private Ed25519 key; `mlflow-ledger keygen {path.name}` makes one"
        raise SettingsError(msg)
    return key


def _private(text: str) -> SigningKey | None:
    if not text.startswith(_PRIVATE):
        private = load_pem_private_key(text.encode(), password=None)
        return SigningKey(private) if isinstance(private, Ed25519PrivateKey) else None
    name, key_id, raw = _parts(text.removeprefix(_PRIVATE))
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(raw), name)
    return key if key_id == _key_id(name, key.public.raw) else None


def read_public_keys(said: str) -> list[PublicKey]:
    """Public keys: ``<name>+<id>+<base64>``, or a file of such lines or in PEM.

    Raises:
        SettingsError: there is none.
    """
    text = said if _is_key(said) else _text_of(Path(said))
    try:
        if text.startswith("-----BEGIN PUBLIC KEY"):
            key = load_pem_public_key(text.encode())
            if isinstance(key, Ed25519PublicKey):
                return [PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))]
        elif keys := [_public(line) for line in text.splitlines() if line.strip()]:
            return keys
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    msg = f"{said[:200]!r} is no public Ed25519 key: PEM in a file, or NAME+ID+BASE64"
    raise SettingsError(msg)


def _is_key(text: str) -> bool:
    try:
        return text.count("+") > 1 and not Path(text).exists()
    except OSError:  # too long for a name
        return True


def _public(text: str) -> PublicKey:
    name, key_id, raw = _parts(text.strip())
    if key_id != _key_id(name, raw):
        msg = f"{text!r} is garbled: its id is not that of its key"
        raise ValueError(msg)
    return PublicKey(raw, name)


def _parts(text: str) -> tuple[str, bytes, bytes]:
    name, key_id, data = text.strip().split("+", 2)
    raw = plain_base64(data)
    if not name or raw[:1] != _ED25519 or len(raw) != 1 + _KEY_BYTES:
        raise ValueError
    return name, bytes.fromhex(key_id), raw[1:]


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        msg = f"cannot read the key {str(path)!r}: {why}; name a file that holds a key"
        raise SettingsError(msg) from error


def _key_id(name: str, raw: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:_ID_BYTES]


def plain_base64(text: str) -> bytes:
    """The bytes of a base64 text, of which there is one way to write them.

    Raises:
        ValueError: it is no such text.
    """
    data = base64.b64decode(text, validate=True)
    if _base64(data) != text:
        msg = f"{text[:80]!r} is not how base64 is written"
        raise ValueError(msg)
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
