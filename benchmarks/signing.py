"""Rows about what signed trees over the log cost, beside folding it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from mlflow_ledger.consumers import Ledger, SigningKey, Trees, open_ledger
from mlflow_ledger.consumers.gathered import Gathered

from .bench import Bench
from .rows import Bound, Kind, Row
from .stores import Store
from .writes import log_batches

__all__ = ["signing"]

_GOAL = Bound("below 5 % of folding", most=5)


def signing(bench: Bench) -> list[Row]:
    """What a service that signs does besides folding, as a part of the time that folding takes."""
    sizes = bench.sizes
    singles, single_note = _cost(bench, "sign-singles", _singles, sizes.fold_events)
    packed, packed_note = _cost(bench, "sign-packed", _batches, sizes.fold_batches)
    return [
        Row(
            "signing_events", f"signing, {sizes.fold_events:,} events of one metric", "%",
            "Digests gathered while the log is folded again, hashes, tiles and a signed "
            "checkpoint, as a part of what the folding takes; processor time, the median round.",
            {Kind.LEDGER: singles}, (_GOAL,), notes=(single_note,),
        ),
        Row(
            "signing_points", f"signing, {sizes.fold_batches:,} batches of 1000 points", "%",
            "The same with events of 1000 points, as `log_batch` writes them.",
            {Kind.LEDGER: packed}, (_GOAL,), notes=(packed_note,),
        ),
    ]  # fmt: skip


def _cost(
    bench: Bench, name: str, say: Callable[[Store, int], None], count: int
) -> tuple[float, str]:
    """What signing takes, in percent of folding, and the figures behind it."""
    store = bench.stores.make(name, [Kind.LEDGER])[Kind.LEDGER]
    bench.say(f"writing {count} events to sign")
    say(store, count)
    ledger = open_ledger(store.uri)
    ledger.catch_up()
    rounds = [_round(bench, name, ledger) for _ in range(bench.sizes.fold_rounds)]
    events = ledger.log.last_offset()
    fold, gather, sign = (
        statistics.median(figures) / events * 1e6 for figures in zip(*rounds, strict=True)
    )
    note = (
        f"{name}, {events:,} events: folding {fold:.1f} µs an event, gathering {gather:.2f} µs, "
        f"hashing, tiles and signature {sign:.2f} µs"
    )
    return statistics.median(100 * (two + three) / one for one, two, three in rounds), note


def _round(bench: Bench, name: str, ledger: Ledger) -> tuple[float, float, float]:
    """Processor seconds of folding, of gathering digests on the way, and of signing.

    Gathering is too little to be seen beside a fold: it is done once more by itself.
    """
    trees = bench.stores.ledger_folder(name) / "blobs" / "trees"
    if trees.exists():
        # Removed only at the end: file systems pass over what was freed a moment ago, which takes
        # longer than making a file.
        trees.rename(trees.with_name(f"trees-{time.monotonic_ns()}"))
    fold = _took(ledger.rebuild)
    state = ledger.keyed_state
    with state.lock:
        gathered = state.gather()
    ledger.rebuild()
    digests = [(s.offset, s.record.digest(), s.append_ms) for s in ledger.log.rows(1)]
    gather = _took(lambda: _gather(digests))
    sign = _took(Trees(ledger, SigningKey.new(), gathered).publish)
    with state.lock:
        state.gather_no_more()
    return fold, gather, sign


def _gather(events: list[tuple[int, bytes, int]]) -> None:
    note = Gathered().note
    for offset, digest, append_ms in events:
        note((offset, digest, append_ms))


def _took(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _singles(store: Store, count: int) -> None:
    run_id = store.new_run()
    for step in range(count):
        store.client.log_metric(run_id, "loss", 1 / (step + 1), step=step)


def _batches(store: Store, count: int) -> None:
    for log in log_batches(store, store.new_run(), count):
        log()
