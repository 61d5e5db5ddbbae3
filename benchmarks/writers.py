"""Rows about several processes that write to one store at the same time."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, TypeVar

from .bench import Bench
from .rows import Bound, Kind, Row, Times

if TYPE_CHECKING:
    from .stores import Store

__all__ = ["Round", "error_notes", "flat", "rates", "write_at_once", "writers"]

T = TypeVar("T")

_WARM_UP = 30
_ATTEMPTS = 20
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Round:
    """What one process did in one round; ``seconds`` until the brokers had it, if there are any."""

    operations: int
    seconds: float
    writing_seconds: float
    worst_seconds: float
    errors: list[str]


Rounds = Mapping[Kind, Sequence[Sequence[Round]]]


def writers(bench: Bench) -> list[Row]:
    """Each process logs to a run of its own: a metric, a param, a tag, and so on in turn."""
    rounds = write_at_once(bench, bench.writable("writers"))
    return _rows(bench.sizes.writers, rounds, str(bench.stores.folder))


def write_at_once(bench: Bench, stores: Mapping[Kind, Store]) -> dict[Kind, list[list[Round]]]:
    """What each process did in each round; the stores take turns."""
    sizes = bench.sizes
    bench.say(f"starting {sizes.writers} writer processes")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(sizes.writers)
    places = {kind: (store.name, store.uri) for kind, store in stores.items()}
    pipes = []
    processes = []
    for _ in range(sizes.writers):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, barrier, places, str(bench.stores.folder)), daemon=True
        )
        process.start()
        pipes.append(ours)
        processes.append(process)
    rounds: dict[Kind, list[list[Round]]] = {kind: [] for kind in stores}
    try:
        for _ in range(sizes.writer_rounds):
            for kind in stores:
                bench.say(f"{sizes.writers} writers on {kind}")
                rounds[kind].append(_round(pipes, kind, sizes.seconds))
        for pipe in pipes:
            pipe.send(None)
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    return rounds


def _round(pipes: Sequence[Connection], kind: Kind, seconds: float) -> list[Round]:
    for pipe in pipes:
        pipe.send((kind, seconds))
    done = []
    for pipe in pipes:
        if not pipe.poll(seconds + _PATIENCE_SECONDS):
            raise TimeoutError(f"a writer on {kind} does not answer")
        done.append(pipe.recv())
    return done


def rates(rounds: Rounds) -> dict[Kind, float]:
    """Operations a second of all processes together, the median round."""
    return {
        kind: statistics.median(
            sum(done.operations for done in round_) / max(done.seconds for done in round_)
            for round_ in several
        )
        for kind, several in rounds.items()
    }


def flat(rounds: Rounds) -> dict[Kind, list[Round]]:
    """What every process did in any round."""
    return {kind: [d for round_ in several for d in round_] for kind, several in rounds.items()}


def error_notes(all_rounds: Mapping[Kind, Sequence[Round]], folder: str) -> list[str]:
    """The first error on each store, where there was one."""
    first = {
        kind: next((error for done in all_ for error in done.errors), "")
        for kind, all_ in all_rounds.items()
    }
    return [
        f"{kind}, first error: {error.replace(folder, '')}"
        for kind, error in first.items()
        if error
    ]


def _rows(count: int, rounds: Rounds, folder: str) -> list[Row]:
    all_rounds = flat(rounds)
    worst = {kind: max(done.worst_seconds for done in all_) for kind, all_ in all_rounds.items()}
    errors = {kind: float(sum(len(d.errors) for d in all_)) for kind, all_ in all_rounds.items()}
    notes = error_notes(all_rounds, folder)
    return [
        Row(
            "writers_rate", f"{count} writer processes", "operations/s",
            "Processes that each log a metric, a param and a tag in turn to a run of their own, "
            "warmed up before the clock starts; what failed is not counted.", rates(rounds),
            (Times(20, (Kind.POSTGRES,), "20x PostgreSQL"),
             Times(1, (Kind.FILES,), "more than the file store")), more_is_better=True,
        ),
        Row(
            "writers_worst", f"{count} writer processes, worst operation", "ms",
            "The slowest call of any of them in any round, failed ones included.",
            {kind: seconds * 1000 for kind, seconds in worst.items()},
            (Bound("at most 500 ms", most=500),),
        ),
        Row(
            "writers_errors", f"{count} writer processes, errors", "errors",
            "Calls that raised.", errors, (Bound("none", most=0),), notes=notes,
        ),
    ]  # fmt: skip


def _serve(
    pipe: Connection, barrier: Barrier, places: Mapping[Kind, tuple[str, str]], folder: str
) -> None:
    """Open every store, then do rounds as told; this is what a writer process runs."""
    os.chdir(folder)
    from .stores import Store

    stores = {
        kind: _patiently(partial(Store, kind, name, uri)) for kind, (name, uri) in places.items()
    }
    while (told := pipe.recv()) is not None:
        kind, seconds = told
        pipe.send(_write(stores[kind], barrier, seconds))
    for store in stores.values():
        store.close()


def _patiently(make: Callable[[], T]) -> T:
    """Make something in a store before the clock starts; a busy one may have to be asked again."""
    for attempt in range(_ATTEMPTS):
        try:
            return make()
        except Exception:  # noqa: BLE001  # whatever a peer raises; the last one is raised below
            time.sleep(0.1 * (attempt + 1))
    return make()


def _write(store: Store, barrier: Barrier, seconds: float) -> Round:
    run_id = _patiently(store.new_run)
    for number in range(_WARM_UP):
        _attempt(store, run_id, number)
    store.settle()
    operations, worst, errors = 0, 0.0, []
    number = _WARM_UP
    barrier.wait(_PATIENCE_SECONDS)
    began = now = time.perf_counter()
    while now - began < seconds:
        error = _attempt(store, run_id, number)
        before, now = now, time.perf_counter()
        worst = max(worst, now - before)
        number += 1
        if error is None:
            operations += 1
        else:
            errors.append(error)
    store.settle()
    return Round(operations, time.perf_counter() - began, now - began, worst, errors)


def _attempt(store: Store, run_id: str, number: int) -> str | None:
    """One operation; returns what went wrong."""
    try:
        match number % 3:
            case 0:
                store.client.log_metric(run_id, "loss", 1 / (number + 1), step=number)
            case 1:
                store.client.log_param(run_id, f"param_{number}", number)
            case _:
                store.client.set_tag(run_id, f"tag_{number % 10}", str(number))
    except Exception as error:  # noqa: BLE001  # errors are what is counted here
        return str(error).strip().splitlines()[0]
    return None
