"""Rows about writing to a ledger in Kafka."""

from __future__ import annotations

import itertools
import statistics
from functools import partial

from .bench import Bench
from .rows import KAFKA, Bound, Kind, Row, Times
from .stores import Store
from .timing import Action
from .writers import Rounds, error_notes, flat, rates, write_at_once
from .writes import create_version, log_metrics, over_rounds, times_of_rounds

__all__ = ["decisions", "singles", "writers"]

_SPOOL = Bound("at most 0.15 ms", most=0.15)
_ACK = (Bound("at most 3 ms", most=3), Times(1, (Kind.POSTGRES,), "no worse than PostgreSQL"))
_DECIDED = Bound("at most 10 ms", most=10)
_WRITERS = Times(10, (Kind.POSTGRES,), "10x PostgreSQL")
_names = itertools.count()


def singles(bench: Bench) -> list[Row]:
    """``log_metric``, kept on this host until the brokers have it, and waiting for them."""
    spool = bench.in_kafka("spool")
    ack = bench.in_kafka("ack", delivery="ack")
    bench.say("log_metric in Kafka, spool")
    of_spool = times_of_rounds(bench, spool, log_metrics, bench.sizes.operations)
    bench.say("log_metric in Kafka, ack")
    of_ack = times_of_rounds(bench, ack, log_metrics, bench.sizes.operations)
    return [
        Row(
            "kafka_log_metric_spool", "log_metric, p50, spool", "ms",
            "`log_metric` from one process with `delivery=spool`, the time in the caller while a "
            "thread of the same process sends what was logged; the median call.",
            over_rounds(of_spool, 50), (_SPOOL,),
        ),
        Row(
            "kafka_log_metric_ack", "log_metric, p50, ack", "ms",
            "The same with `delivery=ack`: the call returns when the brokers have acknowledged.",
            over_rounds(of_ack, 50), _ACK,
        ),
    ]  # fmt: skip


def decisions(bench: Bench) -> list[Row]:
    """What the log decides: names and numbers, which two hosts may want at once."""
    stores = bench.in_kafka("decided")
    for store in stores.values():
        store.client.create_registered_model("model")
    rows = []
    for name, calls in (("create_experiment", _experiments), ("create_model_version", _versions)):
        bench.say(f"{name} in Kafka")
        found = times_of_rounds(bench, stores, calls, bench.sizes.decisions)
        rows.append(
            Row(
                f"kafka_{name}", f"{name}, p50", "ms",
                f"`{name}`: published, read back and folded; the verdict is the log's.",
                over_rounds(found, 50), (_DECIDED,),
            )
        )  # fmt: skip
    return rows


def writers(bench: Bench) -> list[Row]:
    """Processes of one host that log at once, until the brokers have all of it."""
    rounds = write_at_once(bench, bench.in_kafka("writers"))
    done = flat(rounds)
    errors = {kind: float(sum(len(d.errors) for d in all_)) for kind, all_ in done.items()}
    count = bench.sizes.writers
    return [
        Row(
            "kafka_writers_rate", f"{count} writer processes, spool, until acknowledged",
            "operations/s",
            "Processes of one host that each log a metric, a param and a tag in turn to a run of "
            "their own; from the start until the brokers have acknowledged what the last one has "
            "spooled.", rates(rounds), (_WRITERS,), more_is_better=True,
            notes=_shares(rounds),
        ),
        Row(
            "kafka_writers_errors", f"{count} writer processes, spool, errors", "errors",
            "Calls that raised.", errors, (Bound("none", most=0),),
            notes=error_notes(done, str(bench.stores.folder)),
        ),
    ]  # fmt: skip


def _shares(rounds: Rounds) -> list[str]:
    """How much of the time went by in the callers, and how much in waiting for the brokers."""
    notes = []
    for kind in KAFKA:
        if kind in rounds:
            writing, all_of_it = (
                statistics.median(max(times) for times in several)
                for several in (
                    [[done.writing_seconds for done in round_] for round_ in rounds[kind]],
                    [[done.seconds for done in round_] for round_ in rounds[kind]],
                )
            )
            notes.append(
                f"writers, {kind}: {writing:.1f} s of writing, then {all_of_it - writing:.1f} s "
                "until the brokers had it all"
            )
    return notes


def _experiments(store: Store, _run_id: str, count: int) -> list[Action]:
    create = store.client.create_experiment
    return [partial(create, f"experiment {next(_names)}") for _ in range(count)]


def _versions(store: Store, _run_id: str, count: int) -> list[Action]:
    return [partial(create_version, store)] * count
