"""The history of metrics, as MLflow's tracking store answers it."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Sequence

from mlflow.entities import Metric
from mlflow.entities.metric import MetricWithRunId
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchUtils

from mlflow_ledger.bus import without_gc
from mlflow_ledger.query import MetricPoint, metric_history

from .edge import LedgerStore, start_offset

__all__ = ["MetricHistories"]

_NAN = float("nan")


class MetricHistories(LedgerStore):
    """Whole histories, pages of them, and samples for charts."""

    def get_metric_history(
        self,
        run_id: str,
        metric_key: str,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[Metric]:
        """All values of a metric by (timestamp, step, value); none for a run that is not there."""
        offset = start_offset(page_token)
        token = None
        with without_gc():
            found = sorted(self._history(run_id, metric_key))[offset:]
            if max_results is not None and len(found) > max_results:
                token = SearchUtils.create_page_token(offset + max_results)
                found = found[: max(max_results, 0)]
            return PagedList([_metric(metric_key, point) for point in found], token)

    def get_metric_history_bulk(
        self, run_ids: Iterable[str], metric_key: str, max_results: int
    ) -> list[MetricWithRunId]:
        """The first values of several runs, by run id, then (timestamp, step, value)."""
        limit = _limit(max_results)

        def question(db: sqlite3.Connection) -> list[MetricWithRunId]:
            answer: list[MetricWithRunId] = []
            for run_id in sorted(set(run_ids)):
                points = sorted(metric_history(db, run_id, metric_key))
                answer += _with_run_id(run_id, metric_key, points[: limit - len(answer)])
            return answer

        return list(self._ask(question))

    def get_max_step_for_metric(self, run_id: str, metric_key: str) -> int:
        """The largest step of a metric, 0 where there is none."""
        return max((step for _, step, _, _ in self._history(run_id, metric_key)), default=0)

    def get_metric_history_bulk_interval_from_steps(
        self, run_id: str, metric_key: str, steps: Sequence[int], max_results: int
    ) -> list[MetricWithRunId]:
        """The values at some steps, by (step, timestamp, value); the first of them."""
        wanted = set(steps)
        found = [p for p in self._history(run_id, metric_key) if p[1] in wanted]
        return _with_run_id(run_id, metric_key, sorted(found, key=_by_step)[: _limit(max_results)])

    def get_metric_history_bulk_interval(
        self,
        run_ids: Sequence[str],
        metric_key: str,
        max_results: int,
        start_step: int | None,
        end_step: int | None,
    ) -> list[MetricWithRunId]:
        """An even sample of each run's history within some steps, first and last value included."""
        if (start_step is None) != (end_step is None):
            raise MlflowException.invalid_parameter_value(
                "Both start_step and end_step must be specified together, "
                "or neither may be specified."
            )
        answer = []
        for run_id in run_ids:
            points = sorted(self._history(run_id, metric_key), key=_by_step)
            if start_step is not None and end_step is not None:
                points = [p for p in points if start_step <= p[1] <= end_step]
            answer += _with_run_id(run_id, metric_key, _sample(points, max(1, max_results)))
        return answer

    def _history(self, run_id: str, metric_key: str) -> list[MetricPoint]:
        points: list[MetricPoint] = self._ask(lambda db: metric_history(db, run_id, metric_key))
        return points


def _limit(max_results: int) -> int:
    """A limit as SQL reads it: none if it is negative."""
    return max_results if max_results >= 0 else sys.maxsize


def _by_step(point: MetricPoint) -> tuple[int, int, float, bool]:
    timestamp_ms, step, value, is_nan = point
    return step, timestamp_ms, value, is_nan


def _sample(points: list[MetricPoint], size: int) -> list[MetricPoint]:
    """The first of each of ``size`` buckets as SQL's NTILE makes them, and always the last."""
    if len(points) <= size:
        return points
    small, larger = divmod(len(points), size)
    starts = [bucket * small + min(bucket, larger) for bucket in range(size)]
    sample = [points[start] for start in starts]
    if sample[-1] != points[-1]:
        sample[-1] = points[-1]
    return sample


def _metric(key: str, point: MetricPoint) -> Metric:
    timestamp_ms, step, value, is_nan = point
    return Metric(key, _NAN if is_nan else value, timestamp_ms, step)


def _with_run_id(run_id: str, key: str, points: Iterable[MetricPoint]) -> list[MetricWithRunId]:
    return [MetricWithRunId(metric=_metric(key, point), run_id=run_id) for point in points]
