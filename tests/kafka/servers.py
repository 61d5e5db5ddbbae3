"""The Kafka that tests use: the first that is there."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient

from mlflow_ledger.bus import TOPICS, KafkaPlace

from .broker import Cluster, missing

__all__ = ["drop", "need_brokers", "running", "servers", "stop"]

_VARIABLE = "MLFLOW_LEDGER_TEST_KAFKA"
_running: list[Cluster] = []


@functools.cache
def servers() -> str:
    """Bootstrap servers of a broker that lasts as long as this process of the tests.

    Where there can be none, the test fails in CI and is skipped elsewhere.
    """
    given = os.environ.get(_VARIABLE)
    if given:
        return given
    need_brokers(f"; or name a broker in {_VARIABLE}=host:port")
    return running(Cluster(Path(tempfile.mkdtemp(prefix="kafka-")))).servers


def need_brokers(or_else: str = "") -> None:
    """Fail the test in CI, and skip it elsewhere, where no broker can be started."""
    why = missing()
    if why is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}{or_else}")
        pytest.skip(f"{why}{or_else}")


def running(cluster: Cluster) -> Cluster:
    """Start a cluster that lasts as long as this process of the tests; its folder goes then."""
    _running.append(cluster)
    cluster.__enter__()
    return cluster


def stop() -> None:
    """End what is running."""
    while _running:
        cluster = _running.pop()
        cluster.__exit__()
        shutil.rmtree(cluster.folder)


def drop(place: KafkaPlace) -> None:
    """Delete a ledger's topics: a broker of a test is no place for thousands."""
    admin = _admin(",".join(place.servers))
    there = [
        name
        for topic in (*TOPICS, "schemas", "keys")
        if (name := place.topic(topic)) in admin.list_topics()
    ]
    if there:
        admin.delete_topics(there)


@functools.cache
def _admin(where: str) -> Any:
    return KafkaAdminClient(bootstrap_servers=where.split(","))
