"""What of a SQLite file differs in a later one: pages, so that the earlier is had back from it.

A state grows at its end: of what an earlier one held, few pages are overwritten later.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from mlflow_ledger.schemas import LogDamaged

__all__ = ["apply_delta", "file_digest", "write_delta"]

_COMPRESSION: Final = "zstd"
_HEAD = struct.Struct("<4sIQ")
_NUMBER = struct.Struct("<Q")
_MAGIC = b"mlpd"
_BLOCK_BYTES = 1024 * 1024
_PAGE_SIZE_AT, _MOST_PAGE_BYTES = 16, 65536


def write_delta(earlier: Path, later: Path, target: Path) -> None:
    """Write to ``target`` the pages of the earlier file that the later one has otherwise."""
    page_bytes = _page_bytes(earlier)
    size_bytes = earlier.stat().st_size
    with (
        earlier.open("rb") as old,
        later.open("rb") as new,
        pa.CompressedOutputStream(str(target), _COMPRESSION) as out,
    ):
        out.write(_HEAD.pack(_MAGIC, page_bytes, size_bytes))
        number = 0
        while block := old.read(_BLOCK_BYTES):
            other = new.read(_BLOCK_BYTES)
            if block != other:
                for at in range(0, len(block), page_bytes):
                    page = block[at : at + page_bytes]
                    if page != other[at : at + page_bytes]:
                        out.write(_NUMBER.pack(number + at // page_bytes))
                        out.write(page)
            number += len(block) // page_bytes


def apply_delta(delta: Path, later: BinaryIO, most_bytes: int) -> None:
    """Make an open file, which holds the later state, the earlier one.

    Pages behind ``most_bytes`` are left out, where still earlier ones are to be applied.

    Raises:
        LogDamaged: it is no such delta.
    """
    try:
        with pa.CompressedInputStream(str(delta), _COMPRESSION) as pages:
            magic, page_bytes, size_bytes = _HEAD.unpack(pages.read(_HEAD.size))
            _check(magic == _MAGIC and 0 < page_bytes <= _MOST_PAGE_BYTES)
            later.truncate(min(size_bytes, most_bytes))
            while number := pages.read(_NUMBER.size):
                page = pages.read(page_bytes)
                _check(len(page) == page_bytes)
                at = _NUMBER.unpack(number)[0] * page_bytes
                if at < most_bytes:
                    os.pwrite(later.fileno(), page, at)
    except (ValueError, struct.error, pa.ArrowException) as error:
        msg = f"{delta} is damaged: {error}"
        raise LogDamaged(msg) from error


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _page_bytes(path: Path) -> int:
    with path.open("rb") as file:
        head = file.read(_PAGE_SIZE_AT + 2)
    size = int.from_bytes(head[_PAGE_SIZE_AT:], "big")
    return _MOST_PAGE_BYTES if size == 1 else size


def _check(well_formed: bool) -> None:
    if not well_formed:
        msg = "it holds no pages"
        raise ValueError(msg)
