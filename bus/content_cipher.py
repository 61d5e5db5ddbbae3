"""Contents sealed with a key: AES-256-GCM."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mlflow_ledger.schemas import DecodeError

__all__ = ["KEY_BYTES", "ContentCipher"]

KEY_BYTES = 32
_NONCE_BYTES = 12


class ContentCipher:
    """Seals and opens with one key.

    What is sealed is a random nonce of 12 bytes, the ciphertext, and a tag of 16 bytes. It opens
    for the event that it was sealed for only.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """Use a key of 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, source: str, number: int) -> bytes:
        """Seal the content of the event (source, id)."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, _identity(source, number))

    def open(self, sealed: bytes, source: str, number: int) -> bytes:
        """The content of the event (source, id).

        Raises:
            DecodeError: it was sealed with another key, for another event, or was changed.
        """
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, _identity(source, number))
        except (InvalidTag, ValueError) as error:
            msg = f"the content of ({source}, {number}) was not sealed with the key that it names"
            raise DecodeError(msg) from error


def _identity(source: str, number: int) -> bytes:
    """What is authenticated with the content."""
    return f"{source}/{number}".encode()
