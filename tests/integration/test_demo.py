"""The demo, as `make demo` runs it; what it prints is checked line by line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import zipfile
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from .conftest import Once
from .programs import BIN, COMMAND, ROOT, run, unknown

MODEL = "wine-classifier"
STORE = "ledger:./demo-store"
RUNS = 12


@dataclass(frozen=True)
class Demo:
    """What the demo's commands printed, by the first word of each."""

    folder: Path
    printed: dict[str, str]
    complaints: dict[str, str]

    def ask(self, *words: str) -> Any:
        """The answer of `mlflow-ledger` as a document."""
        return json.loads(run(self.folder, COMMAND, *words, "--json").stdout)

    def lines(self, *words: str) -> list[Any]:
        """The answer of `mlflow-ledger` as one document a line."""
        printed = run(self.folder, COMMAND, *words, "--json").stdout
        return [json.loads(line) for line in printed.splitlines()]


def recipe() -> list[str]:
    """The commands of the target `demo`, its variables filled in, for any folder."""
    text = (ROOT / "Makefile").read_text("utf-8")
    variables = dict(re.findall(r"^([A-Z]+) +:= (.*)$", text, re.MULTILINE))
    variables["BIN"] = str(BIN)
    [body] = re.findall(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    for name, value in variables.items():
        body = body.replace(f"$({name})", value)
    body = body.replace(" examples/", f" {ROOT}/examples/").replace("$$", "$")
    return [line.strip() for line in body.splitlines()]


@pytest.fixture(scope="module")
def demo(once: Once) -> Demo:
    def make(folder: Path) -> Any:
        printed, complaints = {}, {}
        for command in recipe():
            done = run(folder, "bash", "-c", command)
            words = [word for word in shlex.split(command) if "=" not in word]
            name = words[1] if "mlflow-ledger" in words[0] else Path(words[0]).name
            printed[name], complaints[name] = done.stdout, done.stderr
        return printed, complaints

    folder, (printed, complaints) = once("demo", make)
    return Demo(folder, printed, complaints)


def test_the_recipe_is_what_the_readme_promises(demo: Demo) -> None:
    assert list(demo.printed) == ["rm", "python", "sql", "lineage", "replay", "audit"]
    assert {path.name for path in demo.folder.iterdir()} == {".scratch", "demo-store"}


def test_autologging_fails_nowhere(demo: Demo) -> None:
    complaints = {name: unknown(text) for name, text in demo.complaints.items()}
    assert complaints == {name: [] for name in demo.printed}
    assert "exception during autologging" not in demo.complaints["python"]


def test_the_sweeps_get_better(demo: Demo) -> None:
    said = demo.printed["python"]
    assert "wine: 178 rows, 13 columns, 3 classes" in said
    losses = [float(x) for x in re.findall(r"sweep: best of 6 is .* \(test_log_loss (\S+)\)", said)]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    for version in "12":
        assert (
            f"registered as {MODEL} version {version}, stage Production, alias 'champion'" in said
        )
    assert said.count(f"models:/{MODEL}@champion gets ") == 2


def test_the_versions_are_compared(demo: Demo) -> None:
    rows = re.findall(
        r"^([12]) +(\w+) +(\S+) +(0\.\d{4}|1\.0000)$", demo.printed["python"], re.MULTILINE
    )
    assert [row[:3] for row in rows] == [("1", "Archived", "-"), ("2", "Production", "champion")]
    assert all(float(row[3]) > 0.9 for row in rows)


def test_the_leaderboards_of_search_and_sql_are_the_same(demo: Demo) -> None:
    _, _, board = demo.printed["python"].partition("leaderboard (search_runs)\n")
    searched = [line.rsplit(maxsplit=2) for line in board.splitlines()[1:]]
    assert len(searched) == RUNS
    losses = [float(loss) for _, loss, _ in searched]
    assert losses == sorted(losses)
    asked = demo.ask("sql", STORE, (ROOT / "examples" / "leaderboard.sql").read_text("utf-8"))
    assert [(row["run_name"], f"{row['test_log_loss']:.4f}") for row in asked] == [
        (name.strip(), loss) for name, loss, _ in searched[:5]
    ]
    for row in asked:
        assert row["run_name"].startswith(row["family"])
        assert row["run_name"] in demo.printed["sql"]


def test_lineage_goes_from_the_data_to_the_promotion(demo: Demo) -> None:
    found = demo.ask("lineage", STORE, f"models:/{MODEL}/2")
    learnt_from = [d for d in found["datasets"] if d["tags"] == {"mlflow.data.context": "train"}]
    assert len(learnt_from) == 1
    assert re.fullmatch(r"[0-9a-f]{8}", learnt_from[0]["digest"])

    ran = found["run"]
    assert f"best of 6 is '{ran['name']}'" in demo.printed["python"]
    assert (ran["status"], ran["parent_name"]) == ("FINISHED", "second sweep")
    assert Path(ran["source"]).name == "sweep.py"
    assert ran["user"]
    assert {"test_log_loss", "test_accuracy", "training_score"} <= set(ran["metrics"])
    assert ran["params"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        assert re.fullmatch(r"[0-9a-f]{40}", ran["commit"])

    assert found["logged_model"]["status"] == "READY"
    assert found["logged_model"]["source_run_id"] == ran["run_id"]
    version = found["version"]
    assert (version["stage"], version["aliases"]) == ("Production", ["champion"])
    assert (version["description"], version["tags"]) == (
        "The best of the second sweep.",
        {"validated": "yes"},
    )
    assert [(step["what"], step["before"], step["after"]) for step in found["history"]] == [
        ("created", None, None),
        ("stage", "None", "Staging"),
        ("stage", "Staging", "Production"),
        ("alias", "1", "2"),
    ]
    files = {Path(file["path"]).name: file["digest"] for file in found["artifacts"]}
    assert {"MLmodel", "model.skops", "input_example.json"} <= set(files)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in files.values())

    said = demo.printed["lineage"]
    for part in (
        learnt_from[0]["digest"], ran["run_id"], ran["name"], found["logged_model"]["model_id"],
        "stage Production @champion", "None → Staging", "version 1 → version 2", *files.values(),
    ):  # fmt: skip
        assert part in said


def test_the_data_of_the_sweep_leads_to_what_is_promoted(demo: Demo) -> None:
    found = demo.ask("lineage", STORE, f"models:/{MODEL}/Production")
    (parent,) = found["parents"]
    (swept,) = parent["datasets"]
    assert (parent["run"]["name"], swept["name"]) == ("second sweep", "wine")
    (needs,) = (f for f in found["environment"] if f["path"].endswith("requirements.txt"))
    assert "scikit-learn==" in needs["text"]
    touched = demo.ask("lineage", STORE, f"datasets:/{swept['digest']}")["graph"]["nodes"]
    assert len([node for node in touched if node["kind"] == "run"]) == RUNS + 2
    uris = {node["uri"] for node in touched}
    assert {f"models:/{MODEL}@champion", f"models:/{MODEL}/Production"} < uris


def test_the_story_is_told_and_checked_without_the_package(demo: Demo) -> None:
    told = [row["chapter"] for row in demo.lines("replay", STORE, f"models:/{MODEL}/2")]
    for chapter in ("run", "data", "results", "files", "logged model", "registration"):
        assert chapter in told[: told.index("promotion")]
    assert len(told) == len(demo.printed["replay"].splitlines())
    scratch = demo.folder / ".scratch"
    bundle = scratch / "wine.zip"
    run(demo.folder, COMMAND, "replay", STORE, f"models:/{MODEL}/2", "--bundle", str(bundle))
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(scratch / "wine")
    done = run(scratch, sys.executable, "-I", "-S", str(scratch / "wine" / "check.py"))
    assert "hold together" in done.stdout


def test_the_audit_names_who_changed_the_stages(demo: Demo) -> None:
    entries = demo.lines("audit", STORE, f"models:/{MODEL}/2")
    assert [entry["action"] for entry in entries] == [
        "ModelVersionCreated",
        "ModelVersionUpdated",
        "ModelVersionStageChanged",
        "ModelVersionTagSet",
        "ModelVersionStageChanged",
        "RegisteredModelAliasSet",
    ]
    assert {(entry["actor"], entry["actorkind"]) for entry in entries} == {(getuser(), "os")}
    assert {entry["verdict"] for entry in entries} == {"accepted"}
    assert [e["detail"]["stage"] for e in entries if "stage" in e["detail"]] == [
        "Staging",
        "Production",
    ]
    said = demo.printed["audit"]
    for part in ("stage None → Staging", "stage Staging → Production", getuser()):
        assert part in said


def test_the_demos_ledger_holds(demo: Demo) -> None:
    found = demo.ask("verify", STORE)
    assert (found["holds"], found["findings"]) == (True, [])
    assert found["tables"]["model_versions"] == 2
