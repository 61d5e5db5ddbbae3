"""Fresh replicas, timed; without mlflow, as a consumer runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from mlflow_ledger.bus import KafkaLog, KafkaSettings, MirrorLog, Position, Settings, kafka_place
from mlflow_ledger.consumers import Analytics, KafkaLedger, find_replica

__all__ = ["Stages", "publish", "replicate", "stages"]

_PATIENCE_S = 300.0


class Stages(NamedTuple):
    """How long each stage of a fold took, one after the other, in seconds."""

    events: int
    fetch_s: float
    mirror_s: float
    fold_s: float


def replicate(uri: str, home: str, _pipe: Connection) -> tuple[int, float]:
    """Make a replica where there is none; how many events it has, and how long that took."""
    began = time.perf_counter()
    ledger = _opened(uri, Path(home))
    ledger.catch_up()
    took_s = time.perf_counter() - began
    events = ledger.log.last_offset()
    ledger.close()
    return events, took_s


def stages(uri: str, home: str, _pipe: Connection) -> Stages:
    """The same, stage by stage."""
    ledger = _opened(uri, Path(home))
    mirror, partitions = ledger.log, ledger.log.partitions()
    kafka = KafkaLog(kafka_place(uri), _settings(), ledger.ledger_id)
    mirror.path.parent.mkdir(parents=True)
    MirrorLog.begin(mirror.path, ledger.ledger_id, {})
    start = Position(ledger.ledger_id, {(t, n): 0 for t, c in partitions.items() for n in range(c)})
    fetch_s = mirror_s = 0.0
    batches = kafka.batches(start)
    now = time.perf_counter()
    for batch, reached in batches:
        fetched = time.perf_counter()
        mirror.take(batch, reached)
        fetch_s, mirror_s = fetch_s + fetched - now, mirror_s - fetched
        now = time.perf_counter()
        mirror_s += now
    ledger.catch_up()
    fold_s = time.perf_counter() - now
    events = mirror.last_offset()
    kafka.close()
    ledger.close()
    return Stages(events, fetch_s, mirror_s, fold_s)


def publish(uri: str, home: str, _pipe: Connection) -> str | None:
    """Publish a snapshot for hosts that have none; what is missing where that cannot be done."""
    ledger = _opened(uri, Path(home))
    bundles: Callable[[], object] | None = getattr(ledger, "bundles", None)
    if bundles is None:
        ledger.close()
        return "this version shares no snapshots between hosts"
    ledger.catch_up()
    analytics = Analytics(ledger)
    snapshot = analytics.publish()
    analytics.close()
    shared = bundles()
    done = shared.publish(ledger.log, snapshot)  # type: ignore[attr-defined]  # once there are such
    ledger.close()
    return None if done is not None else "nothing was published"


def _opened(uri: str, home: Path) -> KafkaLedger:
    replica = find_replica(kafka_place(uri), home, _settings(), create=False)
    return KafkaLedger(replica, Settings.read(home=str(home)), _settings())


def _settings() -> KafkaSettings:
    return KafkaSettings.read().model_copy(update={"timeout_s": _PATIENCE_S})
