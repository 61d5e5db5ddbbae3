"""What a consumer service says of itself, in the form that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlflow_ledger.consumers import Status

__all__ = ["METRICS", "Counts", "health", "registry_of"]

METRICS = {
    "mlflow_ledger_brokers_up": "Whether the log answers: 1 or 0.",
    "mlflow_ledger_lag_events": "Events that stand in the log and are not folded yet.",
    "mlflow_ledger_lag_seconds": "Age of the oldest event that is not folded, by the log's time.",
    "mlflow_ledger_applied_events_total": "Events folded since the service began.",
    "mlflow_ledger_folded_events": "Events that the replica holds.",
    "mlflow_ledger_rebuild_progress_ratio": "Folded events as a part of all; 1 when caught up.",
    "mlflow_ledger_spool_depth_events": "Events that wait on this host to be sent to the log.",
    "mlflow_ledger_snapshots_published_total": "Snapshots published for this host's searches.",
    "mlflow_ledger_snapshots_shared_total": "Snapshots put into the blob store for other hosts.",
    "mlflow_ledger_blobs_stored_total": "Blobs written from the bus to the blob store.",
    "mlflow_ledger_blob_failures_total": "Attempts to write a blob that have failed.",
    "mlflow_ledger_blobs_waiting": "Blobs that are complete in the log and not yet in the store.",
    "mlflow_ledger_checkpoints_signed_total": "Checkpoints of the log's trees that were signed.",
    "mlflow_ledger_duty_failures_total": "Rounds of publishing or storing that have failed.",
    "mlflow_ledger_rounds_total": "Rounds of the service since it began.",
}
"""Every metric, with what it says."""


class Counts(NamedTuple):
    """What the duties of a service have done, and what waits for them."""

    snapshots_published: int = 0
    snapshots_shared: int = 0
    blobs_stored: int = 0
    blob_failures: int = 0
    blobs_waiting: int = 0
    checkpoints_signed: int = 0
    spool_depth: int = 0


class _Collector(Collector):
    def __init__(self, status: Status, counts: Callable[[], Counts]) -> None:
        self._status = status
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The metrics, as things are now."""
        values = _values(self._status, self._counts())
        for name, text in METRICS.items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, text, value=values[name])


def registry_of(status: Status, counts: Callable[[], Counts]) -> CollectorRegistry:
    """A registry of its own, with the metrics of one service."""
    registry = CollectorRegistry()
    registry.register(_Collector(status, counts))
    return registry


def health(status: Status, *, healthy: bool) -> dict[str, Any]:
    """What ``/health`` answers; times are in seconds since 1970."""
    return {
        "status": "ok" if healthy else "degraded",
        "position": None if status.position is None else str(status.position),
        "lag_events": None if status.lag is None else status.lag.events,
        "lag_seconds": _lag_s(status),
        "brokers_up": status.brokers_up,
        "brokers_up_since": status.since_s if status.brokers_up else None,
        "brokers_away_since": None if status.brokers_up else status.since_s or None,
        "folded_events": status.seq,
    }


def _values(status: Status, counts: Counts) -> dict[str, float]:
    lag = status.lag.events if status.lag else 0
    all_events = status.seq + lag
    return {
        "mlflow_ledger_brokers_up": float(status.brokers_up),
        "mlflow_ledger_lag_events": lag,
        "mlflow_ledger_lag_seconds": _lag_s(status),
        "mlflow_ledger_applied_events_total": status.applied,
        "mlflow_ledger_folded_events": status.seq,
        "mlflow_ledger_rebuild_progress_ratio": status.seq / all_events if all_events else 0.0,
        "mlflow_ledger_spool_depth_events": counts.spool_depth,
        "mlflow_ledger_snapshots_published_total": counts.snapshots_published,
        "mlflow_ledger_snapshots_shared_total": counts.snapshots_shared,
        "mlflow_ledger_blobs_stored_total": counts.blobs_stored,
        "mlflow_ledger_blob_failures_total": counts.blob_failures,
        "mlflow_ledger_blobs_waiting": counts.blobs_waiting,
        "mlflow_ledger_checkpoints_signed_total": counts.checkpoints_signed,
        "mlflow_ledger_duty_failures_total": status.failures,
        "mlflow_ledger_rounds_total": status.rounds,
    }


def _lag_s(status: Status) -> float:
    if status.lag is None or status.lag.oldest_ms is None:
        return 0.0
    return max(0.0, time.time() - status.lag.oldest_ms / 1000)
