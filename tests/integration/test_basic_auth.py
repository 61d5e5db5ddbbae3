"""MLflow's basic-auth app in front of a ledger: permissions hold, the audit names who acted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from .programs import COMMAND, MLFLOW, Server, run, serving

PASSWORDS = {"admin": "an admin's password", "ada": "the password of Ada", "bob": "Bob's password"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("auth")
    settings = folder / "auth.ini"
    settings.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\n"
        "admin_username = admin\n"
        f"admin_password = {PASSWORDS['admin']}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        "utf-8",
    )
    command = [
        MLFLOW, "server", "--app-name", "basic-auth", "--workers", "2",
        "--backend-store-uri", "ledger:./store", "--artifacts-destination", "ledger-artifacts:",
    ]  # fmt: skip
    more = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key"}
    with serving(folder, command, "/health", **more) as server:
        yield server
        server.stop()
        assert server.tracebacks() == []


@contextmanager
def user(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", name)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS[name])
        yield


@pytest.fixture(scope="module", autouse=True)
def users(server: Server) -> None:
    for name in ("ada", "bob"):
        answer = httpx.post(
            f"{server.url}/api/2.0/mlflow/users/create",
            json={"username": name, "password": PASSWORDS[name]},
            auth=("admin", PASSWORDS["admin"]),
        )
        assert answer.status_code == httpx.codes.OK, answer.text


def audited(server: Server, entity: str) -> list[tuple[str, str, str]]:
    """What was done to an entity: action, who did it, and what that is worth."""
    said = run(server.folder, COMMAND, "audit", "ledger:./store", entity, "--json").stdout
    rows = [json.loads(line) for line in said.splitlines()]
    return [(row["action"], row["actor"], row["actorkind"]) for row in rows]


def test_permissions_hold_and_the_audit_names_the_user(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(server.url, server.url)
    with user("ada", monkeypatch):
        experiment_id = client.create_experiment("ada's")
        run_id = client.create_run(experiment_id).info.run_id
        client.log_text(run_id, "by Ada", "note.txt")
        client.create_registered_model("wine")
    with user("bob", monkeypatch):
        assert client.get_run(run_id).info.run_id == run_id
        with pytest.raises(MlflowException, match="Permission denied"):
            client.log_param(run_id, "p", "1")
        with pytest.raises(MlflowException, match="Permission denied"):
            client.delete_experiment(experiment_id)
        other = client.create_experiment("bob's")
    with user("ada", monkeypatch):
        client.set_terminated(run_id)
    assert audited(server, f"experiments:/{other}")[0][1:] == ("bob", "authenticated")
    said = {action: who for action, *who in audited(server, f"runs:/{run_id}")}
    # MLflow's routes for files tell a store nothing of who asks: these are the server's own.
    assert said.pop("ArtifactLogged")[1] == "os"
    assert {"RunCreated", "RunUpdated"} <= said.keys()
    assert all(who == ["ada", "authenticated"] for who in said.values())
    assert {row[1:] for row in audited(server, "models:/wine")} == {("ada", "authenticated")}


def test_another_user_approves(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that asks for two people whom the server has authenticated, through the server."""
    client = MlflowClient(server.url, server.url)
    approval = ("port", "1", "ledger.approve.alias.champion", "Seen.")
    promotion = ("port", "champion", "1")
    with user("ada", monkeypatch):
        client.create_registered_model("port")
        client.create_model_version("port", "s3://bucket/port")
        rule = {"kind": "approval", "aliases": ["champion"], "authenticated": True}
        rule["keepers"] = ["ada"]
        client.set_registered_model_tag("port", "ledger.rule.two", json.dumps(rule))
        client.set_model_version_tag(*approval)
        with pytest.raises(MlflowException, match="Promotion rule 'two', checked by the fold") as e:
            client.set_registered_model_alias(*promotion)
        assert e.value.error_code == "PERMISSION_DENIED"
    granted = httpx.post(
        f"{server.url}/api/3.0/mlflow/users/permissions/grant",
        json={
            "username": "bob", "resource_type": "registered_model", "resource_id": "port",
            "permission": "EDIT",
        },
        auth=("admin", PASSWORDS["admin"]),
    )  # fmt: skip
    assert granted.status_code == httpx.codes.OK, granted.text
    # Whoever gets at the ledger itself is another, whatever they call themselves.
    run(
        server.folder, COMMAND, "approve", "ledger:./store", "models:/port/1", "--for", "champion",
        MLFLOW_LEDGER_ACTOR="bob",
    )  # fmt: skip
    with user("ada", monkeypatch), pytest.raises(MlflowException, match="has 0"):
        client.set_registered_model_alias(*promotion)
    with user("bob", monkeypatch):
        client.set_model_version_tag(*approval)
        with pytest.raises(MlflowException, match="may not change promotion rule 'two'"):
            client.delete_registered_model_tag("port", "ledger.rule.two")
    with user("ada", monkeypatch):
        client.set_registered_model_alias(*promotion)
        assert client.get_model_version_by_alias("port", "champion").version == "1"
    rows = audited(server, "models:/port/1")
    assert rows[-2:] == [
        ("PromotionApproved", "bob", "authenticated"),
        ("RegisteredModelAliasSet", "ada", "authenticated"),
    ]


def test_without_a_password_nothing_is_answered(server: Server) -> None:
    assert server.get("/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 401
