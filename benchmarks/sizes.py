"""How large a run of the benchmarks is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """How much is written, loaded and repeated."""

    rounds: int = 9
    """Rounds of writes; each round visits every store in turn."""
    operations: int = 500
    """Calls of one kind in a round."""
    creates: int = 100
    """Runs and model versions created in a round."""
    small: int = 100
    """Runs and versions that are there at the smallest measured size."""
    middle: int = 1000
    """And at the size that the target is about."""
    most_versions: int = 3000
    """Versions at the largest size."""
    most_runs: int = 10_000
    """Runs at the largest size."""
    batches: int = 20
    """Batches of 1000 metrics in a round."""
    writers: int = 8
    """Processes that write at the same time."""
    seconds: float = 5.0
    """How long they write in a round."""
    writer_rounds: int = 3
    """Rounds of that."""
    runs: int = 10_000
    """Runs in the store that is searched."""
    large_runs: int = 100_000
    """Runs in the large store."""
    history_steps: int = 1000
    """Steps of the one long metric of every 100th run."""
    history_points: int = 100_000
    """Points of the long history."""
    past_runs: int = 10_000
    """Runs in the ledger that is asked as of earlier moments."""
    large_past_runs: int = 1_000_000
    """And in a large one."""
    moments: int = 5
    """Moments that it is asked about."""
    table_runs: int = 1000
    """Runs that are made a pandas table of."""
    traces: int = 20_000
    """Traces of four spans in the store whose traces are searched."""
    patience_seconds: float = 20.0
    """A search of traces for which a store takes longer is stopped."""
    repetitions: int = 7
    """How often a search is asked of each store."""
    budget_seconds: float = 40.0
    """A store that has used this much time on one search is asked three times only."""
    decisions: int = 50
    """Experiments and model versions created in Kafka in a round."""
    fold_events: int = 50_000
    """Events of one metric each in the topics that a fresh replica reads."""
    fold_batches: int = 500
    """Batches of 1000 metrics in others."""
    fold_rounds: int = 3
    """Fresh replicas of each."""
    lag_seconds: float = 10.0
    """How long a reader looks at what another process is writing."""
    lag_rate: int = 5000
    """Points a second that are written meanwhile."""
    cold_starts: int = 3
    """Hosts that begin without a replica."""


FULL = Sizes()
QUICK = Sizes(
    rounds=2,
    operations=50,
    creates=10,
    small=10,
    middle=50,
    most_versions=100,
    most_runs=200,
    batches=1,
    writers=2,
    seconds=0.5,
    writer_rounds=1,
    runs=200,
    large_runs=400,
    history_steps=100,
    history_points=5000,
    past_runs=1000,
    large_past_runs=2000,
    moments=2,
    table_runs=200,
    traces=200,
    repetitions=3,
    budget_seconds=5.0,
    decisions=5,
    fold_events=2000,
    fold_batches=10,
    fold_rounds=1,
    lag_seconds=2.0,
    cold_starts=1,
)
