"""What a ledger with workspaces tells those who do not ask for them, and its own commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_context import ServerWorkspaceContext

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.producers import plugin
from mlflow_ledger.query.audit import audit
from mlflow_ledger.query.lineage import lineage


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with a model of one name in two workspaces; they are off again."""
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    uri = f"ledger:{tmp_path / 'store'}"
    registry = plugin.registry_store(uri, uri)
    for workspace in ("default", "team-a"):
        with ServerWorkspaceContext(workspace):
            registry.create_registered_model("m")
            registry.create_model_version("m", f"s3://{workspace}")
            with pytest.raises(MlflowException, match="already exists"):
                registry.create_registered_model("m")
            plugin.tracking_store(uri).create_experiment("e")
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "false")
    return tmp_path / "store"


def test_who_does_not_ask_for_workspaces_is_told_of_them(folder: Path) -> None:
    uri = f"ledger:{folder}"
    with pytest.raises(MlflowException, match="Cannot disable workspaces because experiments"):
        plugin.tracking_store(uri).get_experiment("0")
    with pytest.raises(MlflowException, match="model 'm' in workspace 'team-a'"):
        plugin.registry_store(uri, uri).get_registered_model("m")


def test_audit_and_lineage_tell_workspaces_apart(folder: Path) -> None:
    ledger = Ledger(folder)
    try:
        for workspace in ("default", "team-a"):
            rows = list(audit(ledger, "models:/m", workspace=workspace))
            assert {row.workspace for row in rows} == {workspace}
            assert [row.verdict for row in rows].count("accepted") == 2
            found = lineage(ledger, "models:/m/1", workspace=workspace).version
            assert (found.source, found.workspace) == (f"s3://{workspace}", workspace)
        assert {row.workspace for row in audit(ledger, "models:/m")} == {"default", "team-a"}
        assert {row.workspace for row in audit(ledger, workspace="team-a")} == {"team-a"}
    finally:
        ledger.close()
