"""The command line: what it prints, in which form, with which status, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.query.cli import program
from mlflow_ledger.schemas import RegisteredModelCreated, RegisteredModelTagSet, TagContent

from .story import MODEL_FILES, RUN, Story

COMMANDS = sorted(program.commands)
ANSI = "\x1b["


def run(*args: str) -> Result:
    return CliRunner().invoke(program, args, prog_name="mlflow-ledger")


def answer(*args: str) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert ANSI not in result.stdout
    return result.stdout


def lines(*args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer(*args, "--json").splitlines()]


def document(*args: str) -> Any:
    return json.loads(answer(*args, "--json"))


def examples(help_text: str) -> list[str]:
    _, _, behind = help_text.partition("Example")
    return re.findall(r"^ +(mlflow-ledger .*)$", behind, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_that_are_right(name: str) -> None:
    found = examples(answer(name, "--help"))
    assert found
    for example in found:
        words = shlex.split(re.split(r" && | [<>] ", example)[0])
        assert words[:2] == ["mlflow-ledger", name]
        program.commands[name].make_context(name, words[2:])


def test_help_names_every_command_and_an_example() -> None:
    text = answer("--help")
    assert examples(text)
    assert COMMANDS == [
        "approve", "archive", "asyncapi", "audit", "backup", "changes", "check", "checkpoint",
        "collect", "consume", "create", "forward", "history", "keygen", "lineage", "log",
        "openlineage", "prove", "rebuild", "redact", "replay", "restore", "rules", "serve",
        "spool", "sql", "stats", "verify", "webhooks",
    ]  # fmt: skip
    for name in COMMANDS:
        summary = program.commands[name].get_short_help_str(100)
        assert re.search(rf"^ +{name} +{re.escape(summary)}$", text, re.MULTILINE)


def test_asyncapi_prints_the_page() -> None:
    page = Path(__file__).parents[2] / "docs/asyncapi.json"
    assert answer("asyncapi") == page.read_text("utf-8")


def test_help_imports_little() -> None:
    code = (
        "import sys; from mlflow_ledger.query.cli import program\n"
        "try: program(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'duckdb', 'pyarrow', 'mlflow', 'pydantic', 'fastavro', 'rich', 'obstore'}\n"
        "print('imported:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "imported: []" in done.stdout


def test_log_in_lines(story: Story, uri: str) -> None:
    printed = answer("log", uri).splitlines()
    assert len(printed) == story.ledger.log.last_offset()
    position = f"v1~{story.ledger.ledger_id}~1"
    assert printed[0].startswith(f"{position}  20")
    assert "LedgerCreated" in printed[0]
    assert "  alice  RegisteredModelRenamed  models:/wine  " in "\n".join(printed)
    assert any("CommandRejected" in line and "version=9" in line for line in printed)


def test_log_in_json(story: Story, uri: str) -> None:
    found = lines("log", uri)
    assert len(found) == story.ledger.log.last_offset()
    assert found[0]["specversion"] == "1.0"
    (data,) = [e for e in found if e["type"] == "RunDataLogged"]
    assert data["subject"] == f"runs:/{RUN}"
    content = data["data"]["content"]
    assert [(m["key"], m["value"]) for m in content["metrics"]] == [
        ("loss", 0.5),
        ("loss", 0.25),
        ("odd", "NaN"),
    ]
    assert content["params"] == [{"key": "depth", "value": "6"}]
    assert len(data["digest"]) == 64
    assert "s3cr3t" not in answer("log", uri, "--json")


def test_log_since_and_limit(story: Story, uri: str) -> None:
    since = story.marks["promoted"]
    found = lines("log", uri, "--since", since, "--limit", "2")
    assert [e["type"] for e in found] == ["RegisteredModelRenamed", "ModelVersionDeleted"]
    assert found[0]["position"] == since
    assert lines("log", uri, "--since", "2100-01-01T00:00:00Z") == []


def test_audit_of_a_version(uri: str) -> None:
    printed = answer("audit", uri, "models:/vino/1")
    header, *rows = printed.splitlines()
    assert header.split() == [
        "time", "verdict", "actor", "host", "action", "entity", "detail",
    ]  # fmt: skip
    assert "version 1: stage Production → Archived" in printed
    assert "version 1: alias champion 1 → 2" in printed
    assert "bob (claimed)" in printed
    assert "rejected" in rows[-1]
    assert "RESOURCE_DOES_NOT_EXIST: Model Version (name=vino, version=1) not found" in rows[-1]


def test_history_of_an_alias(uri: str) -> None:
    header, *rows = answer("history", uri, "models:/vino@champion").splitlines()
    assert header.split() == ["field", "value", "actor", "from", "to", "event"]
    assert [row.split()[:2] for row in rows][:2] == [
        ["aliases.champion", "1"],
        ["aliases.champion", "2"],
    ]
    found = lines("history", uri, "models:/vino/1")
    stages = [row for row in found if row["field"] == "stage"]
    assert stages[0]["value"] == "None"
    assert stages[0]["until"] == stages[1]["since"]
    assert stages[0]["ended_by"] == stages[1]["actor"]
    assert {row["entity"] for row in found} == {"models:/vino", "models:/vino/1"}


def test_changes_between_two_moments(story: Story, uri: str) -> None:
    found = lines("changes", uri, "--since", story.marks["promoted"])
    by_entity = {changed["entity"]: changed for changed in found}
    assert by_entity["models:/vino/1"]["change"] == "deleted"
    header = answer("changes", uri, "--since", story.marks["promoted"]).splitlines()[0]
    assert header.split() == ["entity", "change", "field", "from", "to"]
    assert lines("changes", uri, "--since", str(story.ledger.log.end())) == []
    result = run("changes", uri, "--since", "2100-01-01T00:00:00Z")
    assert result.exit_code == 1
    assert "has not come yet" in result.stderr


def test_as_of_a_moment_every_question_ends_there(story: Story, uri: str) -> None:
    moment = story.marks["promoted"]
    past = f"{uri}?as_of={moment}"
    last = int(moment.rpartition("~")[2]) - 1
    assert len(lines("log", past)) == len(lines("audit", past)) == last
    assert "vino" not in answer("audit", past, "models:/wine")
    assert document("lineage", past, "models:/wine@champion")["version"]["number"] == 2
    assert document("sql", past, "SELECT count(*) AS n FROM audit") == [{"n": last}]
    assert {row["entity"] for row in lines("history", past, "models:/wine")} >= {"models:/wine"}


@pytest.mark.parametrize("name", ["verify", "rebuild", "stats", "collect", "consume", "serve"])
def test_what_is_done_to_the_present_says_so(name: str, uri: str) -> None:
    result = run(name, f"{uri}?as_of=2026-03-03T12:00:00Z")
    assert result.exit_code == 1
    assert f"write {uri}" in result.stderr


def test_audit_tells_models_of_one_name_apart(uri: str) -> None:
    header, *rows = answer("audit", uri, "models:/wine").splitlines()
    assert "uid" in header.split()
    assert any("uid-wine" in row for row in rows)
    assert any("uid-new" in row for row in rows)


def test_audit_in_json(uri: str) -> None:
    found = lines("audit", uri, "models:/wine/9")
    assert [(row["actor"], row["verdict"]) for row in found] == [("bob", "rejected")]
    assert len(lines("audit", uri, "--limit", "3")) == 3


def test_a_long_audit_is_printed_as_it_comes(
    uri: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow_ledger.query.cli.audit  # noqa: F401  # named below: the package names the command

    monkeypatch.setattr(sys.modules["mlflow_ledger.query.cli.audit"], "_TABLE_ROWS", 5)
    printed = answer("audit", uri).splitlines()
    assert len(printed) == story.ledger.log.last_offset()
    assert "LedgerCreated" in printed[0]


def test_lineage_as_a_tree(story: Story, uri: str) -> None:
    printed = answer("lineage", uri, "models:/vino/1")
    assert printed.startswith("models:/vino/1\n")
    for part in (
        "wine  digest d1g35t  source local  mlflow.data.context=train",
        "commit 0123abc",
        "depth=6",
        "loss=0.25, odd=nan",
        "stage Staging → Production, by alice",
        "alias champion: version 1 → version 2, by bob (claimed)",
        story.digests[f"{MODEL_FILES}/model.pkl"],
    ):
        assert part in printed


def test_lineage_in_json(uri: str) -> None:
    found = document("lineage", uri, "models:/vino@champion")
    assert found["version"]["number"] == 2
    assert found["run"] is None
    assert found["notes"]
    assert document("lineage", uri, "models:/vino/1")["run"]["metrics"]["odd"] == "NaN"


SELECT = "SELECT run_name, status FROM runs_latest ORDER BY run_name"


def test_sql_in_every_form(uri: str) -> None:
    assert answer("sql", uri, SELECT).splitlines()[0].split() == ["run_name", "status"]
    rows = list(csv.reader(io.StringIO(answer("sql", uri, SELECT, "--format", "csv"))))
    assert rows == [["run_name", "status"], ["forest", "FINISHED"], ["sweep", "RUNNING"]]
    expected = [
        {"run_name": "forest", "status": "FINISHED"},
        {"run_name": "sweep", "status": "RUNNING"},
    ]
    assert json.loads(answer("sql", uri, SELECT, "--format", "json")) == expected
    assert document("sql", uri, SELECT) == expected


def test_sql_from_standard_input_with_odd_values(uri: str) -> None:
    question = "SELECT 'NaN'::DOUBLE AS x, 2 AS x, NULL AS n, DATE '2026-03-03' AS d"
    result = CliRunner().invoke(program, ["sql", uri, "-", "--json"], input=question)
    assert json.loads(result.stdout) == [{"x": "NaN", "x_2": 2, "n": None, "d": "2026-03-03"}]


def test_sql_that_makes_no_sense_is_an_error(uri: str) -> None:
    result = run("sql", uri, "SELECT nothing FROM nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
    assert "runs_latest" in result.stderr


def test_verify_says_yes(story: Story, uri: str) -> None:
    printed = answer("verify", uri)
    assert "DOES NOT HOLD" not in printed
    assert printed.count("holds") == 4
    found = document("verify", uri)
    assert found["holds"] is True
    assert found["events"] == story.ledger.log.last_offset()


def test_verify_says_no_and_where(copy: Ledger) -> None:
    with closing(sqlite3.connect(copy.log.path)) as db, db:
        db.execute("DELETE FROM events WHERE seq = 9")
    result = run("verify", f"ledger://{copy.folder}")
    assert result.exit_code == 1
    assert "log: event 9: missing" in result.stdout
    assert result.stdout.index("log: source") < result.stdout.index("state: ")
    assert re.search("^analytics +skipped", result.stdout, re.MULTILINE)
    result = run("verify", f"ledger://{copy.folder}", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["holds"] is False


def test_rebuild_makes_a_new_state(copy: Ledger) -> None:
    path = copy.files.current()
    assert path is not None
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE runs SET name = 'spoilt'")
    uri = f"ledger://{copy.folder}"
    assert run("verify", uri).exit_code == 1
    assert f"folded {copy.log.last_offset()} events" in answer("rebuild", uri)
    assert copy.files.current() != path
    assert run("verify", uri).exit_code == 0
    assert document("rebuild", uri)["events"] == copy.log.last_offset()


def test_stats_adds_up(story: Story, uri: str) -> None:
    found = document("stats", uri)
    folder = story.ledger.folder
    assert found["events"] == story.ledger.log.last_offset()
    assert {part["name"] for part in found["parts"]} == {
        "log", "state", "snapshots", "blobs", "other",
    }  # fmt: skip
    blobs = next(part for part in found["parts"] if part["name"] == "blobs")
    assert blobs["files"] == 4
    assert blobs["size_bytes"] == on_disk(folder / "blobs")
    assert found["entities"]["runs"] == 2
    assert {t["type"]: t["count"] for t in found["types"]}["ModelVersionStageChanged"] == 4
    assert "can be folded again" in answer("stats", uri)


def on_disk(folder: Path) -> int:
    done = subprocess.run(
        ["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[0])


def test_stats_explains_what_the_folder_takes_on_disk(copy: Ledger) -> None:
    for number in range(300):
        copy.blobs.put(f"small {number}".encode())  # each takes a block of the file system
    uri = f"ledger://{copy.folder}"
    assert document("stats", uri)["size_bytes"] == on_disk(copy.folder)
    with copy.read():  # beside somebody who has it open, and with it SQLite's own files
        assert document("stats", uri)["size_bytes"] == on_disk(copy.folder)


@pytest.mark.parametrize("reason", ["", " "])
def test_an_erasure_wants_a_reason_in_words(reason: str, copy: Ledger) -> None:
    result = run("redact", f"ledger://{copy.folder}", f"runs:/{RUN}", "--reason", reason, "--yes")
    assert result.exit_code == 2
    assert "say what is to be erased, and why" in result.stderr


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in COMMANDS
        if name
        not in ("asyncapi", "check", "consume", "create", "forward", "keygen", "restore", "spool")
    ],
)
def test_a_missing_ledger_is_named_and_not_made(name: str, tmp_path: Path) -> None:
    version = ["models:/m/1"]
    further = {
        "backup": [f"{tmp_path}/to"],
        "changes": ["--since", "2026-03-03T12:00:00Z"],
        "history": version,
        "lineage": version,
        "replay": version,
        "openlineage": ["--to", f"{tmp_path}/to"],
        "redact": ["runs:/1", "--reason", "x"],
        "rules": ["models:/m"],
        "approve": [*version, "--for", "champion"],
        "prove": version,
        "sql": ["SELECT 1"],
    }.get(name, [])
    result = run(name, f"ledger://{tmp_path}/none", *further)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"there is no ledger in {tmp_path}/none" in result.stderr
    assert "MLFLOW_TRACKING_URI" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("archive", []),
        ("checkpoint", []),
        ("redact", [f"runs:/{RUN}", "--reason", "asked for"]),
        ("webhooks", []),
        ("rules", ["models:/wine"]),
        ("rules", ["models:/wine", "add", "eyes", "--for", "champion", "--approvals", "1"]),
        ("approve", ["models:/wine/1", "--for", "champion"]),
    ],
)
def test_what_is_done_to_the_ledger_is_not_done_to_its_past(
    copy: Ledger, name: str, further: list[str]
) -> None:
    """Not silently to the present one either: nothing is said, made or signed."""
    end = copy.log.last_offset()
    before = sorted(copy.folder.rglob("*"))
    result = run(name, f"ledger://{copy.folder}?as_of={copy.log.end()}", *further)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "this is done to the ledger as it is, not as of v1~" in result.stderr
    assert f"write ledger://{copy.folder}\n" in result.stderr
    assert copy.log.last_offset() == end
    assert sorted(copy.folder.rglob("*")) == before


def test_a_folder_without_a_ledger_stays_as_it_is(tmp_path: Path) -> None:
    assert run("audit", f"ledger://{tmp_path}").exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nonsense"], "No such command"),
        (["log"], "Missing argument 'URI'"),
        (["log", "sqlite:///x.db"], "is no ledger URI"),
        (["log", "URI", "--since", "yesterday"], "is no moment"),
        (["log", "URI", "--since", "2026-03-03T12:00:00"], "has no offset"),
        (["log", "URI", "--limit", "0"], "--limit"),
        (["audit", "URI", "vino"], "names no entity"),
        (["sql", "URI", "SELECT 1", "--format", "xml"], "--format"),
    ],
)
def test_a_mistaken_command_line_is_status_2(uri: str, args: list[str], said: str) -> None:
    result = run(*(uri if arg == "URI" else arg for arg in args))
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "args",
    [
        ["audit", "URI", "models:/nothing"],
        ["lineage", "URI", "models:/vino/77"],
        ["log", "URI", "--since", "v1~0000000000000000~1"],
    ],
)
def test_what_is_not_there_is_status_1(uri: str, args: list[str]) -> None:
    result = run(*(uri if arg == "URI" else arg for arg in args))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_what_an_event_says_steers_no_terminal(copy: Ledger) -> None:
    evil = "\x1b[2J\rall is well\n"
    copy.write(
        lambda _: [
            RegisteredModelCreated(model_uid="u", name="m"),
            RegisteredModelTagSet(model_uid="u", name="m", tag="t", content=TagContent(value=evil)),
        ]
    )
    uri = f"ledger://{copy.folder}"
    for printed in (answer("audit", uri, "models:/m"), answer("log", uri)):
        assert "\\x1b[2J\\rall is well\\n" in printed
    assert lines("audit", uri, "models:/m")[1]["detail"]["value"] == evil


def test_collect_plans_first_and_does_it_when_told(copy: Ledger) -> None:
    digest, size_bytes = copy.blobs.put(b"nothing names this")
    uri = f"ledger:{copy.folder}"
    blob = {"digest": digest, "size_bytes": size_bytes}
    planned = document("collect", uri)
    assert (planned["done"], blob in planned["condemned"]) == (False, True)
    assert blob in document("collect", uri, "--yes")["condemned"]
    assert blob in document("collect", uri)["waiting"]
    assert blob in document("collect", uri, "--yes", "--grace-days", "0")["removed"]
    assert copy.blobs.size_bytes(digest) is None
    other, size_bytes = copy.blobs.put(b"neither does anything name this")
    done = document("collect", uri, "--yes", "--grace-days", "0")
    assert done["condemned"] == done["removed"] == [{"digest": other, "size_bytes": size_bytes}]
    assert copy.blobs.size_bytes(other) is None
    assert "nothing was done" in answer("collect", uri)
