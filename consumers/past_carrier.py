"""Bytes of artifacts for who looks back: they are where they are now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Never

from mlflow_ledger.bus import past_read_only
from mlflow_ledger.schemas import BlobMissing, format_time

from .carrier import Carrier

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["PastCarrier"]


class PastCarrier(Carrier):
    """Reads blobs as the present does; what was collected since is named, with its date."""

    def __init__(self, past: Ledger, now: Ledger) -> None:
        """Carry for ``past`` what ``now`` can reach."""
        super().__init__(past)
        self._now = now

    def read(self, digest: str, wait_s: float | None = None) -> Iterator[bytes]:
        """The bytes of a blob, in pieces.

        Raises:
            BlobMissing: it was collected since, or is not there for another reason.
        """
        try:
            yield from self._now.carrier.read(digest, wait_s)
        except BlobMissing as error:
            collected_ms = self._now.query(lambda db: _collected_ms(db, digest))
            if collected_ms is None:
                raise
            msg = (
                f"blob {digest} was there then, and was collected on {format_time(collected_ms)}: "
                "`mlflow-ledger audit` tells by whom"
            )
            raise BlobMissing(msg) from error

    def put_file(self, path: Path) -> Never:
        """Refuse."""
        raise past_read_only()

    def put(self, data: bytes) -> Never:
        """Refuse."""
        raise past_read_only()

    def put_again(self, db: sqlite3.Connection, digest: str, path: Path) -> Never:
        """Refuse."""
        raise past_read_only()


def _collected_ms(db: sqlite3.Connection, digest: str) -> int | None:
    row = db.execute("SELECT collected_ms FROM blobs WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else row[0]
