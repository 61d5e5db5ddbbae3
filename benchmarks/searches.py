"""Rows about questions: searches, tables, histories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mlflow
from mlflow.utils.search_utils import SearchUtils

from .bench import Bench
from .rows import Goal, Kind, Row, Times
from .stores import Store
from .timing import interleaved, medians

__all__ = ["ask", "histories", "large_searches", "ordered", "searches", "tables"]

Question = Callable[[Store], Any]

_PAGE = 100
_PAGES = 5
_PEERS = (Kind.SQLITE, Kind.ANALYZED, Kind.POSTGRES)
_PEERS_LARGE = (Kind.ANALYZED, Kind.POSTGRES)
_TIMES_5 = Times(5, _PEERS, "5x the fastest peer")
_TIMES_100 = Times(100, (Kind.SQLITE,), "100x SQLite as it comes")
_TIMES_10_LARGE = Times(10, _PEERS_LARGE, "10x the faster peer")


def searches(bench: Bench) -> list[Row]:
    """The four searches, in the store of 10 k runs."""
    goals = {
        "order": (_TIMES_5, _TIMES_100),
        "pages": (_TIMES_5, _TIMES_100),
        "filter": (_TIMES_5,),
        "like": (_TIMES_5,),
    }
    return _search_rows(bench, bench.loaded(), "search", bench.sizes.runs, goals)


def large_searches(bench: Bench) -> list[Row]:
    """The same searches, in the store of 100 k runs."""
    goals = dict.fromkeys(_QUESTIONS, (_TIMES_10_LARGE,))
    return _search_rows(bench, bench.large(), "large", bench.sizes.large_runs, goals)


def tables(bench: Bench) -> list[Row]:
    """``mlflow.search_runs``: runs as a pandas table."""
    wanted = bench.sizes.table_runs
    figures = ask(bench, bench.loaded(), "a pandas table", partial(_table, wanted))
    return [
        Row(
            "pandas", f"{wanted} runs into pandas", "ms",
            "`mlflow.search_runs(max_results=…)`; the larger part of ours is MLflow's own code.",
            figures, (Times(3, _PEERS, "3x the fastest peer"),),
        )
    ]  # fmt: skip


def histories(bench: Bench) -> list[Row]:
    """``get_metric_history`` of one long metric."""
    stores, shape = bench.history()
    points = shape.history_steps
    figures = ask(bench, stores, "a long history", _history)
    return [
        Row(
            "history", f"history of {points:,} points", "ms",
            "`get_metric_history` of one metric.", figures,
            (Times(10, (Kind.SQLITE, Kind.POSTGRES), "10x the faster peer"),),
        )
    ]  # fmt: skip


def _search_rows(
    bench: Bench,
    stores: Mapping[Kind, Store],
    prefix: str,
    runs: int,
    goals: Mapping[str, tuple[Goal, ...]],
) -> list[Row]:
    rows = []
    for name, (work, meaning, question) in _QUESTIONS.items():
        figures = ask(bench, stores, f"{work} at {runs} runs", partial(question, runs))
        row = Row(f"{prefix}_{name}", f"{work}; {runs:,} runs", "ms", meaning, figures, goals[name])
        rows.append(row)
    return rows


def ask(
    bench: Bench, stores: Mapping[Kind, Store], what: str, question: Question
) -> dict[Kind, float]:
    """The median time of a question to each store, in milliseconds; all must answer the same."""
    bench.say(what)
    actions = {kind: partial(question, store) for kind, store in stores.items()}
    sizes = bench.sizes
    times, answers = interleaved(actions, sizes.repetitions, sizes.budget_seconds)
    ours = next(iter(answers.values()))  # the ledger stands first
    for kind, answer in answers.items():
        if answer != ours:
            raise AssertionError(f"{kind} and the ledger answer {what} differently")
    return {kind: seconds * 1000 for kind, seconds in medians(times).items()}


def _names(page: Any) -> list[str]:
    return [run.info.run_name for run in page]


def ordered(_runs: int, store: Store) -> list[str]:
    """The names of the first 100 runs, ordered by a metric."""
    found = store.client.search_runs(
        [store.experiment_id], order_by=["metrics.metric_01 DESC"], max_results=_PAGE
    )
    return _names(found)


def _deep_pages(runs: int, store: Store) -> list[str]:
    """Pages that follow one another, from the middle on."""
    names: list[str] = []
    offset = runs // 2 - _PAGE * _PAGES // 2
    token = SearchUtils.create_page_token(offset) if offset > 0 else None
    for _ in range(_PAGES):
        page = store.client.search_runs(
            [store.experiment_id],
            order_by=["params.param_01 ASC"],
            max_results=_PAGE,
            page_token=token,
        )
        names += _names(page)
        token = page.token
        if not token:
            break
    return names


def _filter(_runs: int, store: Store) -> list[str]:
    found = store.client.search_runs(
        [store.experiment_id],
        "metrics.metric_03 > 0.8 AND params.param_00 = 'choice-3'",
        max_results=_PAGE,
    )
    return _names(found)


def _like(_runs: int, store: Store) -> list[str]:
    found = store.client.search_runs(
        [store.experiment_id], "tags.tag_02 LIKE '% 04%'", max_results=_PAGE
    )
    return _names(found)


_QUESTIONS: dict[str, tuple[str, str, Callable[[int, Store], Any]]] = {
    "order": (
        "order by a metric, first 100",
        "`search_runs` ordered by one metric, the first 100 runs with all their data.",
        ordered,
    ),
    "pages": (
        "five deep pages ordered by a param",
        "Five pages of 100 runs from the middle on, ordered by a param, one after the other.",
        _deep_pages,
    ),
    "filter": (
        "filter on a metric and a param",
        "A metric above a bound and a param of one value: 1 % of all runs, at most 100.",
        _filter,
    ),
    "like": (
        "tag LIKE",
        "A tag by a pattern that begins with %: 1 % of all runs, at most 100.",
        _like,
    ),
}


def _table(wanted: int, store: Store) -> list[str]:
    mlflow.set_tracking_uri(store.uri)
    table = mlflow.search_runs([store.experiment_id], max_results=wanted)
    return list(table["tags.mlflow.runName"])


def _history(store: Store) -> int:
    run = store.client.search_runs([store.experiment_id], max_results=1)[0]
    return len(store.client.get_metric_history(run.info.run_id, "metric_00"))
