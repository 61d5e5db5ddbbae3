"""Names that look like something else, and names that several workspaces have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from mlflow_ledger.consumers import Ledger, open_ledger
from mlflow_ledger.producers.registry_store import LedgerRegistryStore
from mlflow_ledger.producers.workspace_stores import registry_in
from mlflow_ledger.query.address import Address
from mlflow_ledger.query.cli import program
from mlflow_ledger.schemas import ModelVersionCreated, RegisteredModelCreated

ODD = ["a@b", "50%25", "100%", "été 1", "m:x", "q?x#y", "a b@c d", "@home", "x/y", "x@1/2"]
COMMANDS = ("audit", "history", "rules")
OF_VERSION = ("lineage", "replay", "audit", "history")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"ledger://{tmp_path_factory.mktemp('names')}/store"
    with registry_in(uri, None) as store:
        for name in ("a", "wine"):
            store.create_registered_model(name)
            store.create_model_version(name, "s3://x")
        store.set_registered_model_alias("wine", "b", "1")
        ledger = open_ledger(uri)
        for number, name in enumerate([*ODD, "wine@b", "wine@c"]):
            uids = {"model_uid": f"u{number}", "version_uid": f"v{number}"}
            ledger.write(lambda _, n=name, u=uids: [  # MLflow refuses / and : where it creates
                RegisteredModelCreated(name=n, model_uid=u["model_uid"])
            ])  # fmt: skip
            ledger.write(lambda _, n=name, u=uids: [ModelVersionCreated(name=n, **u)])
    return uri


@pytest.fixture(scope="module")
def ledger(uri: str) -> Ledger:
    return open_ledger(uri)


def run(*args: str) -> Result:
    return CliRunner().invoke(program, args, prog_name="mlflow-ledger")


def said(command: str, uri: str, entity: str, *more: str) -> str:
    result = run(command, uri, entity, "--json", *more)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_of_any_name_is_asked_for(uri: str, command: str, name: str) -> None:
    encoded = said(command, uri, f"models:/{quote(name, safe='')}")
    assert json.dumps(name, ensure_ascii=False)[1:-1] in encoded
    if "/" not in name:
        assert said(command, uri, f"models:/{name}") == encoded


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("command", OF_VERSION)
def test_a_version_of_any_model_is_asked_for(uri: str, command: str, name: str) -> None:
    assert said(command, uri, f"models:/{quote(name, safe='')}/1")
    assert said(command, uri, f"models:/{name}/1")
    if command in ("lineage", "replay"):
        assert said(command, uri, f"models:/{quote(name, safe='')}/latest")
        assert said(command, uri, f"models:/{name}/none")


@pytest.mark.parametrize("name", [name for name in ODD if not {"/", ":"} & set(name)])
def test_what_is_approved_or_erased_has_any_name(uri: str, name: str) -> None:
    entity = f"models:/{quote(name, safe='')}/1"
    assert json.loads(said("approve", uri, entity, "--for", "champion"))["model"] == name
    planned = json.loads(said("redact", uri, entity, "--reason", "asked for"))
    assert planned["scope"]["subjects"] == [f"models:/{name}"]


@pytest.mark.parametrize(
    ("text", "name", "alias"),
    [
        ("wine@b", "wine", "b"),  # as MLflow reads it: the alias is there
        ("wine%40b", "wine@b", None),
        ("wine@c", "wine@c", None),  # no such alias: the longest name
        ("wine@none", "wine", "none"),
        ("a@b", "a@b", None),
        ("nobody@x", "nobody", "x"),
        ("50%25", "50%25", None),  # as it stands, where there is such a name
        ("50%2525", "50%25", None),
        ("100%25", "100%", None),
        ("%77ine@%62", "wine", "b"),
    ],
)
def test_what_a_text_means(ledger: Ledger, text: str, name: str, alias: str | None) -> None:
    found = Address.find(ledger, f"models:/{text}")
    assert (found.name, found.alias) == (name, alias)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two workspaces, each with a model of one name."""
    uri = f"ledger://{tmp_path_factory.mktemp('shared')}/store"
    open_ledger(uri).write(lambda _: [])
    for workspace in ("red", "blue"):
        with registry_in(uri, workspace) as store:
            assert isinstance(store, LedgerRegistryStore)
            store.create_registered_model("wine", description=f"of {workspace}")
            store.create_model_version("wine", f"s3://{workspace}")
            store.set_registered_model_alias("wine", "best", "1")
    return uri


@pytest.mark.parametrize(
    ("command", "entity"),
    [
        ("audit", "models:/wine"),
        ("history", "models:/wine"),
        ("history", "models:/wine@best"),
        ("lineage", "models:/wine@best"),
        ("replay", "models:/wine/1"),
        ("rules", "models:/wine"),
    ],
)
def test_a_name_means_a_model_of_the_workspace(shared: str, command: str, entity: str) -> None:
    texts = [said(command, shared, entity, "--workspace", name) for name in ("red", "blue")]
    if command == "rules":
        assert all(json.loads(text)["model"] == "wine" for text in texts)
        return
    assert texts[0] != texts[1]
    if "@" not in entity:
        assert "of red" in texts[0] or "s3://red" in texts[0]
        assert "of blue" not in texts[0]
        assert "s3://blue" not in texts[0]


def test_what_changed_in_a_workspace(shared: str) -> None:
    since = ("--since", "1970-01-01T00:00:00Z")
    found = run("changes", shared, *since, "--workspace", "red", "--json").stdout
    rows: list[Any] = [json.loads(line) for line in found.splitlines()]
    assert {row["entity"] for row in rows} == {"models:/wine", "models:/wine/1"}
    assert "of red" in found
    assert "of blue" not in found


def test_only_a_workspaces_model_is_erased(shared: str) -> None:
    planned = said("redact", shared, "models:/wine", "--reason", "x", "--workspace", "red")
    everywhere = said("redact", shared, "models:/wine", "--reason", "x")
    assert len(json.loads(planned)["scope"]["model_uids"]) == 1
    assert len(json.loads(everywhere)["scope"]["model_uids"]) == 2


def test_openlineage_of_a_workspace(shared: str, tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    done = run("openlineage", shared, "--to", str(target), "--workspace", "red")
    assert done.exit_code == 0, done.output
    everything = tmp_path / "all.jsonl"
    assert run("openlineage", shared, "--to", str(everything)).exit_code == 0
    here, there = target.read_text().splitlines(), everything.read_text().splitlines()
    assert here == there[:3]
    assert len(there) == 2 * len(here)


@pytest.mark.parametrize("command", ["audit", "changes", "history", "lineage", "openlineage",
                                     "redact", "replay", "rules", "approve", "prove"])  # fmt: skip
def test_a_workspace_that_is_not_there_is_said(shared: str, command: str, tmp_path: Path) -> None:
    more = {
        "changes": ["--since", "1970-01-01T00:00:00Z"],
        "history": ["models:/wine"],
        "lineage": ["models:/wine/1"],
        "openlineage": ["--to", str(tmp_path / "x")],
        "redact": ["models:/wine", "--reason", "x"],
        "replay": ["models:/wine/1"],
        "rules": ["models:/wine"],
        "approve": ["models:/wine/1", "--for", "best"],
        "prove": ["models:/wine/1"],
    }
    done = run(command, shared, *more.get(command, []), "--workspace", "nope")
    assert done.exit_code == 1
    assert "there is no workspace 'nope'" in done.stderr
    assert "blue" in done.stderr
    assert run("audit", shared, "--workspace", "red").exit_code == 0
