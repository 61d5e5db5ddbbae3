"""Rows about questions to a ledger in Kafka while nobody writes."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from .bench import Bench
from .rows import Bound, Goal, Kind, Row
from .searches import ask, ordered
from .stores import Store

__all__ = ["reads"]

_GET = Bound("at most 5 ms", most=5)
_SEARCH = Bound("at most 40 ms", most=40)
_GETS = 20


def reads(bench: Bench) -> list[Row]:
    """``get_run`` and ``search_runs``; each asks the brokers first whether there is more."""
    peers = bench.loaded()
    kinds = (Kind.SQLITE, Kind.ANALYZED, Kind.POSTGRES)
    stores = {**bench.loaded_in_kafka(), **{k: peers[k] for k in kinds if k in peers}}
    runs = bench.sizes.runs
    known = {kind: _some_runs(store) for kind, store in stores.items()}
    got = ask(bench, stores, "get_run in Kafka", lambda store: _gets(store, known[store.kind]))
    return [
        _row(
            "get_run", f"get_run of {runs:,}", "`get_run` of a run with 20 params, 10 tags and 15 "
            f"metrics; the median of rounds of {_GETS}, a call.",
            {kind: figure / _GETS for kind, figure in got.items()}, _GET,
        ),
        _row(
            "search_runs", f"search_runs of {runs:,}, 100 back",
            "`search_runs` ordered by one metric, the first 100 runs with all their data.",
            ask(bench, stores, "search_runs in Kafka", partial(ordered, runs)), _SEARCH,
        ),
    ]  # fmt: skip


def _row(name: str, work: str, meaning: str, figures: dict[Kind, float], goal: Goal) -> Row:
    return Row(
        f"kafka_{name}", f"{work}, quiet topics, p50", "ms",
        f"{meaning} Nobody writes, and the ledger asks the brokers at each call.", figures, (goal,),
    )  # fmt: skip


def _some_runs(store: Store) -> list[str]:
    """Ids of the same runs in every store."""
    page = store.client.search_runs(
        [store.experiment_id], order_by=["start_time"], max_results=1000
    )
    return [run.info.run_id for run in random.Random(7).choices(page, k=_GETS)]


def _gets(store: Store, run_ids: list[str]) -> list[Any]:
    found = [store.client.get_run(run_id) for run_id in run_ids]
    return [(run.info.run_name, run.data.params, run.data.metrics) for run in found]
