"""Keys, proofs and checkpoints that are none: told in words, with the path, and what to do next."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import Ledger, SigningKey
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.proof import Proof, ProofUnreadable
from mlflow_ledger.query.prove import proof_of
from mlflow_ledger.schemas import RunCreated

KEY = SigningKey.new()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed ledger, a proof, its key, and files that are nothing of the kind."""
    made = tmp_path_factory.mktemp("files")
    (made / "signing.pem").write_text(KEY.pem())
    (made / "key.pub").write_text(KEY.public.pem())
    (made / "other.pub").write_text(SigningKey.new().public.pem())
    ledger = Ledger(made / "store", Settings(signing_key=made / "signing.pem"))
    run = RunCreated(run_id="r", experiment_id="0", artifact_uri="x")
    ledger.write(lambda _: [run])
    (made / "proof.json").write_text(json.dumps(proof_of(ledger, "runs:/r").as_json()))
    ledger.close()
    (made / "folder").mkdir()
    (made / "empty").touch()
    (made / "bytes").write_bytes(b"\xff\xfe\x00\x1b[31m")
    (made / "list.json").write_text("[]")
    (made / "deep.json").write_text("[" * 100_000)
    (made / "half.json").write_text("{")
    (made / "closed").touch()
    (made / "closed").chmod(0)
    return made


ODD = (
    "missing",
    "missing/below",
    "closed",
    "empty",
    "bytes",
    "list.json",
    "deep.json",
    "half.json",
)


def told(*arguments: object) -> tuple[int, str]:
    """Status and output of the program; anything but an orderly end is a failure."""
    found = CliRunner().invoke(program, [str(argument) for argument in arguments])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert "[Errno" not in found.output
    assert "Traceback" not in found.output
    assert found.output.replace("\n", "").isprintable()
    return found.exit_code, found.output


def skip_where_all_is_open(name: str) -> None:
    if name == "closed" and os.geteuid() == 0:
        pytest.skip("root may read every file")


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_proof(folder: Path, name: str) -> None:
    skip_where_all_is_open(name)
    status, text = told("check", folder / name, "--key", folder / "key.pub")
    assert status == 1
    assert str(folder / name) in text
    assert "holds no proof: " in text or "cannot read the proof" in text


@pytest.mark.parametrize("command", ["check", "verify"])
@pytest.mark.parametrize("name", [*ODD, "folder", "signing.pem", "a+b+c", "a+b+" + "c" * 300])
def test_what_is_no_public_key(folder: Path, name: str, command: str) -> None:
    skip_where_all_is_open(name)
    key = name if "+" in name else folder / name
    of = folder / "proof.json" if command == "check" else f"ledger:{folder / 'store'}"
    status, text = told(command, of, "--key", key)
    assert status == 1
    assert name[:100] in text
    assert "no public Ed25519 key" in text or "cannot read the key" in text


@pytest.mark.parametrize("name", [*ODD, "proof.json"])
def test_what_is_no_checkpoint(folder: Path, name: str) -> None:
    skip_where_all_is_open(name)
    uri = f"ledger:{folder / 'store'}"
    status, text = told("verify", uri, "--key", folder / "key.pub", "--checkpoint", folder / name)
    assert status == 1
    assert str(folder / name) in text
    assert "cannot read the checkpoint" in text or "it is no checkpoint" in text


@pytest.mark.parametrize("command", ["check", "verify"])
def test_a_folder_is_a_mistake_in_the_command_line(folder: Path, command: str) -> None:
    odd = (folder / "folder", "--key", folder / "key.pub")
    if command == "verify":
        odd = (f"ledger:{folder / 'store'}", "--checkpoint", folder / "folder")
    status, text = told(command, *odd)
    assert status == 2
    assert "is a directory" in text


def test_another_key_has_not_signed_it(folder: Path) -> None:
    status, text = told("check", folder / "proof.json", "--key", folder / "other.pub")
    assert status == 1
    assert "the proof DOES NOT HOLD" in text
    assert "but not by key " in text


def test_a_proof_that_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_SIGNING_KEY", str(folder / "signing.pem"))
    uri = f"ledger:{shutil.copytree(folder / 'store', tmp_path / 'store')}"
    status, text = told("prove", uri, "runs:/r", "-o", tmp_path / "missing" / "proof.json")
    assert status == 1
    assert f"cannot write the proof '{tmp_path / 'missing' / 'proof.json'}'" in text
    assert told("prove", uri, "runs:/r", "-o", tmp_path)[0] == 2


@pytest.mark.parametrize(
    "entity",
    [
        "", "runs:/", "runs:/none", "models:/", "models:/m", "models:/m@", "models:/m/x",
        "models:/m/99999999999999999999", "models:/m@a", "v1~", "v1~x~1", "v1~x", "x/1", "x/", "/",
        "x/99999999999999999999999", "traces:/t", "\x1b[31m", "v1~{}~99999999999999999999",
        "v1~{}~0",
        "v1~{}~1x", "v1~{}~-1", "v1~{}~c1",
    ],
)  # fmt: skip
def test_what_cannot_be_proved(folder: Path, entity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_SIGNING_KEY", str(folder / "signing.pem"))
    ledger = Ledger(folder / "store", Settings())
    status, text = told("prove", f"ledger:{folder / 'store'}", entity.format(ledger.ledger_id))
    ledger.close()
    assert status == 1
    assert text.startswith("Error: ")


@pytest.mark.parametrize("name", ["missing/key.pem", "key.pem"])
def test_a_key_is_made_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    (tmp_path / "key.pem.pub").write_text("another")
    status, text = told("keygen", tmp_path / name)
    assert status == 1
    assert f"{tmp_path / name}.pub" in text
    assert not (tmp_path / "key.pem").exists()
    assert (tmp_path / "key.pem.pub").read_text() == "another"


def test_no_half_of_a_key_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("another")
    status, text = told("keygen", tmp_path / "key.pem")
    assert status == 1
    assert "is there already" in text
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]
    assert told("keygen", tmp_path)[0] == 2


ODD_VALUES: tuple[Any, ...] = (
    None, 0, -1, 1e400, float("nan"), 2**70, "", "x", "\x1b", [], [1], {}, {"a": 1}, True,
)  # fmt: skip


def test_whatever_a_field_of_a_proof_holds(folder: Path) -> None:
    """A proof is read by whoever gets it: no document may do more than not hold."""
    from mlflow_ledger.query.check import check

    whole = json.loads((folder / "proof.json").read_text())
    (event,) = whole["events"]
    for holder in (whole, event, whole["checkpoints"]):
        for name, right in list(holder.items()):
            for value in ODD_VALUES:
                holder[name] = value
                try:
                    found = check(Proof.parse(json.dumps(whole)), [KEY.public])
                except ProofUnreadable:
                    continue
                same = value is True and right == 1
                assert same or not found.holds or name in ("role", "position", "content"), name
            holder[name] = right
    assert check(Proof.parse(json.dumps(whole)), [KEY.public]).holds
