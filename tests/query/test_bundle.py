"""The story of a version, and its bundle: whole, the same each time, checked without us."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import Ledger, open_ledger
from mlflow_ledger.query.bundle_check import check
from mlflow_ledger.query.bundling import NotWritten, bundle
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.lineage import lineage
from mlflow_ledger.query.story import TooLong, story_of
from mlflow_ledger.schemas import (
    Point,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    metric_columns,
)

from .family_tree import COMMIT, DISTIL, REQUIREMENTS, STUDENT, TRACE, tell
from .story import MODEL_FILES, PARENT, RUN, Story

VERSION = "models:/vino/1"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(tmp_path_factory.mktemp("family") / "store")
    tell(ledger)
    points = [Point("loss", n / 7, n, n) for n in range(500)]
    for first in range(0, 500, 5):
        some = RunDataLoggedContent(**metric_columns(points[first : first + 5]))
        ledger.write(lambda _, some=some: [RunDataLogged(run_id=DISTIL, content=some)])  # type: ignore[misc]  # mypy: lambda default
    odd = [Point("odd", float("nan"), 1, 0), Point("odd", 0.5, 1, 1)]
    content = RunDataLoggedContent(**metric_columns(odd))
    ledger.write(lambda _: [RunDataLogged(run_id=DISTIL, content=content)])
    return ledger


@pytest.fixture(scope="module")
def made(family: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("made") / "cellar.zip"
    bundle(story_of(family, "models:/cellar/1"), target)
    return target


def test_making_a_bundle_tells_how_far_it_is(family: Ledger, tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    story = story_of(family, "models:/cellar/1")
    bundle(
        story,
        tmp_path / "x.zip",
        lambda what, done, of: told.setdefault(what, []).append((done, of)),
    )
    assert set(told) == {"writing events", "telling the story, events", "packing files"}
    for steps in told.values():
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]
    assert told["writing events"][-1] == (len(story.places), len(story.places))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(made) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a bundle's own program in a Python that has nothing but its standard library."""
    command = [sys.executable, "-I", "-S", str(folder / "check.py")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def document(made: Path, name: str) -> Any:
    with zipfile.ZipFile(made) as archive:
        return json.loads(archive.read(name))


def lines(made: Path, name: str) -> list[Any]:
    with zipfile.ZipFile(made) as archive:
        return [json.loads(line) for line in archive.read(name).splitlines()]


def test_the_story_is_told_from_the_first_event_to_the_last(story: Story) -> None:
    rows = list(story_of(story.ledger, VERSION).rows())
    told = [(row.chapter, row.action, row.actor) for row in rows if row.actor in ("alice", "bob")]
    assert [action for _, action, _ in told] == [
        "RunDataLogged",
        "ExperimentDeleted",
        "ExperimentRestored",
        "RegisteredModelCreated",
        "ModelVersionCreated",
        "ModelVersionStageChanged",
        "ModelVersionStageChanged",
        "RegisteredModelAliasSet",
        "ModelVersionTagSet",
        "ModelVersionUpdated",
        "ModelVersionStageChanged",
        "RegisteredModelAliasSet",
        "RegisteredModelRenamed",
        "ModelVersionDeleted",
        "ModelVersionStageChanged",
    ]
    assert (rows[0].action, rows[0].entity) == ("ExperimentCreated", "experiments:/100200300")
    assert {f"runs:/{PARENT}", f"runs:/{RUN}"} < {row.entity for row in rows}
    refused = [row for row in rows if row.verdict == "rejected"]
    assert [row.action for row in refused] == ["RunDataLogged", "ModelVersionStageChanged"]
    assert all(row.message for row in refused)
    (files,) = (row for row in rows if row.action == "ArtifactLogged" and row.events == 3)
    assert set(files.detail["files"]) == {"plot.png", "drafts/draft.txt"}
    positions = [int(row.position.rsplit("~", 1)[1]) for row in rows]
    assert positions == sorted(positions)


def test_thousands_of_points_are_one_row(family: Ledger) -> None:
    rows = list(story_of(family, "models:/cellar/1").rows())
    (row,) = (row for row in rows if row.events == 101)
    assert row.detail["points"] == 502
    assert row.detail["metrics"] == {"loss": 499 / 7, "odd": 0.5}
    evaluation = {row.action for row in rows if row.chapter == "evaluation"}
    assert {"TraceStarted", "AssessmentCreated", "RunDataLogged", "InputsLogged"} < evaluation


def test_a_bundle_is_checked_without_the_package(folder: Path) -> None:
    done = checked(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hold together" in done.stdout


def test_the_same_story_gives_the_same_bytes(family: Ledger, made: Path, tmp_path: Path) -> None:
    position = story_of(family, "models:/cellar/1").position
    again = bundle(story_of(family, "models:/cellar/1"), tmp_path / "again.zip")
    assert again.path.read_bytes() == made.read_bytes()
    family.write(lambda _: [RunCreated(run_id="f" * 32, experiment_id="7", artifact_uri="x")])
    later = bundle(story_of(family, "models:/cellar/1"), tmp_path / "later.zip")
    assert story_of(family, "models:/cellar/1").position != position
    assert (later.digest != again.digest, later.events) == (True, again.events)


def test_a_flipped_byte_of_any_file_is_found(folder: Path) -> None:
    names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(names) > 20
    for path in names:
        data = path.read_bytes()
        for at in {0, len(data) // 3, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert check(folder), (path, at)
        path.write_bytes(data)
    assert check(folder) == []


def test_every_flipped_byte_of_the_list_of_digests_is_found(folder: Path) -> None:
    path = folder / "SHA256SUMS"
    data = path.read_bytes()
    for at in range(0, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
        assert check(folder), at


def resealed(folder: Path) -> None:
    """Write the lists of digests anew, as somebody would who covers a change."""
    import hashlib

    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        entry["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    names = [*manifest["files"], "manifest.json"]
    digests = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    text = "".join(f"{digests[name]}  {name}\n" for name in sorted(names))
    (folder / "SHA256SUMS").write_text(text)


def of_lines(change: Callable[[list[Any]], None]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        rows = [json.loads(line) for line in data.splitlines()]
        change(rows)
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return changed


def of_metrics(rows: list[Any]) -> None:
    row = next(r for r in rows if (r["data"].get("content") or {}).get("metrics"))
    row["data"]["content"]["metrics"][0]["value"] = 0.99


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("events.jsonl", of_lines(lambda rows: rows[3].update(actor="mallory")), "another actor"),
        ("events.jsonl", of_lines(of_metrics), "other metrics"),
        ("events.jsonl", of_lines(lambda rows: rows.pop()), "no event for the record"),
        (
            "records.jsonl",
            of_lines(lambda rows: rows[2].update(head=rows[1]["head"])),
            "digest that it says",
        ),
        (
            "provenance.intoto.json",
            lambda data: data.replace(b'"sha256": "', b'"sha256": "00', 1),
            "no event logs",
        ),
    ],
)
def test_a_change_that_was_covered_up_is_found(
    folder: Path, name: str, change: Callable[[bytes], bytes], said: str
) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    resealed(folder)
    done = checked(folder)
    assert done.returncode == 1
    assert said in done.stdout


def test_files_too_many_or_too_few_are_found(folder: Path) -> None:
    (folder / "extra.txt").write_text("x")
    (folder / "story.txt").unlink()
    assert check(folder) == ["extra.txt is not in SHA256SUMS", "story.txt is missing"]


def test_a_cut_zip_is_found(made: Path, tmp_path: Path) -> None:
    assert check(made) == []
    (tmp_path / "cut.zip").write_bytes(made.read_bytes()[:-100])
    assert "cannot be read" in check(tmp_path / "cut.zip")[0]


def test_the_bundle_holds_events_schemas_and_environment(made: Path) -> None:
    events, records = lines(made, "events.jsonl"), lines(made, "records.jsonl")
    manifest = document(made, "manifest.json")
    assert len(events) == len(records) == manifest["events"]
    assert {f"traces:/{TRACE}", f"runs:/{DISTIL}"} < {event["subject"] for event in events}
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        (file,) = (name for name in names if name.startswith("environment/"))
        assert archive.read(file) == REQUIREMENTS
    schemas = {name.split("/")[1].split(".")[0] for name in names if name.startswith("schemas/")}
    assert schemas == {event["type"] for event in events}
    assert names == sorted(names)
    assert set(manifest["files"]) == set(names) - {"manifest.json", "SHA256SUMS"}


def test_the_statement_is_what_in_toto_and_slsa_ask_for(made: Path) -> None:
    statement = document(made, "provenance.intoto.json")
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    (subject,) = statement["subject"]
    assert subject["name"].endswith(f"{STUDENT}/artifacts/requirements.txt")
    assert len(bytes.fromhex(subject["digest"]["sha256"])) == 32
    definition = statement["predicate"]["buildDefinition"]
    assert {"buildType", "externalParameters", "resolvedDependencies"} <= set(definition)
    for dependency in definition["resolvedDependencies"]:
        assert {"uri", "digest", "content"} & set(dependency)
        assert all(isinstance(value, str) for value in dependency.get("digest", {}).values())
    digests = [d.get("digest", {}) for d in definition["resolvedDependencies"]]
    assert {"gitCommit": COMMIT} in digests
    assert {"mlflow": "d-prompts"} in digests
    details = statement["predicate"]["runDetails"]
    assert ":" in details["builder"]["id"]
    assert details["metadata"]["invocationId"] == DISTIL
    assert details["metadata"]["startedOn"].endswith("Z")


def test_the_story_of_a_deleted_version_is_bundled_too(story: Story, tmp_path: Path) -> None:
    done = bundle(story_of(story.ledger, VERSION), tmp_path / "vino.zip")
    assert check(done.path) == []
    subjects = document(done.path, "provenance.intoto.json")["subject"]
    assert [subject["name"] for subject in subjects] == [f"{MODEL_FILES}/model.pkl"]
    verdicts = {event["verdict"] for event in lines(done.path, "events.jsonl")}
    assert verdicts == {"accepted", "rejected"}


def test_what_is_too_long_or_cannot_be_written_is_said(
    family: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotWritten, match="No such file"):
        bundle(story_of(family, "models:/cellar/1"), tmp_path / "none" / "b.zip")
    monkeypatch.setattr("mlflow_ledger.query.story.MOST_EVENTS", 3)
    with pytest.raises(TooLong, match="more than 3 events"):
        story_of(family, "models:/cellar/1")


def test_the_command_tells_the_story_and_writes_the_bundle(family: Ledger, tmp_path: Path) -> None:
    def asked(*more: str) -> str:
        arguments = ["replay", f"ledger://{family.folder}", "models:/shop@live", *more]
        result = CliRunner().invoke(program, arguments, prog_name="mlflow-ledger")
        assert result.exit_code == 0, result.output
        return result.output

    text = asked()
    assert "RunDataLogged (101 events)" in text
    rows = [json.loads(line) for line in asked("--json").splitlines()]
    assert len(rows) == len(text.splitlines())
    assert "ModelVersionCreated" in {row["action"] for row in rows}
    target = tmp_path / "b.zip"
    told = json.loads(asked("--bundle", str(target), "--json"))
    assert check(target) == []
    assert told["events"] == len(lines(target, "events.jsonl"))
    assert told["digest"] in asked("--bundle", str(target))


def test_a_past_moment_has_a_story_of_its_own(family: Ledger, tmp_path: Path) -> None:
    rows = list(story_of(family, "models:/cellar/1").rows())
    (made,) = (row for row in rows if row.action == "ModelVersionStageChanged")
    past = open_ledger(f"ledger://{family.folder}?as_of={made.position}")
    told = list(story_of(past, "models:/cellar/1").rows())
    assert [row.action for row in told][-1] == "ModelVersionCreated"
    done = bundle(story_of(past, "models:/cellar/1"), tmp_path / "past.zip")
    assert check(done.path) == []
    assert lineage(past, "models:/cellar/1").version.stage == "None"
    assert document(done.path, "manifest.json")["position"] == made.position


def test_a_signed_ledger_gives_a_proof_along(tmp_path: Path) -> None:
    key = tmp_path / "signing.pem"
    asked = CliRunner().invoke(program, ["keygen", str(key)])
    assert asked.exit_code == 0, asked.output
    ledger = Ledger(tmp_path / "store", Settings(signing_key=key))
    tell(ledger)
    done = bundle(story_of(ledger, "models:/cellar/1"), tmp_path / "signed.zip")
    again = bundle(story_of(ledger, "models:/cellar/1"), tmp_path / "again.zip")
    assert done.unproved is None
    assert done.path.read_bytes() == again.path.read_bytes()
    assert check(done.path) == []
    proof = tmp_path / "proof.json"
    with zipfile.ZipFile(done.path) as archive:
        proof.write_bytes(archive.read("proofs/version.json"))
        script = Path(archive.extract("proofs/proof_check.py", tmp_path))
    alone = [sys.executable, "-I", str(script), str(proof), f"{key}.pub"]
    printed = subprocess.run(alone, capture_output=True, text=True, check=True).stdout
    assert "ModelVersionCreated models:/cellar" in printed
    arguments = ["check", str(proof), "--key", f"{key}.pub"]
    checked_proof = CliRunner().invoke(program, arguments)
    assert checked_proof.exit_code == 0, checked_proof.output
    ledger.close()


def test_a_ledger_that_nobody_signs_gives_none(made: Path, family: Ledger, tmp_path: Path) -> None:
    done = bundle(story_of(family, "models:/cellar/1"), tmp_path / "unsigned.zip")
    assert done.unproved
    with zipfile.ZipFile(made) as archive:
        assert not [name for name in archive.namelist() if name.startswith("proofs/")]
