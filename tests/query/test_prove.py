"""Proofs: of the events that establish an answer, checked with a public key and nothing else."""

from __future__ import annotations

import base64
import copy as copying
import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import (
    Ledger,
    PublicKey,
    SigningKey,
    Trees,
    read_public_keys,
    redact,
)
from mlflow_ledger.query.address import Unknown
from mlflow_ledger.query.check import Checked, check
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.proof import Proof, ProofUnreadable
from mlflow_ledger.query.prove import Unproved, proof_of
from mlflow_ledger.query.redacting import scope_about
from mlflow_ledger.query.verify import verify
from mlflow_ledger.schemas import (
    ArtifactError,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionStageChanged,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelRenamed,
    RunCreated,
    RunCreatedContent,
    SettingsError,
)

ROOT = Path(__file__).parents[2]
RUN = "b" * 32
MODEL = {"model_uid": "u", "name": "wine"}
VERSION = {**MODEL, "version_uid": "v1", "version": 1}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key, file = SigningKey.new(), tmp_path_factory.mktemp("keys") / "signing.pem"
    file.write_text(key.pem())
    file.with_suffix(".pub").write_text(key.public.pem())
    return file


@pytest.fixture
def ledger(tmp_path: Path, key_file: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "store", Settings(signing_key=key_file))
    content = RunCreatedContent(name="forest", user_id="alice")
    run = RunCreated(run_id=RUN, experiment_id="0", artifact_uri="x", content=content)
    version = ModelVersionCreated(
        **MODEL, version_uid="v1", run_id=RUN, content=ModelVersionCreatedContent(source="s")
    )
    made.write(lambda _: [run])
    made.write(lambda _: [RegisteredModelCreated(**MODEL), version])
    made.write(lambda _: [ModelVersionStageChanged(**VERSION, stage="Production")])
    made.write(lambda _: [RegisteredModelAliasSet(**VERSION, alias="champion")])
    yield made
    made.close()


@pytest.fixture
def keys(key_file: Path) -> list[PublicKey]:
    return read_public_keys(str(key_file.with_suffix(".pub")))


def types(proof: Proof) -> list[str]:
    return [event.attributes["type"] for event in proof.events]


def again(proof: Proof) -> Proof:
    """As it is read from the file that it was written to."""
    return Proof.parse(json.dumps(proof.as_json()))


def test_an_alias_is_proved_by_the_events_that_made_it(
    ledger: Ledger, keys: list[PublicKey]
) -> None:
    proof = again(proof_of(ledger, "models:/wine@champion"))
    assert types(proof) == [
        "RegisteredModelAliasSet", "ModelVersionCreated", "ModelVersionStageChanged", "RunCreated",
    ]  # fmt: skip
    found = check(proof, keys)
    assert found.problems == []
    assert any("alias=champion" in line for line in found.proved)
    assert any("stage=Production" in line for line in found.proved)


@pytest.mark.parametrize("content", [True, False])
def test_contents_may_be_left_out(ledger: Ledger, keys: list[PublicKey], content: bool) -> None:
    proof = again(proof_of(ledger, f"runs:/{RUN}", content=content))
    found = check(proof, keys)
    assert found.holds
    assert ("forest" in str(found.proved)) == content
    assert any("digests only" in line for line in found.not_proved) != content


def test_an_event_is_proved_by_its_position_and_by_its_identity(
    ledger: Ledger, keys: list[PublicKey]
) -> None:
    for stored in ledger.log.rows(1):
        envelope = stored.record.envelope
        for name in (ledger.log.place(stored), f"{envelope.source}/{envelope.id}"):
            found = check(again(proof_of(ledger, name)), keys)
            assert found.problems == [], name


def test_a_version_that_was_renamed_is_still_proved(ledger: Ledger, keys: list[PublicKey]) -> None:
    ledger.write(lambda _: [RegisteredModelRenamed(**MODEL, new_name="port")])
    proof = proof_of(ledger, "models:/port@champion")
    assert "RegisteredModelRenamed" in types(proof)
    assert check(proof, keys).problems == []


def test_a_version_that_nothing_names_has_no_number_to_prove(
    ledger: Ledger, keys: list[PublicKey]
) -> None:
    second = ModelVersionCreated(**MODEL, version_uid="v2", run_id=None)
    ledger.write(lambda _: [second])
    found = check(proof_of(ledger, "models:/wine/2"), keys)
    assert found.problems == []
    assert any("the version's number" in line for line in found.not_proved)


def test_proofs_hold_before_and_after_an_erasure(ledger: Ledger, keys: list[PublicKey]) -> None:
    before = again(proof_of(ledger, f"runs:/{RUN}"))
    redact(ledger, scope_about(ledger, f"runs:/{RUN}"), "asked for")
    assert check(before, keys).problems == []
    after = again(proof_of(ledger, f"runs:/{RUN}"))
    assert check(after, keys).problems == []
    assert "forest" not in str(after.as_json())
    assert again(proof_of(ledger, "models:/wine@champion")).as_json()
    assert verify(ledger, keys=keys).findings == []


def test_a_redacted_event_keeps_its_proof(ledger: Ledger, keys: list[PublicKey]) -> None:
    """What redaction does to a row: the content goes, its digest stays."""
    Trees(ledger).publish()
    before = proof_of(ledger, f"runs:/{RUN}", content=False)
    with closing(sqlite3.connect(ledger.log.path, isolation_level=None)) as db:
        ((seq, content),) = db.execute(
            "SELECT seq, content FROM events JOIN schemas USING (schema_no) "
            "WHERE type = 'RunCreated'"
        )
        digest = hashlib.sha256(content).hexdigest()
        extra = json.dumps({"contentdigest": digest})
        db.execute("UPDATE events SET content = NULL, extra = ? WHERE seq = ?", (extra, seq))
    after = proof_of(ledger, f"runs:/{RUN}")
    assert after.events == before.events
    assert check(after, keys).holds
    assert [f for f in verify(ledger, keys=keys).findings if f.part in ("log", "trees")] == []


def spoilt(document: Any, at: tuple[Any, ...], change: Callable[[Any], Any]) -> Proof:
    document = copying.deepcopy(document)
    place = document
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = change(place[at[-1]])
    return Proof.parse(json.dumps(document))


def flip(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


CHANGES: dict[str, tuple[tuple[Any, ...], Callable[[Any], Any]]] = {
    "another actor": (("events", 0, "header"), lambda s: s.replace('"actor":"', '"actor":"x')),
    "another structure": (("events", 0, "head"), flip),
    "another content": (("events", 1, "content"), flip),
    "another digest": (("events", 0, "content_digest"), lambda _: "00" * 32),
    "another time": (("events", 0, "append_ms"), lambda n: n + 1),
    "a time before time": (("events", 0, "append_ms"), lambda _: -1),
    "another place": (("events", 0, "leaf"), lambda n: n - 1),
    "another path": (("events", 0, "path", 0), flip),
    "a longer path": (("events", 0, "path"), lambda p: [*p, p[0]]),
    "another tree": (("events", 0, "tree"), lambda s: s + "x"),
    "another entity": (("entity",), lambda _: "models:/wine@other"),
    "another model": (("entity",), lambda _: "models:/beer@champion"),
    "another number": (("entity",), lambda _: "models:/wine/2"),
    "a run": (("entity",), lambda _: "runs:/none"),
    "an event": (("entity",), lambda _: "x/1"),
    "another ledger": (("ledger",), lambda s: s + "x"),
    "no event": (("events",), lambda _: []),
    "only the alias": (("events",), lambda e: e[:1]),
    "no checkpoint": (("checkpoints",), lambda _: {}),
    "a changed checkpoint": (
        ("checkpoints",), lambda c: {n: t.replace("\n6\n", "\n8\n") for n, t in c.items()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_does_not_hold(ledger: Ledger, keys: list[PublicKey], change: str) -> None:
    document = proof_of(ledger, "models:/wine@champion").as_json()
    assert check(Proof.parse(json.dumps(document)), keys).holds
    found = check(spoilt(document, *CHANGES[change]), keys)
    assert found.problems


def test_another_key_is_not_believed(ledger: Ledger) -> None:
    found: Checked = check(proof_of(ledger, f"runs:/{RUN}"), [SigningKey.new().public])
    assert "but not by key" in found.problems[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "x"}'])
def test_what_is_no_proof(text: str) -> None:
    with pytest.raises(ProofUnreadable):
        Proof.parse(text)


@pytest.mark.parametrize(
    ("entity", "error"),
    [
        ("models:/wine@none", Unknown),
        ("models:/none/1", Unknown),
        ("models:/wine/7", Unknown),
        ("models:/wine", SettingsError),
        ("experiments:/0", SettingsError),
        ("runs:/none", Unknown),
        ("nonsense", SettingsError),
        ("x/1", Unknown),
        ("v1~other~1", SettingsError),
    ],
)
def test_what_cannot_be_proved(ledger: Ledger, entity: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        proof_of(ledger, entity)
    with pytest.raises(Unknown):
        proof_of(ledger, f"v1~{ledger.ledger_id}~99")


def test_who_cannot_sign_proves_what_was_signed(
    ledger: Ledger, key_file: Path, keys: list[PublicKey]
) -> None:
    reader = Ledger(ledger.folder, Settings(public_key=str(key_file.with_suffix(".pub"))))
    with pytest.raises(Unproved, match=r"nothing of .* was signed yet"):
        proof_of(reader, f"runs:/{RUN}")
    Trees(ledger).publish()
    assert check(proof_of(reader, f"runs:/{RUN}"), keys).holds
    ledger.write(lambda _: [RegisteredModelAliasSet(**VERSION, alias="late")])
    with pytest.raises(Unproved, match="came after the last checkpoint, of 6 events"):
        proof_of(reader, "models:/wine@late")
    tile = ledger.folder / "blobs/trees" / ledger.ledger_id / "tile/0/000.p/6"
    whole = tile.read_bytes()
    tile.write_bytes(bytes(len(whole)))
    with pytest.raises(Unproved, match="is not what was signed"):
        proof_of(reader, f"runs:/{RUN}")
    tile.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        proof_of(reader, f"runs:/{RUN}")
    reader.close()
    stranger = Ledger(ledger.folder, Settings())
    with pytest.raises(SettingsError, match="whose checkpoints"):
        proof_of(stranger, f"runs:/{RUN}")
    stranger.close()


def test_the_commands_and_the_script_agree(
    ledger: Ledger, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_SIGNING_KEY", str(key_file))
    uri, file = f"ledger://{ledger.folder}", tmp_path / "proof.json"
    ledger.close()
    entity, public = "models:/wine@champion", str(key_file.with_suffix(".pub"))
    made = CliRunner().invoke(program, ["prove", uri, entity, "-o", str(file)])
    assert (made.exit_code, made.output) == (0, f"{file}: 4 events of 1 signed trees\n")
    printed = CliRunner().invoke(program, ["prove", uri, entity])
    assert json.loads(printed.output)["events"] == json.loads(file.read_text())["events"]
    checked = CliRunner().invoke(program, ["check", str(file), "--key", public])
    assert checked.exit_code == 0
    assert checked.output.startswith(f"{entity} in ledger {ledger.ledger_id}: the proof holds\n")
    script = [sys.executable, "-I", str(ROOT / "query/proof_check.py"), str(file), public]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == [
        "RegisteredModelAliasSet models:/wine/1", "ModelVersionCreated models:/wine",
        "ModelVersionStageChanged models:/wine/1", f"RunCreated runs:/{RUN}",
    ]  # fmt: skip
    document = json.loads(file.read_text())
    document["events"][0]["append_ms"] += 1
    file.write_text(json.dumps(document))
    checked = CliRunner().invoke(program, ["check", str(file), "--key", public, "--json"])
    assert checked.exit_code == 1
    assert json.loads(checked.output)["holds"] is False
    assert subprocess.run(script, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    "spoilt",
    ["", "{}", '{"events": []}', '{"events": 5}', '{"events": [{"tree": 1}], "checkpoints": {}}'],
)
def test_what_is_no_proof_is_told_in_a_line(spoilt: str, key_file: Path, tmp_path: Path) -> None:
    """By the page that stands on its own, which ends with status 1 and never with a traceback."""
    file, public = tmp_path / "proof.json", str(key_file.with_suffix(".pub"))
    file.write_text(spoilt)
    page = [sys.executable, "-I", str(ROOT / "query/proof_check.py")]
    for words in ([str(file), public], [str(file), "none"], [str(file), str(file)], []):
        done = subprocess.run([*page, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1


def test_checking_needs_no_mlflow() -> None:
    code = "import sys, mlflow_ledger.query.check; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
