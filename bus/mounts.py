"""The file system that a folder lies on, and whether a ledger may lie there."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mlflow_ledger.schemas import LogUnavailable

__all__ = ["Mount", "check_local", "is_network", "mount_of"]

_TABLE = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    (
        "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "yfs",
        "afpfs", "coda", "davfs", "webdav", "ceph", "glusterfs", "lustre", "beegfs", "fhgfs",
        "gpfs", "mmfs", "orangefs", "pvfs2", "panfs", "wekafs", "quobyte", "ocfs2", "gfs2",
        "acfs", "juicefs",
    )
)  # fmt: skip
_NETWORK_FUSE = (
    "sshfs", "davfs", "curlftpfs", "ceph", "gluster", "s3fs", "s3ql", "goofys", "rclone", "gcsfuse",
    "blobfuse", "juicefs", "mfs", "moosefs", "seaweedfs", "weed", "hdfs", "mount-s3", "mountpoint",
    "smbnetfs", "gvfsd", "lizardfs", "quobyte", "cvmfs", "alluxio", "beegfs", "nfs", "cifs",
    "lustre",
)  # fmt: skip
_UNSURE = ("fuse", "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "fakeowner", "grpcfuse", "osxfs")
"""Folders of a host in its virtual machine or container: some keep locks and some do not."""


class Mount(NamedTuple):
    """A line of the mount table: what is mounted where."""

    number: int
    parent: int
    point: str
    kind: str
    source: str


def mount_of(path: str, table: str) -> Mount | None:
    """The mount that holds an absolute path without symbolic links, by ``/proc/self/mountinfo``.

    A mount can hide others below its point, so the table is walked as the kernel walks a path.
    """
    mounts = [mount for line in table.splitlines() if (mount := _mount(line))]
    known = {mount.number for mount in mounts}
    found = None
    while True:
        inside = [
            mount
            for mount in mounts
            if _holds(mount.point, path)
            and (mount.parent == found.number if found else mount.parent not in known)
            and mount is not found
        ]
        if not inside:
            return found
        found = min(inside, key=lambda mount: len(mount.point))
        mounts.remove(found)


def is_network(kind: str) -> bool:
    """Whether a kind of file system is shared by several machines."""
    kind = kind.lower()
    return kind in _NETWORK or (
        kind.startswith("fuse") and kind.partition(".")[2].startswith(_NETWORK_FUSE)
    )


def check_local(folder: Path, table: str | None = None) -> None:
    """Refuse a folder in which the locks of several processes would not hold.

    ``folder`` may not be there yet. Where there is no mount table (not on Linux) nothing is known,
    and nothing refused.

    Raises:
        LogUnavailable: it lies on a network file system, or locks were tried there and do not hold.
    """
    if table is None:
        if not _TABLE.exists():
            return
        table = os.fsdecode(_TABLE.read_bytes())
    mount = mount_of(os.path.realpath(folder), table)
    if mount is None:
        return
    if is_network(mount.kind):
        raise _refused(folder, f"on a network file system ({mount.kind}, {mount.source})")
    if mount.kind.startswith(_UNSURE) and os.access(folder, os.W_OK) and not _locks_hold(folder):
        raise _refused(folder, f"on {mount.kind}, whose locks were tried and do not hold")


def _refused(folder: Path, where: str) -> LogUnavailable:
    return LogUnavailable(
        f"{folder} lies {where}: the locks that writers queue on cannot be trusted there, and the "
        "log could be garbled. Use a folder of a local disk and let other machines talk to an "
        "`mlflow server` on it, or a ledger in Kafka. If only this machine will ever use the "
        "folder, MLFLOW_LEDGER_NETWORK_FOLDER=allow takes the risk"
    )


def _mount(line: str) -> Mount | None:
    r"""A line such as ``36 35 98:0 / /mnt/a\040b rw,noatime shared:1 - ext3 /dev/root rw``."""
    before, separator, behind = line.partition(" - ")
    fields, rest = before.split(" "), behind.split(" ")
    if not separator or len(fields) < 6 or len(rest) < 2 or not fields[0].isdecimal():  # noqa: PLR2004  # the fields of proc(5)
        return None
    return Mount(
        int(fields[0]), int(fields[1]), _unescaped(fields[4]), rest[0], _unescaped(rest[1])
    )


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(f"{point.rstrip('/')}/")


def _locks_hold(folder: Path) -> bool:
    """Whether a lock taken once is refused a second time, and memory can be shared."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".locks-") as file:
        again = os.open(file.name, os.O_RDWR)
        try:
            file.truncate(mmap.PAGESIZE)
            mmap.mmap(file.fileno(), mmap.PAGESIZE).close()
            return _excludes(file.fileno(), again)
        except OSError:
            return False
        finally:
            os.close(again)


def _excludes(one: int, other: int) -> bool:
    fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not _is_refused(lambda: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)):
        return False
    # A lock of the open file, not of the process, so that one process can try it.
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    fcntl.fcntl(one, fcntl.F_OFD_SETLK, lock)
    return _is_refused(lambda: fcntl.fcntl(other, fcntl.F_OFD_SETLK, lock))


def _is_refused(lock: Callable[[], object]) -> bool:
    try:
        lock()
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    return False
