"""The compose file: valid, of programs and options that there are, and run where Docker is."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_ledger.query.cli import program

ROOT = Path(__file__).parents[2]
START_S = 600


def composer() -> list[str] | None:
    """The command that reads compose files, if there is one; it needs no engine to do so."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    command = composer()
    if command is None:
        why = "neither `docker compose` nor docker-compose is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    told = subprocess.run(
        [*command, "config"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = yaml.safe_load(told.stdout)["services"]
    return found


def test_all_parts_are_there_and_watched(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "bucket", "s3", "consumer", "query", "mlflow"}
    for name, service in services.items():
        assert "healthcheck" in service or name == "bucket"
        assert service["volumes"]


def test_its_commands_are_ours(services: dict[str, Any]) -> None:
    for name in ("consumer", "query"):
        first, command, uri, *options = services[name]["command"]
        assert (first, uri) == ("mlflow-ledger", "ledger+kafka://kafka:19092/team")
        known = {option for param in program.commands[command].params for option in param.opts}
        assert {option.partition("=")[0] for option in options} <= known


def has_engine() -> bool:
    asked = ["docker", "info", "--format", "{{.ServerVersion}}"]
    return (
        bool(shutil.which("docker"))
        and not subprocess.run(asked, capture_output=True, check=False).returncode
    )


@pytest.mark.timeout(2 * START_S)
@pytest.mark.skipif(not has_engine(), reason="no Docker engine: `make kafka-demo` shows the same")
@pytest.mark.usefixtures("services")
def test_it_runs() -> None:
    from testcontainers.compose import DockerCompose

    with DockerCompose(str(ROOT), build=True, wait=True):
        for port in (5000, 8080, 9464):
            with urllib.request.urlopen(f"http://localhost:{port}/health", timeout=30) as answer:
                assert answer.status == 200
