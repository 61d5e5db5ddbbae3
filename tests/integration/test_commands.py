"""Every subcommand of `mlflow experiments`, `runs`, `artifacts`, and `gc`: as on MLflow's store.

Each scene is played on a ledger and on MLflow's own SQLite store; what is printed, and what a
command ends with, must be equal once ids, times and places have names.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from click import Group
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlExperiment

from .programs import MLFLOW, run, unknown


@pytest.fixture(scope="module")
def program() -> Group:
    """MLflow's program; importing it warns of what MLflow does itself, and reads its defaults."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        from mlflow.cli import cli

        return cli


@dataclass
class Stage:
    """A store on which a scene is played, and all that its commands printed."""

    folder: Path
    uri: str
    program: Group
    names: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri, self.uri)

    def play(self, *words: str) -> str:
        """Give a command; what it printed is kept for the comparison, and returned."""
        done = CliRunner().invoke(self.program, words)
        end = f"exit {done.exit_code}"
        if isinstance(done.exception, MlflowException):
            end += f" {done.exception.error_code}: {done.exception.message}"
        elif done.exception is not None:
            end += f" {done.exception!r}"
        self.told.append(f"$ {' '.join(words)}\n{_ordered(done.output)}{end}")
        return done.output

    def named(self, name: str, given: str) -> str:
        """Give an id a name that it has in the comparison."""
        self.names[given] = name
        return given

    def transcript(self) -> list[str]:
        """What was printed, in words that are the same on any store."""
        return [self._plain(text) for text in self.told]

    def _plain(self, text: str) -> str:
        text = text.replace(self.uri, "<store>")
        for given, name in sorted(self.names.items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"(?<!\w){re.escape(given)}(?!\w)", f"<{name}>", text)
        for pattern, name in PLAIN.items():
            text = re.sub(pattern, name, text)
        text = text.replace(str(self.folder), "<folder>")
        lines = [line.rstrip() for line in text.splitlines()]
        # What is collected is told as the database happens to give it.
        return "\n".join(sorted(lines) if lines[0].startswith("$ gc") else lines)


SOURCE = Path(__file__).read_text("utf-8")
PLAIN = {
    r".* INFO mlflow.store.db.utils: .*\n": "",  # a database is made; a ledger is silent about it
    r"(ledger-artifacts://\w+|(file://)?/[^\s\"',]*?/mlruns)(?=/)": "<root>",
    r"\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00| UTC)?": "<time>",
    r"\b1[5-9]\d{11}\b": "<ms>",
    r" Error: \(sqlite3\.IntegrityError\)[\s\S]*": "",  # SQLAlchemy's own words
    r"[ -]{2,}": "  ",  # tables are as wide as the ids in them
}

Scene = Callable[[Stage], None]


@pytest.fixture
def stages(
    tmp_path: Path, program: Group, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Scene], None]]:
    """Plays a scene on both stores and compares what was printed."""

    def compare(scene: Scene) -> None:
        transcripts = []
        for kind in ("ledger", "sqlite"):
            folder = tmp_path / kind
            folder.mkdir()
            uri = f"ledger://{folder}/store" if kind == "ledger" else f"sqlite:///{folder}/db"
            monkeypatch.chdir(folder)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
            monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
            # `runs create --experiment-name` leaves these behind it, as for the caller's next run.
            monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")
            monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
            monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
            stage = Stage(folder, uri, program)
            scene(stage)
            transcripts.append(stage.transcript())
        for ours, theirs in zip(*transcripts, strict=True):
            told, database, _ = theirs.partition("(sqlite3.")  # whose words end the text
            assert (ours[: len(told)] if database else ours) == told

    return compare


@pytest.fixture(autouse=True)
def _ids_of_eighteen_digits() -> Iterator[None]:
    """Let MLflow's store number experiments as ours does: "1" could be any text's."""
    numbers = itertools.count(10**17)

    def number(_mapper: Any, _connection: Any, experiment: Any) -> None:
        experiment.experiment_id = next(numbers)

    sqlalchemy.event.listen(SqlExperiment, "before_insert", number)
    yield
    sqlalchemy.event.remove(SqlExperiment, "before_insert", number)


def run_with_data(stage: Stage, experiment_id: str) -> str:
    """A finished run with a bit of everything."""
    client = stage.client
    run_id = str(client.create_run(experiment_id, 1000, {"t": "ü"}, "named").info.run_id)
    for step, loss in enumerate((0.5, 0.25)):
        client.log_metric(run_id, "loss", loss, 7, step)
    client.log_param(run_id, "depth", "3")
    client.log_text(run_id, "words", "folder/file.txt")
    client.set_terminated(run_id, "FINISHED", 2000)
    return run_id


def _ordered(output: str) -> str:
    """A document or a table with its keys in order: MLflow reads tags as they come."""
    try:
        return json.dumps(json.loads(output), sort_keys=True, indent=1)
    except ValueError:
        pass
    if not output.startswith("run_id,"):
        return output
    columns = zip(*filter(None, csv.reader(output.splitlines())), strict=True)
    rows = zip(*sorted(columns), strict=True)
    return "".join(",".join(row) + "\n" for row in rows)


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def experiments(stage: Stage) -> None:
    play = stage.play
    play("experiments", "create", "-n", "first")
    first = stage.client.get_experiment_by_name("first").experiment_id
    stage.named("first", first)
    play("experiments", "create", "-n", "elsewhere", "-l", "/nowhere/at/all")
    stage.named("elsewhere", stage.client.get_experiment_by_name("elsewhere").experiment_id)
    play("experiments", "create", "-n", "first")
    play("experiments", "search")
    play("experiments", "search", "--max-results", "1")
    play("experiments", "get", "-x", first)
    play("experiments", "get", "-n", "first", "--output", "json")
    play("experiments", "get", "-n", "no such name")
    play("experiments", "rename", "-x", first, "--new-name", "elsewhere")
    play("experiments", "rename", "-x", first, "--new-name", "second")
    play("experiments", "csv", "-x", first)
    run_id = stage.named("run", run_with_data(stage, first))
    out = stage.folder / "runs.csv"
    play("experiments", "csv", "-x", first)
    play("experiments", "csv", "-x", first, "-o", str(out))
    assert run_id in out.read_text("utf-8")
    play("experiments", "update", "-x", first, "--trace-archival-retention", "30d")
    play("experiments", "update", "-x", first, "--trace-archival-retention", "nonsense")
    play("experiments", "update", "-x", first, "--clear-trace-archival-retention")
    play("experiments", "get", "-x", first, "--output", "json")
    for _ in range(2):
        play("experiments", "delete", "-x", first)
    play("experiments", "rename", "-x", first, "--new-name", "third")
    for view in ("active_only", "deleted_only", "all", "nonsense"):
        play("experiments", "search", "--view", view)
    play("experiments", "csv", "-x", first)
    for _ in range(2):
        play("experiments", "restore", "-x", first)
    play("experiments", "search")
    for command in ("delete", "restore", "get", "csv"):
        play("experiments", command, "-x", "77")
        play("experiments", command, "-x", "no number")


def runs(stage: Stage) -> None:
    play = stage.play
    play("runs", "list", "--experiment-id", "0")
    run_id = stage.named("run", run_with_data(stage, "0"))
    play("runs", "list", "--experiment-id", "0")
    play("runs", "describe", "--run-id", run_id)
    for more in (
        ("--run-name", "by command", "--description", "words", "-t", "a=b", "--tags", "c=d"),
        ("--status", "failed", "--run-name", "failed"),
        ("--status", "killed", "--run-name", "below", "--parent-run-id", run_id),
    ):
        made = json.loads(play("runs", "create", "--experiment-id", "0", *more))
        stage.named(f"run {more[1]}", made["run_id"])
        play("runs", "describe", "--run-id", made["run_id"])
    named = ("--experiment-name", "made on the way", "--run-name", "n")
    made = json.loads(play("runs", "create", *named).partition("\n")[2])  # after a line of the log
    stage.named("run n", made["run_id"])
    stage.named("made on the way", made["experiment_id"])
    play("runs", "create", "--experiment-id", "77")
    play("runs", "create", "--experiment-id", "0", "-t", "no equals sign")
    for _ in range(2):
        play("runs", "delete", "--run-id", run_id)
    for view in ("active_only", "deleted_only", "all"):
        play("runs", "list", "--experiment-id", "0", "--view", view)
    play("runs", "describe", "--run-id", run_id)
    for _ in range(2):
        play("runs", "restore", "--run-id", run_id)
    play("runs", "list", "--experiment-id", "0")
    for command in ("delete", "restore", "describe"):
        play("runs", command, "--run-id", "0" * 32)
    play("runs", "list", "--experiment-id", "77")
    play("runs", "link-traces", "--run-id", run_id, "-t", "tr-1", "-t", "tr-2")
    play("runs", "link-traces", "--run-id", "0" * 32, "-t", "tr-1")
    play("runs", "link-traces", "--run-id", run_id)


def artifacts(stage: Stage) -> None:
    play = stage.play
    run_id = stage.named("run", stage.client.create_run("0", run_name="n").info.run_id)
    given = stage.folder / "given"
    (given / "deep").mkdir(parents=True)
    (given / "deep" / "a.txt").write_text("a", "utf-8")
    (given / "ü b.txt").write_text("b", "utf-8")
    play("artifacts", "list", "--run-id", run_id)
    play("artifacts", "log-artifacts", "--local-dir", str(given), "--run-id", run_id)
    file = ("artifacts", "log-artifact", "--local-file", str(given / "ü b.txt"), "--run-id", run_id)
    play(*file)
    play(*file, "--artifact-path", "one/by/one")
    play("artifacts", "log-artifacts", "-l", str(given), "-r", run_id, "--artifact-path", "again")
    for path in ("", "one", "one/by", "again/deep", "again/deep/a.txt", "nothing"):
        play("artifacts", "list", "--run-id", run_id, *(["-a", path] if path else []))
    for path in ("", "one", "again/deep/a.txt"):
        got = stage.folder / "got" / path.replace("/", "-")
        play("artifacts", "download", "-r", run_id, *(["-a", path] if path else []), "-d", str(got))
        stage.told.append(str(sorted(_files(got).items())))
    uri = stage.client.get_run(run_id).info.artifact_uri
    play("artifacts", "download", "-u", f"{uri}/one", "-d", str(stage.folder / "by-uri"))
    stage.told.append(str(sorted(_files(stage.folder / "by-uri").items())))
    play("artifacts", "list", "--run-id", "0" * 32)
    play("artifacts", "download", "--run-id", "0" * 32)
    play("artifacts", "download")


def collection(stage: Stage) -> None:
    play = stage.play
    client = stage.client
    doomed = stage.named("doomed", client.create_experiment("doomed"))
    kept, alone, old = (stage.named(name, run_with_data(stage, "0")) for name in ("k", "a", "o"))
    inside = stage.named("inside", run_with_data(stage, doomed))
    model = stage.named("model", client.create_logged_model("0", "m", kept).model_id)
    gc = ("gc", "--backend-store-uri", stage.uri)
    play(*gc)
    play(*gc, "--run-ids", kept)
    play(*gc, "--run-ids", "0" * 32)
    play(*gc, "--experiment-ids", doomed)
    play(*gc, "--logged-model-ids", model)
    client.delete_run(alone)
    client.delete_run(old)
    client.delete_logged_model(model)
    client.delete_experiment(doomed)
    play(*gc, "--older-than", "1d")
    play(*gc, "--older-than", "1d", "--run-ids", alone)
    play(*gc, "--older-than", "nonsense")
    play(*gc, "--run-ids", alone)
    play(*gc, "--logged-model-ids", model)
    play(*gc, "--experiment-ids", doomed)
    play("runs", "describe", "--run-id", inside)
    play(*gc)
    play(*gc)
    for view in ("active_only", "deleted_only"):
        play("runs", "list", "--experiment-id", "0", "--view", view)
    play("experiments", "search", "--view", "all")


SCENES = {scene.__name__: scene for scene in (experiments, runs, artifacts, collection)}


@pytest.mark.parametrize("scene", SCENES)
def test_commands_print_what_they_print_on_mlflows_store(
    scene: str, stages: Callable[[Scene], None]
) -> None:
    stages(SCENES[scene])


def test_every_subcommand_has_its_place_in_a_scene(program: Group) -> None:
    played = set(re.findall(r'"(experiments|runs|artifacts)", "([\w-]+)"', SOURCE))
    there = {
        (group, name)
        for group in ("experiments", "runs", "artifacts")
        for name in program.commands[group].commands  # type: ignore[attr-defined]  # a group
    }
    assert there - played == set()


def test_a_command_in_a_process_of_its_own(tmp_path: Path) -> None:
    made = run(
        tmp_path, MLFLOW, "experiments", "create", "-n", "e", MLFLOW_TRACKING_URI="ledger:./store"
    )
    assert unknown(made.stderr) == []
    [experiment_id] = re.findall(r"Created experiment 'e' with id (\d{18})", made.stdout)
    uri = f"ledger://{tmp_path}/store"
    assert MlflowClient(uri).get_experiment(experiment_id).name == "e"
