"""A private PostgreSQL cluster in a folder that goes away again."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy

__all__ = ["Postgres", "PostgresMissing", "running_postgres"]

_USER = "bench"
_UNPRIVILEGED = ("postgres", "nobody")


class PostgresMissing(Exception):
    """There is no PostgreSQL to compare with; the message says what is missing."""


class Postgres:
    """A running cluster on a loopback port."""

    def __init__(self, port: int) -> None:
        """Talk to the cluster on ``port``."""
        self._port = port

    def uri(self, database: str) -> str:
        """The URI of a database, for SQLAlchemy and so for MLflow."""
        return f"postgresql+psycopg2://{_USER}@127.0.0.1:{self._port}/{database}"

    def create(self, database: str) -> str:
        """Make an empty database; returns its URI."""
        self._execute("postgres", f'CREATE DATABASE "{database}"')
        return self.uri(database)

    def settle(self, database: str) -> None:
        """Do at once what autovacuum does within a minute of a load."""
        self._execute(database, "VACUUM ANALYZE")

    def version(self) -> str:
        """The server's version."""
        return str(self._execute("postgres", "SHOW server_version")).split()[0]

    def size_bytes(self, database: str) -> int:
        """What a database takes on disk."""
        return int(self._execute("postgres", f"SELECT pg_database_size('{database}')"))

    def _execute(self, database: str, statement: str) -> Any:
        engine = sqlalchemy.create_engine(self.uri(database), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                done = connection.execute(sqlalchemy.text(statement))
                return done.scalar() if done.returns_rows else None
        finally:
            engine.dispose()


@contextmanager
def running_postgres(parent: Path) -> Iterator[Postgres]:
    """A new cluster below ``parent``, with PostgreSQL's own settings; it goes away after use.

    Raises:
        PostgresMissing: there is no PostgreSQL, or no driver, or it does not start.
    """
    programs = _programs()
    if importlib.util.find_spec("psycopg2") is None:
        raise PostgresMissing("psycopg2-binary is not in this environment")
    folder = Path(tempfile.mkdtemp(prefix="mlflow-ledger-postgres-", dir=parent))
    account = _account()
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    port = _free_port()
    data = str(folder / "data")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
    control = [str(programs / "pg_ctl"), "-D", data, "-w", "-t", "60"]
    try:
        _call(
            [str(programs / "initdb"), "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8",
             "--locale=C"],
            folder, account,
        )  # fmt: skip
        _call([*control, "-l", str(folder / "server.log"), "-o", options, "start"], folder, account)
        try:
            yield Postgres(port)
        finally:
            _call([*control, "-m", "immediate", "stop"], folder, account)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of ``initdb`` and ``pg_ctl``: on PATH, or where Debian puts the newest."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    debian = sorted(versions, key=lambda at: _number(at.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    for folder in ([Path(on_path).parent] if on_path else []) + debian:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise PostgresMissing("no initdb and pg_ctl found")


def _number(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return 0.0


def _account() -> pwd.struct_passwd | None:
    """Whose name to run under; PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissing("PostgreSQL refuses to run as root, and there is no other user")


def _call(command: Sequence[str], folder: Path, account: pwd.struct_passwd | None) -> None:
    """Run one of PostgreSQL's programs; its output goes to a file, which a server may keep open."""
    identity: dict[str, Any] = {}
    if account is not None:
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    said = folder / "programs.log"
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "LC_ALL": "C"}
    with said.open("ab") as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, cwd=folder, env=environment, check=False,
            **identity,
        )  # fmt: skip
    if done.returncode:
        text = said.read_text("utf-8", "replace").replace(str(folder), "its folder")
        last = text.strip().splitlines()[-1:]
        raise PostgresMissing(f"{Path(command[0]).name} failed: {''.join(last)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
