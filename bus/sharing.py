"""Rights of what is made in a folder that several users share."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["BESIDE", "is_shared", "may_write", "share", "share_database", "sync_file"]

BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file."""

_FILE_BITS = stat.S_IRGRP | stat.S_IWGRP
_FOLDER_BITS = stat.S_IRWXG | stat.S_ISGID
_EFFECTIVE = os.access in os.supports_effective_ids


def share(path: Path) -> None:
    """Let whoever may write to a folder use what this process has just made in it.

    Where the group may write to the folder, it may write to the file too, whatever the umask says,
    and the file is of the folder's group. What root makes belongs to the folder's owner.
    """
    folder, made = path.parent.stat(), path.stat()
    if os.geteuid() == 0 and made.st_uid != folder.st_uid:
        os.chown(path, folder.st_uid, folder.st_gid)
    if not folder.st_mode & stat.S_IWGRP or made.st_uid != os.geteuid():
        return
    if made.st_gid != folder.st_gid and _is_member(folder.st_gid):
        os.chown(path, -1, folder.st_gid)
    bits = _FOLDER_BITS if stat.S_ISDIR(made.st_mode) else _FILE_BITS
    if made.st_mode & bits != bits:
        path.chmod(stat.S_IMODE(made.st_mode) | bits)


def is_shared(folder: Path) -> bool:
    """Whether what this process makes in a folder needs :func:`share`."""
    status = folder.stat()
    foreign = os.geteuid() == 0 and status.st_uid != 0
    return foreign or bool(status.st_mode & stat.S_IWGRP)


def share_database(path: Path) -> None:
    """Share a SQLite file with what stands beside it; SQLite gives that the file's rights."""
    for suffix in ("", *BESIDE):
        try:
            share(path.with_name(path.name + suffix))
        except FileNotFoundError:  # nobody has it open, or whoever had has just closed it
            continue


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def may_write(path: Path) -> bool:
    """Whether this process may write to a SQLite file, which may not be there yet.

    Its folder and what stands beside it count too: a file made there by one who may not write to
    the others would lock out those who may.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        return False
    return all(
        os.access(file, os.W_OK, effective_ids=_EFFECTIVE)
        for suffix in ("", *BESIDE)
        if (file := path.with_name(path.name + suffix)).exists()
    )


def _is_member(group: int) -> bool:
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())
