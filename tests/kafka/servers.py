"""The Kafka that tests use: the first that is there."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from .broker import Cluster, missing

__all__ = ["servers", "stop"]

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
    why = missing()
    if why is not None:
        why = f"{why}; or name a broker in {_VARIABLE}=host:port"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="kafka-")))
    _running.append(cluster)
    cluster.__enter__()
    return cluster.servers


def stop() -> None:
    """End the broker, if there is one."""
    while _running:
        cluster = _running.pop()
        cluster.__exit__()
        shutil.rmtree(cluster.folder)
