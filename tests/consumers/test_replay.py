"""Replay: any interleaving of partitions, from the start or a snapshot, gives the live digest."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mlflow_ledger.bus import MemoryLog, Outgoing, Partition, Stored
from mlflow_ledger.consumers import CLAIM_CHECKS
from mlflow_ledger.schemas import event_types

from .folding import LEDGER_ID, PARTITIONS, Bench, Clock, State
from .histories import History

SHARDS = 3
HISTORIES = 100
EVENTS = 200
"""Together SHARDS x HISTORIES histories, of at least EVENTS events each."""


def logged(seed: int, count: int = EVENTS) -> tuple[MemoryLog, list[Stored]]:
    """A log with a random history, and its records in the order in which they were appended."""
    log = MemoryLog(LEDGER_ID, PARTITIONS, Clock())
    return log, log.append(History(seed).records(count))


def interleaved(records: Iterable[Stored], randomness: random.Random) -> list[Stored]:
    """The same records with the partitions shuffled into one another, each in its order."""
    queues: dict[Partition, list[Stored]] = {}
    for stored in records:
        queues.setdefault(stored.partition, []).append(stored)
    order = [partition for partition, queue in queues.items() for _ in queue]
    randomness.shuffle(order)
    heads = {partition: iter(queue) for partition, queue in queues.items()}
    return [next(heads[partition]) for partition in order]


def in_pieces(records: list[Stored], randomness: random.Random) -> Iterable[list[Stored]]:
    """The records in transactions of random length."""
    start = 0
    while start < len(records):
        end = start + randomness.randrange(1, 80)
        yield records[start:end]
        start = end


@pytest.mark.parametrize("shard", range(SHARDS))
@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.integers(0, 2**48))
def test_replay_gives_the_live_digest(shard: int, drawn: int) -> None:
    seed = drawn * SHARDS + shard
    note(f"seed {seed}")
    randomness = random.Random(seed)
    log, records = logged(seed)
    assert len(records) >= EVENTS

    live = State()
    half = randomness.randrange(len(records))
    live.apply(records[:half])
    snapshot = live.copy()
    live.apply(records[half:])
    digest = live.digest()

    fresh = State()
    for piece in in_pieces(interleaved(records, randomness), randomness):
        fresh.apply(piece)
    assert fresh.digest() == digest
    assert fresh.position() == log.end()

    rest = list(log.read(snapshot.position()))
    assert len(rest) == len(records) - half
    snapshot.apply(interleaved(rest, randomness))
    assert snapshot.digest() == digest

    # Everything is delivered once more, as by a writer that had no answer: nothing changes.
    again = fresh.apply(log.append([Outgoing(s.partition, s.record) for s in records]))
    assert {verdict.kind for verdict in again} <= {"duplicate", "conflict"}
    assert fresh.digest() == digest
    for state in (live, fresh, snapshot):
        state.close()


def test_histories_hold_every_event_type_accepted_and_every_kind_of_verdict() -> None:
    accepted: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for seed in range(150):
        state = State()
        _, records = logged(seed, 2 * EVENTS)
        for stored, verdict in zip(records, state.apply(records), strict=True):
            kinds[verdict.kind] += 1
            if verdict.kind == "accepted":
                accepted[stored.record.envelope.type] += 1
        state.close()
    assert set(accepted) == set(event_types())
    assert set(kinds) == {"accepted", "rejected", "duplicate", "conflict", "unreadable"}
    assert kinds["accepted"] > kinds.total() / 3, kinds
    assert kinds["rejected"] > kinds.total() / 10, kinds


def test_histories_leave_something_in_every_table() -> None:
    filled: set[str] = set()
    for seed in range(60):
        state = State()
        _, records = logged(seed)
        state.apply(records)
        tables = [
            name for (name,) in state.rows("SELECT name FROM sqlite_schema WHERE type='table'")
        ]
        filled |= {name for name in tables if state.rows(f"SELECT 1 FROM {name} LIMIT 1")}
        empty = set(tables) - filled
        state.close()
    assert not empty, empty


def test_whoever_collects_blobs_knows_every_column_that_names_one() -> None:
    naming: set[str] = set()
    for seed in range(25):
        state = State()
        state.apply(logged(seed)[1])
        for table, column in state.rows(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c "
            "WHERE t.type = 'table'"
        ):
            claims = f"SELECT 1 FROM {table} WHERE hex({column}) LIKE hex('{{\"digest\"') || '%'"
            if state.rows(f"{claims} AND typeof({column}) = 'blob' LIMIT 1"):
                naming.add(f"{table}.{column}")
        state.close()
    assert {"assessments.rationale", "spans.text"} <= naming <= CLAIM_CHECKS.keys()


def test_the_same_seed_gives_the_same_history() -> None:
    one, same, other = (History(seed).records(250) for seed in (7, 7, 8))
    assert one == same != other


def test_digests_differ_where_histories_do() -> None:
    digests = set()
    for seed in range(20):
        state = State()
        state.apply(logged(seed)[1])
        digests.add(state.digest())
        state.close()
    assert len(digests) == 20


def test_a_digest_does_not_depend_on_local_numbers() -> None:
    """Run numbers, key numbers and source numbers are one replica's own."""
    bench = Bench()
    before = bench.digest()
    _, records = logged(3)
    one, other = State(), State()
    one.apply(records)
    other.rows("INSERT INTO metric_keys (key) VALUES ('unused')")
    other.rows("INSERT INTO sources (source) VALUES ('unused')")
    other.rows("INSERT INTO sqlite_sequence VALUES ('runs', 1000)")
    other.apply(records)
    assert one.digest() == other.digest() != before
    for state in (bench, one, other):
        state.close()
