"""Rows about one writer: single calls, creates, batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mlflow.entities import Metric

from .bench import Bench
from .load import Shape, load
from .rows import Bound, Kind, Row, Times
from .stores import Store
from .timing import Action, latencies, percentile

__all__ = [
    "batches",
    "create_version",
    "creates",
    "log_batches",
    "log_metrics",
    "over_rounds",
    "singles",
    "times_of_rounds",
]

Figures = Mapping[Kind, float]

_FASTER = (Kind.SQLITE, Kind.POSTGRES)
_TIMES_25 = Times(25, _FASTER, "25x the faster peer")
_TIMES_15 = Times(15, _FASTER, "15x the faster peer")
_THAN_FILES = Times(1, (Kind.FILES,), "faster than the file store")
_FLAT = Bound("flat: at most 1.5x", most=1.5)
_P99_MS = Bound("at most 1.5 ms", most=1.5)
_MODEL = "model"
_BATCH = 1000
_KEYS = 10


def singles(bench: Bench) -> list[Row]:
    """``log_metric``, ``log_param`` and ``set_tag``: the same run, one call after the other."""
    stores = bench.writable("singles")
    rows = []
    for name, calls in _CALLS.items():
        bench.say(f"{name}, one writer")
        p50, p99 = _rounds(bench, stores, calls, bench.sizes.operations)
        rows += [
            Row(
                f"{name}_p50", f"{name}, p50", "ms",
                f"`{name}` from one process, a run a round; the median call.",
                p50, (_TIMES_25, _THAN_FILES),
            ),
            Row(
                f"{name}_p99", f"{name}, p99", "ms",
                "The call that 99 of 100 are not slower than.", p99, (_P99_MS,),
            ),
        ]  # fmt: skip
    durable = {Kind.LEDGER: bench.stores.durable_ledger("durable")}
    durable.update({kind: store for kind, store in stores.items() if kind in _FASTER})
    bench.say("log_metric, synced at every call")
    p50, _ = _rounds(bench, durable, log_metrics, bench.sizes.operations)
    rows.append(
        Row(
            "log_metric_durable", "log_metric, p50, synchronous=full", "ms",
            "As above with `MLFLOW_LEDGER_SYNCHRONOUS=full`: an fsync at every call, as MLflow's "
            "SQL stores have it. By default a killed process loses nothing, but a power cut may "
            "lose the ledger's last commits. Shown, without a target.", p50,
        )
    )  # fmt: skip
    return rows


def creates(bench: Bench) -> list[Row]:
    """``create_run`` and ``create_model_version``, as the store grows."""
    sizes = bench.sizes
    stores = bench.peers("creates")
    for store in stores.values():
        store.client.create_registered_model(_MODEL)
    runs = _growing(
        bench, stores, "create_run", (sizes.small, sizes.middle, sizes.most_runs),
        _create_run, _grow_runs,
    )  # fmt: skip
    versions = _growing(
        bench, stores, "create_model_version", (sizes.small, sizes.middle, sizes.most_versions),
        create_version, _grow_versions,
    )  # fmt: skip
    return [
        *_growth_rows("create_run", "runs", runs),
        *_growth_rows("create_model_version", "versions", versions),
    ]


def batches(bench: Bench) -> list[Row]:
    """``log_batch`` of 1000 metrics: ten keys, a hundred steps of each."""
    bench.say("log_batch of 1000 metrics")
    found = times_of_rounds(bench, bench.writable("batches"), log_batches, bench.sizes.batches)
    return [
        Row(
            "log_batch", "log_batch of 1000 metrics", "points/s",
            "Ten keys, a hundred steps of each, one batch after the other; all batches of a round "
            "by the time they took together, the slow ones that fold included; the median round.",
            {
                kind: statistics.median(_BATCH * len(times) / sum(times) for times in rounds)
                for kind, rounds in found.items()
            },
            (Times(20, _FASTER, "20x the faster peer"),), more_is_better=True,
        )
    ]  # fmt: skip


def _rounds(
    bench: Bench,
    stores: Mapping[Kind, Store],
    calls: Callable[[Store, str, int], list[Action]],
    count: int,
) -> tuple[Figures, Figures]:
    """The medians, over all rounds, of each round's p50 and p99, in milliseconds."""
    found = times_of_rounds(bench, stores, calls, count)
    return over_rounds(found, 50), over_rounds(found, 99)


def times_of_rounds(
    bench: Bench,
    stores: Mapping[Kind, Store],
    calls: Callable[[Store, str, int], list[Action]],
    count: int,
) -> dict[Kind, list[list[float]]]:
    """The seconds of each call, by round; what a store sends later is sent before the next."""
    found: dict[Kind, list[list[float]]] = {kind: [] for kind in stores}
    for _ in range(bench.sizes.rounds):
        operations = {}
        for kind, store in stores.items():
            first, *others = calls(store, store.new_run(), count + 1)
            first()
            operations[kind] = others
            store.settle()
        for kind, actions in operations.items():
            found[kind].append(latencies({kind: actions})[kind])
            stores[kind].settle()
    return found


def over_rounds(rounds: Mapping[Kind, Sequence[Sequence[float]]], percent: float) -> Figures:
    """The median, over all rounds, of what so many calls do not exceed, in milliseconds."""
    return {
        kind: statistics.median(percentile(times, percent) for times in several) * 1000
        for kind, several in rounds.items()
    }


def log_metrics(store: Store, run_id: str, count: int) -> list[Action]:
    """Calls of `log_metric`, a step each."""
    log = store.client.log_metric
    return [partial(log, run_id, "loss", 1 / (step + 1), step=step) for step in range(count)]


def _log_params(store: Store, run_id: str, count: int) -> list[Action]:
    log = store.client.log_param
    return [partial(log, run_id, f"param_{number}", number) for number in range(count)]


def _set_tags(store: Store, run_id: str, count: int) -> list[Action]:
    tag = store.client.set_tag
    return [partial(tag, run_id, f"tag_{number % _KEYS}", str(number)) for number in range(count)]


_CALLS = {"log_metric": log_metrics, "log_param": _log_params, "set_tag": _set_tags}


def _create_run(store: Store) -> None:
    store.client.create_run(store.experiment_id, tags={"team": "vision"})


def create_version(store: Store) -> None:
    """Make one more version of the one model."""
    store.client.create_model_version(_MODEL, "s3://models/model")


def _grow_runs(store: Store, first: int, count: int) -> None:
    load(store, Shape(count, 0, 0, 0), first=first)


def _grow_versions(store: Store, first: int, count: int) -> None:
    for _ in range(first, count):
        create_version(store)


def _growing(
    bench: Bench,
    stores: Mapping[Kind, Store],
    name: str,
    counts: Sequence[int],
    create: Callable[[Store], None],
    grow: Callable[[Store, int, int], None],
) -> dict[int, Figures]:
    """The p50 of a create at each of some sizes of the store, in milliseconds."""
    found: dict[int, Figures] = {}
    there = 0
    for count in counts:
        bench.say(f"{name} with {count} there")
        for store in stores.values():
            grow(store, there, count)
            create(store)
        times: dict[Kind, list[list[float]]] = {kind: [] for kind in stores}
        per_round = bench.sizes.creates
        for _ in range(bench.sizes.rounds):
            calls = {kind: [partial(create, s)] * per_round for kind, s in stores.items()}
            for kind, taken in latencies(calls).items():
                times[kind].append(taken)
        found[count] = over_rounds(times, 50)
        there = count
    return found


def _growth_rows(name: str, what: str, found: Mapping[int, Figures]) -> list[Row]:
    small, middle, most = found
    plain = {
        count: Row(
            f"{name}_{label}", f"{name}, p50, {count} {what} there", "ms",
            f"`{name}` in a store that already holds {count} {what}.", found[count],
            (_TIMES_15,) if count == middle else (),
        )
        for label, count in (("small", small), ("p50", middle), ("large", most))
    }  # fmt: skip
    growth = {kind: found[most][kind] / found[small][kind] for kind in found[small]}
    return [
        *plain.values(),
        Row(
            f"{name}_growth", f"{name}, {most} against {small} {what}", "x",
            "The p50 at the largest size through the p50 at the smallest; 1 is flat.",
            growth, (_FLAT,),
        ),
    ]  # fmt: skip


def log_batches(store: Store, run_id: str, count: int) -> list[Action]:
    """Batches that go on from one another; they are made here, before the clock starts."""
    began_ms = time.time_ns() // 1_000_000
    numbers = [range(n * _BATCH, (n + 1) * _BATCH) for n in range(count)]
    return [
        partial(
            store.client.log_batch,
            run_id,
            metrics=[
                Metric(f"metric_{n % _KEYS}", 1 / (n + 1), began_ms + n, n // _KEYS) for n in batch
            ],
        )
        for batch in numbers
    ]
