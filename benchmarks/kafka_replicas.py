"""Rows about hosts that follow a ledger in Kafka: the fold, the lag, the first start."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bench import Bench
from .brokers import HOME, client_environment
from .processes import Elsewhere, elsewhere
from .replicas import Stages, publish, replicate, stages
from .rows import KAFKA, Bound, Kind, Row
from .timing import percentile

if TYPE_CHECKING:
    from .stores import Store

__all__ = ["cold_starts", "folds", "lags"]

_BATCH = 1000
_LAG_BATCH = 100
_ENOUGH = 0.95
_BLOBS = "MLFLOW_LEDGER_BLOBS"


def folds(bench: Bench) -> list[Row]:
    """A fresh replica reads prepared topics to their end: fetches, copies, folds."""
    sizes = bench.sizes
    singles = _folded(bench, "fold-singles", sizes.fold_events, _say_singles)
    packed = _folded(bench, "fold-packed", sizes.fold_batches, _say_batches)
    return [
        Row(
            "kafka_fold_events", f"fold, {sizes.fold_events:,} events of one metric", "events/s",
            "A process without mlflow makes a replica where there is none: fetching, copying into "
            "the mirror and folding, connections included; the median replica.",
            {kind: found.rate for kind, found in singles.items()},
            (Bound("at least 20,000", least=20_000),), more_is_better=True,
            notes=[found.note(kind) for kind, found in singles.items()],
        ),
        Row(
            "kafka_fold_points", f"fold, {sizes.fold_batches * _BATCH:,} points in batches",
            "points/s", "The same with events of 1000 points, as `log_batch` writes them.",
            {kind: found.rate * _BATCH for kind, found in packed.items()},
            (Bound("at least 300,000", least=300_000),), more_is_better=True,
            notes=[found.note(kind) for kind, found in packed.items()],
        ),
    ]  # fmt: skip


def lags(bench: Bench) -> list[Row]:
    """How old is what another host is shown while points keep coming."""
    found = {}
    notes = []
    for kind in _clients(bench):
        bench.say(f"a reader's lag, {kind}")
        ages, rate = _lag(bench, kind)
        found[kind] = percentile(ages, 99) * 1000
        notes.append(
            f"lag, {kind}: p50 {percentile(ages, 50) * 1000:.0f} ms, worst "
            f"{max(ages) * 1000:.0f} ms, {len(ages)} looks"
        )
        if rate < _ENOUGH * bench.sizes.lag_rate:
            notes.append(f"lag, {kind}: only {rate:,.0f} points/s were written")
    return [
        Row(
            "kafka_lag", f"a reader's lag at {bench.sizes.lag_rate:,} points/s, p99", "ms",
            "One host writes batches of 100 points, another asks for the newest one again and "
            "again; how old is what it is shown when the answer is there.", found,
            (Bound("below 1 s", most=1000),), notes=notes,
        )
    ]  # fmt: skip


def cold_starts(bench: Bench) -> list[Row]:
    """A host that has no replica searches for the first time."""
    blobs = {_BLOBS: f"file://{bench.stores.folder}/kafka-blobs"}
    figures, notes = {}, []
    for kind, store in bench.loaded_in_kafka().items():
        bench.say(f"cold starts, {kind}")
        client = client_environment(kind)
        plain_s = elsewhere(_first_search, client | _home(bench, "plain", kind), store.uri, kind)
        notes.append(f"cold start without a snapshot, {kind}: {plain_s:.1f} s")
        missing = elsewhere(publish, client | blobs, store.uri, str(_path(bench, "plain", kind)))
        if missing is not None:
            notes.append(f"cold start from a snapshot, {kind}: not measured, {missing}")
            continue
        took_s = [
            elsewhere(
                _first_search, client | blobs | _home(bench, f"cold-{n}", kind), store.uri, kind
            )
            for n in range(bench.sizes.cold_starts)
        ]  # fmt: skip
        figures[kind] = statistics.median(took_s) * 1000
    return [
        Row(
            "kafka_cold_start", f"cold start, {bench.sizes.runs:,} runs, from a snapshot", "ms",
            "A process on a host without a replica, its imports done: until its first "
            "`search_runs` of 100 runs has answered.", figures, (Bound("below 2 s", most=2000),),
            notes=notes,
        )
    ]  # fmt: skip


class _Folded:
    """What came of the replicas of one ledger."""

    def __init__(self, rate: float, parts: Stages) -> None:
        self.rate = rate
        self._parts = parts

    def note(self, kind: Kind) -> str:
        """Where the time went."""
        of = self._parts
        all_s = of.fetch_s + of.mirror_s + of.fold_s
        shares = ", ".join(
            f"{name} {seconds:.2f} s ({of.events / seconds:,.0f} events/s)"
            for name, seconds in (
                ("fetching", of.fetch_s), ("copying", of.mirror_s), ("folding", of.fold_s),
            )
        )  # fmt: skip
        return (
            f"fold, {kind}, stage by stage: {of.events:,} events in {all_s:.2f} s "
            f"({of.cpu_s:.2f} s of a processor): {shares}"
        )


def _folded(
    bench: Bench, name: str, count: int, say: Callable[[Store, str, int], None]
) -> dict[Kind, _Folded]:
    stores = bench.stores.make(name, KAFKA)
    for kind, store in stores.items():
        bench.say(f"writing {count} events to fold, {kind}")
        say(store, store.new_run(), count)
        store.settle()
    rounds: dict[Kind, list[float]] = {kind: [] for kind in stores}
    for number in range(bench.sizes.fold_rounds):
        for kind, store in stores.items():
            bench.say(f"folding them, {kind}")
            home = str(_path(bench, f"{name}-{number}", kind))
            events, took_s = elsewhere(replicate, client_environment(kind), store.uri, home)
            assert events >= count
            rounds[kind].append(events / took_s)
    return {
        kind: _Folded(
            statistics.median(rounds[kind]),
            elsewhere(
                stages, client_environment(kind), store.uri,
                str(_path(bench, f"{name}-stages", kind)),
            ),
        )
        for kind, store in stores.items()
    }  # fmt: skip


def _say_singles(store: Store, run_id: str, count: int) -> None:
    for step in range(count):
        store.client.log_metric(run_id, "loss", 1 / (step + 1), step=step)


def _say_batches(store: Store, run_id: str, count: int) -> None:
    from .writes import log_batches

    for log in log_batches(store, run_id, count):
        log()


def _lag(bench: Bench, kind: Kind) -> tuple[list[float], float]:
    """The ages in seconds of what a reader was shown, and how many points a second there were."""
    assert bench.stores.brokers is not None
    uri = bench.stores.brokers.uri(kind, "lag", "spool")
    client, sizes = client_environment(kind), bench.sizes
    writing, reading = (client | _home(bench, f"lag-{who}", kind) for who in ("writer", "reader"))
    with (
        Elsewhere(_keep_writing, writing, uri, kind, sizes.lag_rate) as writer,
        Elsewhere(_keep_looking, reading, uri, kind, sizes.lag_seconds) as reader,
    ):
        reader.pipe.send(writer.said())
        ages = reader.said()
        writer.pipe.send("enough")
        return ages, writer.said()


def _keep_writing(uri: str, kind: Kind, rate: int, pipe: Connection) -> float:
    """Log points until told to end; each says when it was logged. How many a second there were."""
    from mlflow.entities import Metric

    from .stores import Store

    store = Store(kind, "lag", uri)
    run_id = store.new_run()
    points, told, began = 0, False, time.monotonic()
    while not pipe.poll(max(began + points / rate - time.monotonic(), 0)):
        now = time.time()
        store.client.log_batch(
            run_id,
            metrics=[
                Metric("logged_at", now, int(now * 1000), step)
                for step in range(points, points + _LAG_BATCH)
            ],
        )
        points += _LAG_BATCH
        if not told:
            store.settle()
            pipe.send(run_id)
            told, points, began = True, 0, time.monotonic()
    took_s = time.monotonic() - began
    store.settle()
    store.close()
    return points / took_s


def _keep_looking(uri: str, kind: Kind, seconds: float, pipe: Connection) -> list[float]:
    """Ask for a run's newest point again and again; how old it was each time."""
    from .stores import Store

    run_id = pipe.recv()
    store = Store(kind, "lag", uri)
    store.client.get_run(run_id)
    ages: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown: dict[str, float] = store.client.get_run(run_id).data.metrics
        ages.append(time.time() - shown["logged_at"])
    store.close()
    return ages


def _first_search(uri: str, kind: Kind, _pipe: Connection) -> float:
    """Search on a host that may have no replica; how long that took after all imports."""
    from mlflow import MlflowClient

    from mlflow_ledger.consumers import Analytics, KafkaLedger, find_replica
    from mlflow_ledger.producers import plugin

    from .searches import ordered
    from .stores import Store

    assert all((Analytics, KafkaLedger, find_replica, plugin, MlflowClient))
    began = time.perf_counter()
    store = Store(kind, "cold", uri)
    found = ordered(0, store)
    took_s = time.perf_counter() - began
    assert found
    store.close()
    return took_s


def _clients(bench: Bench) -> Sequence[Kind]:
    return bench.stores.brokers.clients if bench.stores.brokers else []


def _path(bench: Bench, name: str, kind: Kind) -> Path:
    return bench.stores.folder / "hosts" / f"{name}-{kind.name.lower()}"


def _home(bench: Bench, name: str, kind: Kind) -> dict[str, Any]:
    return {HOME: str(_path(bench, name, kind))}
