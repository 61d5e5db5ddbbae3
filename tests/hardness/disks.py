"""File systems that are soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["fill", "small_disk"]


@contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[Path]:
    """A file system of some megabytes in a new folder; only root may mount one."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("NOT TESTED: this machine permits no mounts, so no disk can be filled")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, spare_bytes: int = 0) -> Path:
    """Take all room but some."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    size = room.f_bavail * room.f_frsize - spare_bytes
    with filler.open("ab") as file:
        while size > 0:
            try:
                size -= file.write(bytes(min(size, 65536)))
                file.flush()
            except OSError:
                break
    return filler
