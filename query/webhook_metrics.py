"""What a webhook bridge says of itself, in the form that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .deliveries import Deliveries

__all__ = ["WEBHOOK_METRICS", "webhook_registry"]

WEBHOOK_METRICS = {
    "mlflow_ledger_webhook_deliveries_total": "Deliveries that a webhook has taken.",
    "mlflow_ledger_webhook_failures_total": "Attempts that a webhook has not taken.",
    "mlflow_ledger_webhook_given_up_total": "Deliveries that were given up.",
    "mlflow_ledger_webhook_log_up": "Whether the log answers: 1 or 0.",
    "mlflow_ledger_webhook_due": "Deliveries that are due, by webhook.",
    "mlflow_ledger_webhook_due_seconds": "Age of the oldest that is due, by webhook.",
    "mlflow_ledger_webhook_given_up": "Deliveries that were given up and are kept, by webhook.",
}
"""Every metric, with what it says."""


class _Collector(Collector):
    def __init__(self, deliveries: Deliveries, done: Callable[[], dict[str, float]]) -> None:
        self._deliveries = deliveries
        self._done = done

    def collect(self) -> Iterator[Metric]:
        """The metrics, as things are now."""
        done = self._done()
        counts = self._deliveries.counts()
        now_ms = time.time() * 1000
        by_webhook: dict[str, Mapping[str, float]] = {
            "mlflow_ledger_webhook_due": {w: due for w, (due, _, _) in counts.items()},
            "mlflow_ledger_webhook_due_seconds": {
                w: max(0.0, now_ms - since_ms) / 1000 if due else 0.0
                for w, (due, since_ms, _) in counts.items()
            },
            "mlflow_ledger_webhook_given_up": {w: lost for w, (_, _, lost) in counts.items()},
        }
        for name, text in WEBHOOK_METRICS.items():
            if name in by_webhook:
                family = GaugeMetricFamily(name, text, labels=["webhook"])
                for webhook_id, value in by_webhook[name].items():
                    family.add_metric([webhook_id], value)
                yield family
            else:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                yield kind(name, text, value=done[name])


def webhook_registry(
    deliveries: Deliveries, done: Callable[[], dict[str, float]]
) -> CollectorRegistry:
    """A registry of its own; ``done`` gives the values of metrics that have no label."""
    registry = CollectorRegistry()
    registry.register(_Collector(deliveries, done))
    return registry
