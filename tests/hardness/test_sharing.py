"""Users who share a folder: one of them reads, or a group writes, whoever made what first."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import PrivateFolder

from . import works
from .others import NOBODY, Other, Told, as_root

ALICE, BOB, GROUP = 61001, 61002, 61000


@pytest.fixture
def folder(open_path: Path) -> Path:
    """A folder in which a group may make things; whether it hands its group down is the test's."""
    place = open_path / "shared"
    place.mkdir()
    os.chown(place, ALICE, GROUP)
    place.chmod(0o775)
    return place


def users(open_path: Path, umask: int, gid: int = GROUP) -> Iterator[tuple[Other, Other]]:
    made = [
        Other(open_path / name, uid=uid, gid=gid, umask=umask)
        for name, uid in (("alice", ALICE), ("bob", BOB))
    ]
    yield made[0], made[1]
    for user in made:
        user.end()


@pytest.fixture
def group(open_path: Path) -> Iterator[tuple[Other, Other]]:
    yield from users(open_path, 0o002)


@pytest.fixture
def careless(open_path: Path) -> Iterator[tuple[Other, Other]]:
    """Members of the group whose umask would keep each other out."""
    yield from users(open_path, 0o022)


@as_root
def test_what_one_made_another_reads_and_may_not_write(open_path: Path) -> None:
    home = open_path / "home"
    home.mkdir(mode=0o755)
    os.chown(home, ALICE, ALICE)
    alice, bob = Other(open_path / "a", uid=ALICE, gid=ALICE), Other(open_path / "b", uid=BOB)
    store = home / "store"
    alice.does(works.write, store, "r1")
    assert bob.does(works.runs, store) == ["r1"]
    assert bob.does(works.searched, store) == 1
    with pytest.raises(Told, match=r"read-only.*copy the folder"):
        bob.does(works.write, store, "r2")
    alice.does(works.write, store, "r3")
    assert bob.does(works.runs, store) == ["r1", "r3"]
    assert {path.stat().st_uid for path in store.rglob("*")} == {ALICE}
    alice.end()
    bob.end()


@as_root
@pytest.mark.parametrize("users_", ["group", "careless"])
@pytest.mark.parametrize("setgid", [True, False])
def test_a_group_writes_whoever_made_what(
    folder: Path, setgid: bool, users_: str, request: pytest.FixtureRequest
) -> None:
    alice, bob = request.getfixturevalue(users_)
    if setgid:
        folder.chmod(0o2775)
    store, expected = folder / "store", []
    store.mkdir()
    os.chown(store, ALICE, GROUP)
    store.chmod(0o2775 if setgid else 0o775)
    for round_, (one, two) in enumerate([(alice, bob), (bob, alice), (alice, bob)]):
        for number, user in enumerate((one, two, one)):
            name = f"r{round_}-{number}"
            user.does(works.write, store, name)
            expected.append(name)
            assert one.does(works.runs, store) == two.does(works.runs, store) == expected
        assert one.does(works.publish, store)
        two.does(works.rebuild, store)
        two.does(works.write, store, f"r{round_}-x")
        expected.append(f"r{round_}-x")
        assert two.does(works.publish, store)
        assert one.does(works.searched, store) == len(expected)
        for user, data in ((one, b"a"), (two, b"b"), (one, b"c")):
            digest = user.does(works.put, store, data * (round_ + 1))
            for reader in (one, two):
                assert reader.does(works.get, store, digest) == data * (round_ + 1)
        for user in (one, two):
            user.does(works.close, store)
    for path in (store, *store.rglob("*")):
        mode = path.stat().st_mode
        assert path.stat().st_gid == GROUP, path
        assert mode & stat.S_IWGRP, path
        assert not mode & stat.S_IWOTH, path


@as_root
def test_a_killed_writers_files_are_the_groups_too(folder: Path, open_path: Path) -> None:
    alice = Other(open_path / "a", uid=ALICE, gid=GROUP)
    alice.does(works.write, folder, "r1")
    alice.kill()
    assert list(folder.glob("*-wal"))
    bob = Other(open_path / "b", uid=BOB, gid=GROUP)
    bob.does(works.write, folder, "r2")
    assert bob.does(works.runs, folder) == ["r1", "r2"]
    bob.end()


@as_root
def test_what_root_makes_belongs_to_the_folders_owner(open_path: Path) -> None:
    """As in a container that runs as root on a user's folder."""
    home = open_path / "home"
    home.mkdir()
    os.chown(home, ALICE, ALICE)
    root = Other(open_path / "r", uid=0, gid=0)
    store = home / "store"
    root.does(works.write, store, "r1")
    root.does(works.publish, store)
    root.does(works.put, store, b"x")
    alice = Other(open_path / "a", uid=ALICE, gid=ALICE)
    alice.does(works.write, store, "r2")
    alice.does(works.put, store, b"y")
    assert root.does(works.runs, store) == ["r1", "r2"]
    for user in (root, alice):
        user.end()
    assert {path.stat().st_uid for path in store.rglob("*")} == {ALICE}


def test_a_folder_of_ones_own_keeps_the_umask(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.umask(0o077)\n"
        "from pathlib import Path; from tests.hardness import works\n"
        "works.write(Path(sys.argv[1]), 'r'); works.put(Path(sys.argv[1]), b'x')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], check=True)
    found = list((tmp_path / "store").rglob("*"))
    assert found
    assert not any(path.stat().st_mode & 0o077 for path in found)


# --- private folders, whose names anybody can guess


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield tmp_path
    tempfile.tempdir = before


def root_in(scratch: Path) -> Path:
    return scratch / f"mlflow-ledger-{os.geteuid()}"


def test_a_private_folder_is_private(scratch: Path) -> None:
    folder = PrivateFolder()
    assert folder.path.parent == root_in(scratch)
    for path in (folder.path, folder.path.parent):
        assert path.stat().st_mode & 0o077 == 0
    folder.remove()
    assert not folder.path.exists()


@pytest.mark.parametrize("what", ["another's", "open to all", "a link", "a file"])
def test_a_folder_that_somebody_else_put_there_is_not_used(
    scratch: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    root, trap = root_in(scratch), scratch / "trap"
    trap.mkdir()
    if what == "a link":
        root.symlink_to(trap)
    elif what == "a file":
        root.write_text("x")
    else:
        root.mkdir(mode=0o700)
        if what == "open to all":
            root.chmod(0o777)
        elif os.geteuid() == 0:
            os.chown(root, NOBODY, NOBODY)
        else:
            pytest.skip("NOT TESTED: only root can give a folder away")
    with caplog.at_level(logging.WARNING):
        folder = PrivateFolder()
    assert str(root) in caplog.text
    assert folder.path.parent not in (root, trap)
    assert folder.path.stat().st_mode & 0o077 == 0
    assert list(trap.iterdir()) == []
    folder.remove()
    assert not folder.path.parent.exists()
