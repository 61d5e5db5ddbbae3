"""The keys of one process: seals contents with a key of their subject, and opens them."""

from __future__ import annotations

import time

from mlflow_ledger.schemas import Record

from .content_cipher import ContentCipher
from .key_file import KeyFile

__all__ = ["Keyring"]

_MOST = 10_000
_LOOK_S = 0.05


class Keyring:
    """Remembers the keys that it has used; those that are lost open nothing from then on."""

    def __init__(self, file: KeyFile, lifetime_s: float | None = None) -> None:
        """Use the keys in ``file``.

        With ``lifetime_s`` a key of our own seals for so long only: who has no replica does not
        hear that it was lost.
        """
        self.file = file
        self._lifetime_s = lifetime_s
        self._sealing: dict[str, tuple[str, ContentCipher, float]] = {}
        self._opening: dict[str, ContentCipher] = {}
        self._version = (0, 0, 0)
        self._generation = 0
        self._look_at_s = 0.0

    def refresh(self) -> None:
        """Forget what is lost, if another process has heard of it."""
        version = self.file.version()
        if version == self._version:
            return
        generation = self.file.generation()
        if generation != self._generation or version[0] != self._version[0]:
            self.forget()
        self._version, self._generation = version, generation

    def forget(self) -> None:
        """Look all keys up again."""
        self._sealing.clear()
        self._opening.clear()

    def seal(self, subject: str, content: bytes, source: str, number: int) -> tuple[str, bytes]:
        """Seal the content of an event of a subject; returns the key's id and what was sealed."""
        now_s = time.monotonic()
        if now_s > self._look_at_s:  # a look takes longer than to seal
            self.refresh()
            self._look_at_s = now_s + _LOOK_S
        known = self._sealing.get(subject)
        if known is None or known[2] < now_s:
            known = self._take_key(subject)
        key_id, cipher, _ = known
        return key_id, cipher.seal(content, source, number)

    def open(self, record: Record) -> bytes | None:
        """The content of a record, None where its key is lost or never came here.

        Raises:
            DecodeError: it was not sealed with the key that is named.
        """
        envelope = record.envelope
        assert envelope.keyid is not None
        assert record.content is not None
        cipher = self._opening.get(envelope.keyid) or self._look_up(envelope.keyid)
        if cipher is None:
            return None
        return cipher.open(record.content, envelope.source, envelope.id)

    def _take_key(self, subject: str) -> tuple[str, ContentCipher, float]:
        until = float("inf")
        found = None
        if self._lifetime_s is None:
            found = self.file.find(subject)
        else:
            until = time.monotonic() + self._lifetime_s
        found = found or self.file.make(subject)
        if len(self._sealing) >= _MOST:
            self._sealing.clear()
        taken = self._sealing[subject] = found.key_id, ContentCipher(found.key), until
        return taken

    def _look_up(self, key_id: str) -> ContentCipher | None:
        key = self.file.get(key_id)
        if key is None:
            return None
        if len(self._opening) >= _MOST:
            self._opening.clear()
        cipher = self._opening[key_id] = ContentCipher(key)
        return cipher
