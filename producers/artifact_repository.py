"""Artifacts: files in blobs named by their digest, found through the manifest in the ledger."""

from __future__ import annotations

import os
import posixpath
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from mlflow_ledger.bus import KAFKA_SCHEME, SCHEME
from mlflow_ledger.consumers import Decide, Ledger, open_ledger
from mlflow_ledger.query import ArtifactRow, artifact_at, artifacts_below
from mlflow_ledger.schemas import DEFAULT_WORKSPACE, ArtifactDeleted, ArtifactLogged, Event

from .edge import increasing_ns, mlflow_errors, with_mlflow_errors
from .in_workspace import current_workspace, in_workspace

__all__ = ["ARTIFACT_SCHEME", "LedgerArtifactRepository"]

ARTIFACT_SCHEME = "ledger-artifacts"
_BACKEND_URI = "_MLFLOW_SERVER_FILE_STORE"
_PER_WRITE = 500


class LedgerArtifacts(ArtifactRepository):
    """The files below one ``ledger-artifacts://<ledger id>/<path>``."""

    def __init__(
        self,
        artifact_uri: str,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
    ) -> None:
        """Find the ledger: the tracking URI's, else that of the server this runs in."""
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        parts = urlsplit(artifact_uri)
        self._root = parts.path.strip("/")
        self._ledger: Ledger = with_mlflow_errors(
            lambda: _ledger_of(parts.netloc, tracking_uri, registry_uri)
        )

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Keep a file, below ``artifact_path`` under its own name."""
        verify_artifact_path(artifact_path)
        path = Path(local_file)
        self._log([(path, posixpath.join(artifact_path or "", path.name))])

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Keep all files below a folder, under the same relative paths."""
        verify_artifact_path(artifact_path)
        folder = Path(local_dir)
        if not folder.is_dir():
            raise MlflowException(f"{local_dir} is no folder", INVALID_PARAMETER_VALUE)
        found = sorted(
            (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
        )
        self._log(
            (file, posixpath.join(artifact_path or "", file.relative_to(folder).as_posix()))
            for file in found
        )

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """The files and folders directly below a path; of a file, or of nothing, none."""
        prefix = self._at(path)
        entries: dict[str, FileInfo] = {}
        for row in self._below(prefix):
            rest = row.path.removeprefix(prefix).lstrip("/")
            if not rest:
                return []
            name, _, deeper = rest.partition("/")
            relative = posixpath.join(path or "", name)
            entries[name] = FileInfo(relative, bool(deeper), None if deeper else row.size_bytes)
        return [entries[name] for name in sorted(entries)]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Take files out of the manifest; their blobs stay until they are collected."""
        doomed = self._below(self._at(artifact_path))
        for start in range(0, len(doomed), _PER_WRITE):
            events: list[Event] = [
                ArtifactDeleted(
                    digest=row.digest, path=row.path, owner=row.owner, written_ns=increasing_ns()
                )
                for row in doomed[start : start + _PER_WRITE]
            ]
            self._say(lambda _, events=events: events)  # type: ignore[misc]  # mypy: lambda default

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        """Write one file; its digest is checked on the way."""
        at = self._at(remote_file_path)
        row: ArtifactRow | None = self._ledger.query(lambda db: artifact_at(db, at))
        if row is None:
            raise MlflowException(
                f"No such artifact: '{remote_file_path}' in {self.artifact_uri}",
                RESOURCE_DOES_NOT_EXIST,
            )
        self._ledger.carrier.download(row.digest, Path(local_path))

    def _log(self, files: Iterable[tuple[Path, str]]) -> None:
        logged = [(local, self._logged(local, path)) for local, path in files]
        for start in range(0, len(logged), _PER_WRITE):
            part = logged[start : start + _PER_WRITE]
            self._say(lambda db, part=part: self._named(db, part))  # type: ignore[misc]  # mypy: lambda default

    def _say(self, decide: Decide) -> None:
        with in_workspace(current_workspace() or DEFAULT_WORKSPACE):
            self._ledger.write(decide)

    def _logged(self, local: Path, path: str) -> ArtifactLogged:
        digest, size_bytes = self._ledger.carrier.put_file(local)
        at = self._at(path)
        return ArtifactLogged(
            digest=digest,
            path=at,
            size_bytes=size_bytes,
            owner=_owner(at),
            written_ns=increasing_ns(),
        )

    def _named(
        self, db: sqlite3.Connection, logged: list[tuple[Path, ArtifactLogged]]
    ) -> list[Event]:
        """The events, once it is certain that no collector has just removed one of the blobs."""
        for local, event in logged:
            if db.execute("SELECT 1 FROM blobs WHERE digest = ?", (event.digest,)).fetchone():
                self._ledger.carrier.put_again(db, event.digest, local)
        return [event for _, event in logged]

    def _at(self, path: str | None) -> str:
        joined = posixpath.normpath(posixpath.join(self._root, path or ""))
        inside = joined == self._root or joined.startswith(f"{self._root}/") or not self._root
        if not inside or joined.startswith(".."):
            raise MlflowException(f"Invalid artifact path: '{path}'", INVALID_PARAMETER_VALUE)
        return "" if joined == "." else joined

    def _below(self, prefix: str) -> list[ArtifactRow]:
        def question(db: sqlite3.Connection) -> list[ArtifactRow]:
            return artifacts_below(db, prefix)

        return self._ledger.query(question)


@mlflow_errors
class LedgerArtifactRepository(LedgerArtifacts):
    """MLflow's artifact repository for ``ledger-artifacts``.

    Where the tracking URI is a server's, the files are asked of that server: it has to run with
    ``--artifacts-destination ledger-artifacts:``.
    """

    def __new__(
        cls,
        artifact_uri: str,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
    ) -> Any:
        """The repository, or MLflow's own for the artifacts of a server."""
        tracking_uri = tracking_uri or mlflow.get_tracking_uri()
        if urlsplit(tracking_uri).scheme in ("http", "https") and _BACKEND_URI not in os.environ:
            path = urlsplit(artifact_uri).path.lstrip("/")
            return MlflowArtifactsRepository(
                f"mlflow-artifacts:/{path}", tracking_uri, registry_uri
            )
        return super().__new__(cls)


def _ledger_of(ledger_id: str, tracking_uri: str | None, registry_uri: str | None) -> Ledger:
    """The ledger that an artifact URI means, among those this process knows of."""
    candidates = [
        uri
        for uri in (
            tracking_uri, os.environ.get(_BACKEND_URI), mlflow.get_tracking_uri(), registry_uri,
        )
        if uri and urlsplit(uri).scheme in (SCHEME, KAFKA_SCHEME)
    ]  # fmt: skip
    if not candidates:
        raise MlflowException(
            f"artifacts of ledger {ledger_id or '(any)'} need its URI; set MLFLOW_TRACKING_URI to "
            f"it, it is {tracking_uri or mlflow.get_tracking_uri()!r}",
            INVALID_PARAMETER_VALUE,
        )
    others = []
    for uri in candidates:
        ledger = open_ledger(uri)
        if not ledger.shared:  # which has begun when it is opened, and may be away now
            ledger.catch_up()
        if ledger_id in ("", ledger.ledger_id):
            return ledger
        others.append(f"{ledger.ledger_id} ({uri})")
    raise MlflowException(
        f"the artifacts are ledger {ledger_id}'s, but the tracking URI names ledger "
        f"{' and '.join(others)}; set MLFLOW_TRACKING_URI to the ledger they were logged to",
        INVALID_PARAMETER_VALUE,
    )


def _owner(path: str) -> str:
    """The entity that a path belongs to, by MLflow's layout of artifact roots."""
    parts = path.split("/")
    if parts[0] == "workspaces":
        parts = parts[2:]
    for index, part in enumerate(parts[:-1]):
        if part == "artifacts" and index >= 1:
            owner, folder = parts[index - 1], parts[index - 2] if index >= 2 else ""  # noqa: PLR2004
            return f"logged_models:/{owner}" if folder == "models" else f"runs:/{owner}"
    return f"paths:/{path}"
