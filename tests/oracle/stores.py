"""Makes the couples of stores: MLflow's own on SQLite, and ours."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.store.model_registry.sqlalchemy_store as registry_module
import mlflow.tracking
import pytest
import sqlalchemy
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlRegistryStore
from mlflow.store.model_registry.sqlalchemy_workspace_store import (
    WorkspaceAwareSqlAlchemyStore as SqlWorkspaceRegistryStore,
)
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as SqlTrackingStore
from mlflow.store.tracking.sqlalchemy_workspace_store import (
    WorkspaceAwareSqlAlchemyStore as SqlWorkspaceTrackingStore,
)

from mlflow_ledger.consumers import begin_ledger
from mlflow_ledger.producers import plugin
from tests.kafka.servers import drop, servers
from tests.service.running import Threaded, reading

Stores = tuple[Any, Any]
Factory = Callable[[Path], Stores]
Template = tuple[Path, tuple[int, int]]

_KAFKA, _THIN = "MLFLOW_LEDGER_ORACLE_KAFKA", "MLFLOW_LEDGER_ORACLE_THIN"

_services: dict[int, Threaded] = {}
"""The services that couples read through, by the couple's tracking store."""


def now() -> int:
    """The clock in MLflow's milliseconds."""
    return int(time.time() * 1000)


# Where MLflow asks "the" tracking store (models:/m-… sources, prompt links), it finds the one of
# the couple that is being called: the global tracking URI could only name one of them.
current: list[Any] = []  # the tracking store of the couple that is being called
registry_module.MlflowClient = lambda: current[-1]
_get_store = mlflow.tracking._get_store
mlflow.tracking._get_store = lambda *a, **k: current[-1] if current else _get_store(*a, **k)

ids: dict[str, Iterator[int]] = {}


@sqlalchemy.event.listens_for(SqlExperiment, "before_insert")
def _give_id(_mapper: Any, connection: Any, target: Any) -> None:
    """Number experiments ourselves.

    SQLite gives a hard-deleted experiment's number to the next one (MySQL and PostgreSQL do not);
    a second SqlAlchemyStore shall have numbers of 18 digits, as ours has.
    """
    url = str(connection.engine.url)
    if url in ids:
        target.experiment_id = next(ids[url])


def make_template(folder: Path) -> Template:
    """An empty MLflow database (its migrations take seconds), and when it was made."""
    start = now()
    path = folder / "template.db"
    store = SqlTrackingStore(f"sqlite:///{path}", str(folder / "artifacts"))
    store._dispose_engine()
    return path, (start, now())


# Opening a SqlAlchemyStore takes 25 ms of schema checks, so stores are kept and given fresh files.
_idle: list[Stores] = []


def open_sql(template: Path) -> Stores:
    """MLflow's stores on a fresh copy of the template."""
    root = template.parent
    kind = SqlWorkspaceTrackingStore if MLFLOW_ENABLE_WORKSPACES.get() else SqlTrackingStore
    for index, stores in enumerate(_idle):
        if type(stores[0]) is kind and stores[0].db_uri.startswith(f"sqlite:///{root}/"):
            del _idle[index]
            shutil.copy(template, stores[0].db_uri.removeprefix("sqlite:///"))
            return stores
    path = root / f"{uuid.uuid4().hex}.db"
    shutil.copy(template, path)
    tracking = kind(f"sqlite:///{path}", str(root / "artifacts"))
    registry = (SqlRegistryStore if kind is SqlTrackingStore else SqlWorkspaceRegistryStore)(
        f"sqlite:///{path}"
    )
    for store in (tracking, registry):
        sqlalchemy.event.listen(
            store.engine, "connect", lambda conn, _: conn.execute("PRAGMA synchronous=OFF")
        )
        store.engine.dispose()
    return tracking, registry


def workspaces(tracking: Any) -> Any:
    """The store of workspaces that a tracking store asks."""
    if isinstance(tracking, SqlTrackingStore):
        return tracking._get_workspace_provider_instance()
    return tracking._provider


def close(stores: Stores) -> None:
    """Let go of a couple; MLflow's are kept for the next."""
    if isinstance(stores[0], SqlTrackingStore):
        if getattr(stores[0], "_workspace_provider", None) is not None:
            stores[0]._workspace_provider._engine.dispose()
            stores[0]._workspace_provider = None
        for store in stores:
            store._dispose_engine()
        ids.pop(stores[0].db_uri, None)
        _idle.append(stores)
        return
    for store in stores:
        if callable(getattr(store, "close", None)):
            store.close()
    service = _services.pop(id(stores[0]), None)
    if service is not None:
        service.stop()
    log = getattr(getattr(stores[0], "_ledger", None), "kafka", None)
    if log is not None:
        drop(log.place)


def make_self(template: Path) -> Factory:
    """A factory of second SqlAlchemyStores, to test the harness with."""

    def make(_folder: Path) -> Stores:
        stores = open_sql(template)
        ids[stores[0].db_uri] = itertools.count(10**17 + random.getrandbits(40), 12_345_677)
        return stores

    return make


def make_ledger(folder: Path) -> Stores:
    """Our stores, on a ledger in this folder."""
    uri = f"ledger:{folder}"
    tracking = plugin.tracking_store(uri)
    return tracking, plugin.registry_store(uri, uri)


def make_kafka_ledger(folder: Path) -> Stores:
    """Our stores, on a new ledger in Kafka, with a replica in this folder."""
    uri = f"ledger+kafka://{servers()}/oracle-{uuid.uuid4().hex}?delivery=ack"
    tracking = plugin.tracking_store(uri)
    with _settings(folder):
        if os.environ.get("MLFLOW_LEDGER_ORACLE_ERASABLE", "") not in ("", "0"):
            begin_ledger(uri, erasable=True)
        assert tracking._ledger.shared  # looked up once, and kept for the other store
    return tracking, plugin.registry_store(uri, uri)


def make_erasable_ledger(folder: Path) -> Stores:
    """As :func:`make_kafka_ledger`, whose contents are sealed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_LEDGER_ORACLE_ERASABLE", "1")
        return make_kafka_ledger(folder)


def make_thin_ledger(folder: Path) -> Stores:
    """Our stores, on a new ledger in Kafka that is read through a query service."""
    place = f"ledger+kafka://{servers()}/oracle-{uuid.uuid4().hex}"
    with _settings(folder / "client"):
        service = Threaded(reading(place, folder / "service"))
        uri = f"{place}?delivery=ack&query={service.url}"
        tracking = plugin.tracking_store(uri)
        assert tracking._ledger.shared
    _services[id(tracking)] = service
    return tracking, plugin.registry_store(uri, uri)


@contextmanager
def _settings(home: Path) -> Iterator[None]:
    """The environment of a host; of few partitions, since each case has topics of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_LEDGER_HOME", str(home))
        patch.setenv("MLFLOW_LEDGER_KAFKA_PARTITIONS", "2")
        yield


def wants_share() -> bool:
    """Whether a share of cases and histories is enough, since a ledger in Kafka takes a second.

    ``all`` in either variable asks for all of them.
    """
    return (wants_kafka() or wants_thin()) and "all" not in (
        os.environ.get(_KAFKA),
        os.environ.get(_THIN),
    )


def wants_thin() -> bool:
    """Whether the environment asks for a ledger in Kafka that is read through a service."""
    return os.environ.get(_THIN, "") not in ("", "0")


def wants_kafka() -> bool:
    """Whether the environment asks for a ledger in Kafka in place of one in a folder."""
    return os.environ.get(_KAFKA, "") not in ("", "0")


def wants_self() -> bool:
    """Whether the environment asks for the second SqlAlchemyStore in our store's place."""
    return os.environ.get("MLFLOW_LEDGER_ORACLE_SELF", "") not in ("", "0")
