"""The object stores that tests use: real servers on this host, started when first needed."""

from __future__ import annotations

import base64
import email.utils
import functools
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import pytest

from tests.ports import free_port

from .programs import azurite, versitygw

__all__ = ["KINDS", "Objects", "objects", "stop"]

KINDS = ("s3", "gs", "az")
_BUCKET = "bucket"
_START_S = 60.0
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = (  # the emulator's, known to everybody
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_started: list[tuple[subprocess.Popen[bytes], Path]] = []


class Objects(NamedTuple):
    """A bucket: its URL, and what the environment has to say so that clients reach it."""

    url: str
    environment: Mapping[str, str]


@functools.cache
def objects(kind: str) -> Objects:
    """A bucket that lasts as long as this process of the tests.

    Where there can be none, the test fails in CI and is skipped elsewhere.
    """
    return {"s3": _amazon, "gs": _google, "az": _azure}[kind]()


def stop() -> None:
    """End all servers."""
    while _started:
        process, folder = _started.pop()
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _amazon() -> Objects:
    program = versitygw()
    if program is None:
        endpoint = _moto()
    else:
        folder = _folder()
        (folder / "objects" / _BUCKET).mkdir(parents=True)
        port = free_port()
        secrets = {"ROOT_ACCESS_KEY": "test-key", "ROOT_SECRET_KEY": "test-secret"}
        listen = ["--port", f"127.0.0.1:{port}", "--quiet"]
        endpoint = _start([str(program), *listen, "posix", "objects"], folder, port, secrets)
    environment = {
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    return Objects(f"s3://{_BUCKET}", MappingProxyType(environment))


def _google() -> Objects:
    account = {"gcs_base_url": _moto(), "disable_oauth": True, "client_email": ""}
    key = json.dumps({**account, "private_key": "", "private_key_id": ""})
    environment = {"GOOGLE_SERVICE_ACCOUNT_KEY": key, "GOOGLE_ALLOW_HTTP": "true"}
    return Objects(f"gs://{_BUCKET}", MappingProxyType(environment))


def _azure() -> Objects:
    script = azurite()
    if script is None:
        _missing("no node and npm are installed: Azure's emulator needs them")
    port = free_port()
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    flags = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    endpoint = _start(["node", str(script), *where, *flags], _folder(), port)
    _ask(f"{endpoint}/{_ACCOUNT}/{_BUCKET}?restype=container", _azure_headers())
    environment = {
        "AZURE_STORAGE_USE_EMULATOR": "true",
        "AZURITE_BLOB_STORAGE_URL": endpoint,
        "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": _ACCOUNT_KEY,
    }
    return Objects(f"az://{_BUCKET}", MappingProxyType(environment))


@functools.cache
def _moto() -> str:
    port = free_port()
    endpoint = _start([sys.executable, "-m", "tests.objects.moto", str(port)], _folder(), port)
    _ask(f"{endpoint}/{_BUCKET}", {})
    return endpoint


def _azure_headers() -> dict[str, str]:
    """What makes a container: obstore writes to containers, and makes none."""
    date, version = email.utils.formatdate(usegmt=True), "2021-08-06"
    what = "\n".join(
        (
            "PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}",
            f"/{_ACCOUNT}/{_ACCOUNT}/{_BUCKET}", "restype:container",
        )
    )  # fmt: skip
    signed = hmac.new(base64.b64decode(_ACCOUNT_KEY), what.encode(), hashlib.sha256).digest()
    signature = base64.b64encode(signed).decode()
    return {
        "x-ms-date": date,
        "x-ms-version": version,
        "Authorization": f"SharedKey {_ACCOUNT}:{signature}",
    }


def _ask(url: str, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(url, method="PUT", headers=dict(headers))
    urllib.request.urlopen(request, timeout=_START_S).close()


def _start(
    command: list[str], folder: Path, port: int, environment: Mapping[str, str] | None = None
) -> str:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    _started.append((process, folder))
    deadline = time.monotonic() + _START_S
    while not _answers(port):
        if time.monotonic() > deadline or process.poll() is not None:
            said = (folder / "output").read_text("utf-8", "replace")[-4000:]
            msg = f"{command[0]} does not answer: {said}"
            raise TimeoutError(msg)
        time.sleep(0.05)  # between two looks
    return f"http://127.0.0.1:{port}"


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="objects-"))


def _missing(why: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
