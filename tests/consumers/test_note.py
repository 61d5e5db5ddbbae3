"""Signed notes as C2SP has them, and checkpoints in them."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from mlflow_ledger.consumers.checkpoint import Checkpoint, origin_of
from mlflow_ledger.consumers.note import (
    NoteInvalid,
    PublicKey,
    SigningKey,
    open_note,
    read_public_keys,
    read_signing_key,
    sign_note,
)
from mlflow_ledger.schemas import SettingsError

# A note, and the keys that signed it, from the documentation of golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETERS_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETERS_NOTE = (
    f"{PETERS_TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSN"
    "XgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_of_the_go_library_is_read_and_made(tmp_path: Path) -> None:
    (key,) = read_public_keys(PETER)
    assert open_note(PETERS_NOTE, [key]) == (PETERS_TEXT, key)
    file = tmp_path / "key"
    file.write_text(PETERS_PRIVATE + "\n")
    private = read_signing_key(file)
    assert private.name == "PeterNeumann"
    assert private.public.named("PeterNeumann") == PETER
    assert sign_note(PETERS_TEXT, private, "another") == PETERS_NOTE


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.new()


def test_a_key_in_pem_signs_under_any_name(key: SigningKey, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(key.pem())
    (tmp_path / "key.pub").write_text(key.public.pem())
    (public,) = read_public_keys(str(tmp_path / "key.pub"))
    assert public == key.public
    note = sign_note("hello\n", read_signing_key(tmp_path / "key.pem"), "a.example/log")
    assert open_note(note, [public])[0] == "hello\n"
    for name, right in (("a.example/log", True), ("b.example/log", False)):
        (named,) = read_public_keys(public.named(name))
        if right:
            assert open_note(note, [named])[0] == "hello\n"
        else:
            with pytest.raises(NoteInvalid, match=r"signed as a\.example/log, but not by key"):
                open_note(note, [named])


def test_keys_of_openssl_are_read(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    for arguments in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
    assert read_public_keys(str(public)) == [read_signing_key(private).public]


def test_signatures_of_others_do_not_count(key: SigningKey) -> None:
    note = sign_note("hello\n", SigningKey.new(), "other")
    with pytest.raises(NoteInvalid, match="but not by key"):
        open_note(note, [key.public])
    with pytest.raises(NoteInvalid, match="any key that was given"):
        open_note(note, [])
    both = note + sign_note("hello\n", key, "mine").rpartition("\n\n")[2]
    assert open_note(both, [key.public]) == ("hello\n", key.public)


def test_every_byte_of_a_note_counts(key: SigningKey) -> None:
    note = sign_note("hello\n", key, "mine").encode()
    for at in range(len(note)):
        spoilt = bytearray(note)
        spoilt[at] ^= 1
        with pytest.raises((NoteInvalid, UnicodeDecodeError)):
            open_note(spoilt.decode(), [key.public])


@pytest.mark.parametrize("text", ["", "a\n", "a\n\n", "a\n\nb\n", "a\n\n— x\n", "a\n\n— x ??\n"])
def test_what_is_no_note(text: str, key: SigningKey) -> None:
    with pytest.raises(NoteInvalid, match="no signed note"):
        open_note(text, [key.public])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        PETER.replace("c74", "c75"),
        "a+b",
        "a+00000000+AAAA",
        "-----BEGIN PUBLIC KEY",
    ],
)
def test_what_is_no_public_key(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(SettingsError, match="is no public Ed25519 key"):
        read_public_keys(str(file))
    with pytest.raises(SettingsError, match=r"holds no private Ed25519 key; `mlflow-ledger keygen"):
        read_signing_key(file)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the key"):
        read_public_keys(str(tmp_path / "none"))
    (tmp_path / "odd").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="it is no text"):
        read_signing_key(tmp_path / "odd")


def test_a_checkpoint_says_what_it_was_given(key: SigningKey) -> None:
    made = Checkpoint("mlflow-ledger/x", 3, b"r" * 32, "v1~x~4", "2026-03-03T12:00:00.000Z")
    note = made.signed(key, "mlflow-ledger/x")
    root = base64.b64encode(b"r" * 32).decode()
    assert note.startswith(f"mlflow-ledger/x\n3\n{root}\nposition v1~x~4\ntime 2026-")
    assert Checkpoint.opened(note, [key.public]) == made
    bare = Checkpoint("elsewhere.example/log", 0, b"r" * 32)
    assert Checkpoint.opened(bare.signed(key, "n"), [key.public]) == bare


@pytest.mark.parametrize(
    "text", ["a\n", "a\n1\n", "a\n01\nAAAA\n", "a\n1\nAAAA\n", "a\n-1\nAA==\n"]
)
def test_what_is_no_checkpoint(text: str, key: SigningKey) -> None:
    with pytest.raises(NoteInvalid, match="no checkpoint"):
        Checkpoint.opened(sign_note(text, key, "n"), [key.public])


def test_each_partition_has_a_tree_of_its_own_name() -> None:
    assert origin_of("x") == "mlflow-ledger/x"
    assert origin_of("x", ("runs", 3)) == "mlflow-ledger/x/runs/3"
    assert PublicKey(bytes(32)).named("n").startswith("n+")
