"""A network file system is told from a local one by the mount table, and refused in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_ledger.bus import Settings, check_local, is_network, mount_of
from mlflow_ledger.bus import mounts as module
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.consumers.place import Place
from mlflow_ledger.schemas import LogUnavailable
from tests.bus.programs import created, say

WORKSTATION = r"""
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
40 27 0:35 / /tmp rw,nosuid,nodev shared:20 - tmpfs tmpfs rw,size=8123456k
96 27 0:52 / /home rw,relatime shared:55 - nfs4 filer.example.org:/export/home rw,vers=4.2,hard
97 96 259:3 / /home/alice/scratch rw,relatime shared:56 - xfs /dev/nvme0n1p3 rw,attr2
98 27 0:53 / /mnt/my\040share rw,relatime shared:57 - cifs //srv/my\040share rw,vers=3.1.1
99 27 0:54 / /mnt/remote rw,nosuid,nodev,relatime shared:58 - fuse.sshfs bob@host:/data rw
100 27 0:55 / /mnt/usb\134disk rw,relatime shared:59 - fuseblk /dev/sdb1 rw,user_id=0
101 27 0:56 / /lustre/scratch rw,flock shared:60 - lustre 10.0.0.1@tcp:/fs rw
102 27 0:57 / /mnt/home rw,relatime - nfs 10.0.0.9:/x rw
""".strip()

CONTAINER = r"""
611 480 0:71 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A:/var/B
612 611 0:75 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
620 611 254:1 /docker/volumes/v/_data /data rw,relatime master:5 - ext4 /dev/vda1 rw,discard
621 611 0:44 /Users/alice/store /store rw,relatime - fakeowner /run/host_mark/Users rw,fakeowner
622 611 0:45 / /host rw,relatime - virtiofs virtiofs0 rw
623 611 0:46 / /nfs rw,relatime - nfs4 10.0.0.1:/v rw,vers=4.1
""".strip()

WSL = r"""
76 59 8:32 / / rw,relatime shared:1 - ext4 /dev/sdc rw,discard,errors=remount-ro,data=ordered
117 76 0:57 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs;path=C:\;uid=1000;gid=1000;symlinkroot=/mnt/,mmap,access=client
""".strip()  # noqa: E501  # as it stands there

HIDDEN = r"""
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:30 / /data/inner rw - nfs4 far:/a rw
3 1 8:2 / /data rw - xfs /dev/sda2 rw
4 3 8:3 / /data rw - btrfs /dev/sda3 rw
"""


@pytest.mark.parametrize(
    ("table", "path", "kind"),
    [
        (WORKSTATION, "/srv/store", "ext4"),
        (WORKSTATION, "/home/alice/store", "nfs4"),
        (WORKSTATION, "/home/alice/scratch/store", "xfs"),
        (WORKSTATION, "/home/alice/scratchy", "nfs4"),
        (WORKSTATION, "/mnt/my share/store", "cifs"),
        (WORKSTATION, "/mnt/my", "ext4"),
        (WORKSTATION, "/mnt/usb\\disk/a b", "fuseblk"),
        (WORKSTATION, "/mnt/homes", "ext4"),
        (WORKSTATION, "/home", "nfs4"),
        (WORKSTATION, "/", "ext4"),
        (CONTAINER, "/work", "overlay"),
        (CONTAINER, "/data/store", "ext4"),
        (CONTAINER, "/store", "fakeowner"),
        (CONTAINER, "/nfs/deep/er", "nfs4"),
        (WSL, "/mnt/c/Users", "9p"),
        (WSL, "/home/me", "ext4"),
        (HIDDEN, "/data/inner/x", "btrfs"),  # both mounts below /data are hidden by later ones
    ],
)
def test_the_mount_of_a_path(table: str, path: str, kind: str) -> None:
    found = mount_of(path, table)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("table", ["", "nonsense", "1 2 3\n\n - \n1 x 0:1 / / rw - ext4"])
def test_a_table_that_says_nothing_refuses_nothing(table: str, tmp_path: Path) -> None:
    assert mount_of("/data", table) is None
    check_local(tmp_path, table)


@pytest.mark.parametrize(
    "kind",
    [
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "fuse.ceph-fuse", "fuse.sshfs", "glusterfs",
        "fuse.glusterfs", "lustre", "afs", "beegfs", "gpfs", "fuse.s3fs", "fuse.gcsfuse",
        "fuse.rclone", "fuse.juicefs", "davfs", "fuse.davfs2", "NFS4",
    ],
)  # fmt: skip
def test_what_machines_share_is_network(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.portal", "9p",
        "virtiofs", "fakeowner", "fuse.grpcfuse", "f2fs", "apfs", "ntfs3", "ramfs",
        "fuse.fuse-overlayfs", "vboxsf", "ecryptfs", "bcachefs", "exfat",
    ],
)  # fmt: skip
def test_what_one_machine_has_is_not(kind: str) -> None:
    assert not is_network(kind)


def table_for(path: Path, kind: str) -> str:
    point = str(path).replace("\\", "\\134").replace(" ", "\\040")
    return f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {point} rw - {kind} far:/x rw"


def test_the_refusal_names_the_ways_out(tmp_path: Path) -> None:
    place = tmp_path / "a b"
    (place / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(place / "real")
    for folder in (place / "store", tmp_path / "link" / "store"):
        with pytest.raises(LogUnavailable, match="network file system") as caught:
            check_local(folder, table_for(place, "nfs4"))
        for words in (str(folder), "nfs4, far:/x", "local disk", "mlflow server", "Kafka",
                      "MLFLOW_LEDGER_NETWORK_FOLDER=allow"):  # fmt: skip
            assert words in str(caught.value)
    check_local(tmp_path / "store", table_for(place, "nfs4"))


@pytest.mark.parametrize(
    "kind", ["9p", "virtiofs", "fuse.grpcfuse", "fakeowner", "fuse.unheard-of"]
)
def test_where_it_depends_locks_are_tried(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_local(tmp_path, table_for(tmp_path, kind))  # they hold: it is a local folder in truth
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(module.fcntl, "flock", lambda *_: None)  # a file system that ignores them
    with pytest.raises(LogUnavailable, match="do not hold"):
        check_local(tmp_path, table_for(tmp_path, kind))


def test_a_ledger_looks_once_and_the_setting_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(module, "_TABLE", table)
    table.write_text(table_for(tmp_path, "nfs4"))
    for ask in (lambda ledger: say(ledger, created("r")), Ledger.catch_up, Ledger.rebuild):
        with pytest.raises(LogUnavailable, match="network file system"):
            ask(Ledger(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    allowed = Ledger(tmp_path / "store", Settings(network_folder="allow"))
    say(allowed, created("r"))
    with pytest.raises(LogUnavailable, match="network file system"), Ledger(allowed.folder).read():
        pass
    table.write_text(table_for(tmp_path, "ext4"))
    looked = Ledger(allowed.folder)
    say(looked, created("r2"))
    table.write_text(table_for(tmp_path, "nfs4"))
    say(looked, created("r3"))  # once for a process and folder
    looked.close()
    allowed.close()


def test_the_real_table_is_read(tmp_path: Path) -> None:
    Place(tmp_path, Settings()).check()
    found = mount_of(str(tmp_path), Path("/proc/self/mountinfo").read_text())
    assert found is not None
    assert not is_network(found.kind)


def test_a_real_mount_point_with_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "a b\\c#ü"
    folder.mkdir()
    code = (
        "import sys; from mlflow_ledger.bus import mount_of; "
        "print(mount_of(sys.argv[1], open('/proc/self/mountinfo').read()).source)"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs odd "$1" && exec "$2" -c "$3" "$1/store"',
         "sh", str(folder), sys.executable, code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("NOT TESTED: this machine permits no mounts")
    assert done.stdout.strip() == "odd", done.stderr
