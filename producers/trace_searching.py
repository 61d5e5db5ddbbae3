"""Searching traces, their sessions, and what filters have in common."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from mlflow.entities import TraceInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.store.analytics import trace_correlation
from mlflow.tracing.analysis import TraceFilterCorrelationResult
from mlflow.utils.search_utils import SearchTraceUtils
from mlflow.utils.validation import (
    _resolve_experiment_ids_and_locations,
)

from mlflow_ledger.bus import without_gc
from mlflow_ledger.query import (
    TraceSearch,
    correlated,
    find_sessions,
    find_traces,
    trace_details,
)

from .edge import LedgerStore, start_offset, whole
from .experiments import check_max_results
from .older_mlflow import SINCE_3_18, parse_experiment_id, parse_experiment_ids
from .trace_entities import trace_infos
from .trace_search import trace_filters, trace_orders

if TYPE_CHECKING:
    from mlflow.genai.scorers.online.entities import CompletedSession

__all__ = ["TraceSearching"]


class TraceSearching(LedgerStore):
    """Search traces and sessions, and compare filters."""

    def search_traces(
        self,
        experiment_ids: list[str] | None = None,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: list[str] | None = None,
        page_token: str | None = None,
        model_id: str | None = None,
        locations: list[str] | None = None,
    ) -> tuple[list[TraceInfo], str | None]:
        """A page of traces without their spans, the latest first unless ordered otherwise."""
        where = _resolve_experiment_ids_and_locations(experiment_ids, locations)
        check_max_results(max_results)
        numbers = None if where is None else [_number(found) for found in where]
        orders, filters = trace_orders(order_by), trace_filters(filter_string)
        offset = start_offset(page_token)
        # Older MLflow does not look whether anything follows a full page.
        asked = max_results + 1 if SINCE_3_18 else max_results
        search = TraceSearch(numbers, filters, orders, asked, offset)

        def question(db: sqlite3.Connection) -> tuple[list[TraceInfo], int]:
            found = find_traces(db, search)
            rows = found[:max_results]
            with without_gc():
                infos = trace_infos(rows, trace_details(db, rows), self._arrived)
            return infos, len(found)

        infos, count = self._ask(question)
        token = None
        if count == asked:
            token = SearchTraceUtils.create_page_token(offset + max_results)
        return infos, token

    def find_completed_sessions(
        self,
        experiment_id: str,
        min_last_trace_timestamp_ms: int,
        max_last_trace_timestamp_ms: int,
        max_results: int | None = None,
        filter_string: str | None = None,
    ) -> list[CompletedSession]:
        """Sessions whose last trace began in a time; the filter is about their first."""
        from mlflow.genai.scorers.online.entities import CompletedSession

        number = whole(parse_experiment_id(experiment_id)) or 0
        between_ms = (
            whole(min_last_trace_timestamp_ms) or 0,
            whole(max_last_trace_timestamp_ms) or 0,
        )
        filters = trace_filters(filter_string) if filter_string else []
        rows = self._ask(lambda db: find_sessions(db, number, between_ms, filters, max_results))
        return [CompletedSession(*row) for row in rows]

    def calculate_trace_filter_correlation(
        self,
        experiment_ids: list[str],
        filter_string1: str,
        filter_string2: str,
        base_filter: str | None = None,
    ) -> TraceFilterCorrelationResult:
        """How often traces meet both filters, against how often they meet each."""
        numbers = [whole(number) or 0 for number in parse_experiment_ids(list(experiment_ids))]
        one, other = (
            trace_filters(f"{base_filter} and {text}" if base_filter else text)
            for text in (filter_string1, filter_string2)
        )
        base = trace_filters(base_filter)
        total, ones, others, both = self._ask(lambda db: correlated(db, numbers, base, one, other))
        found = trace_correlation.calculate_npmi_from_counts(both, ones, others, total)
        return TraceFilterCorrelationResult(
            npmi=found.npmi,
            npmi_smoothed=found.npmi_smoothed,
            filter1_count=ones,
            filter2_count=others,
            joint_count=both,
            total_count=total,
        )


def _number(experiment_id: str) -> int:
    """What is no number is refused with the code that MLflow's search of traces has for it."""
    try:
        return int(experiment_id)
    except ValueError as error:
        raise MlflowException(str(error), INTERNAL_ERROR) from error
