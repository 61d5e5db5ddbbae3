"""The contract of a log. Every implementation is one line of IMPLEMENTATIONS."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_ledger.bus import (
    TOPICS,
    KafkaLog,
    KafkaSettings,
    Log,
    MemoryLog,
    Outgoing,
    Position,
    SqliteLog,
    Stored,
    kafka_place,
)
from mlflow_ledger.schemas import LogUnavailable, Record
from tests.kafka.servers import servers
from tests.schemas.test_envelope import records

from .records import CATALOG, RUNS, many, outgoing

LEDGER_ID = "0123456789abcdef"
Clock = Callable[[], int]


def memory_log(_: Path, clock: Clock) -> Log:
    return MemoryLog(LEDGER_ID, clock=clock)


def partitioned_memory_log(_: Path, clock: Clock) -> Log:
    return MemoryLog(LEDGER_ID, {"catalog": 1, "runs": 4, "traces": 2, "artifacts": 3}, clock)


def sqlite_log(folder: Path, clock: Clock) -> Log:
    SqliteLog.create(folder / "log.sqlite", LEDGER_ID)
    return SqliteLog(folder / "log.sqlite", clock=clock)


def kafka_log(settings: KafkaSettings) -> Log:
    place = kafka_place(f"ledger+kafka://{servers()}/contract-{uuid.uuid4().hex}")
    log = KafkaLog(place, settings, LEDGER_ID)
    log.create()
    return log


def kafka_python_log(_: Path, __: Clock) -> Log:
    return kafka_log(KafkaSettings(partitions=3, client="kafka-python"))


def librdkafka_log(_: Path, __: Clock) -> Log:
    return kafka_log(KafkaSettings(partitions=3, client="librdkafka"))


CLOCKED = [memory_log, partitioned_memory_log, sqlite_log]
"""Their append times come from the clock they are given; Kafka's are the broker's."""

IMPLEMENTATIONS = [*CLOCKED, kafka_python_log, librdkafka_log]


class Bench(NamedTuple):
    """A log under test, and the clock that gives its append times."""

    log: Log
    times: list[int]

    def at(self, *times_ms: int) -> None:
        """Let the next appends happen at these moments, the last one for ever."""
        self.times[:] = times_ms[::-1]


@contextmanager
def under_test(make: Callable[[Path, Clock], Log], folder: Path) -> Iterator[Bench]:
    times = [1_000_000]
    log = make(folder, lambda: times.pop() if len(times) > 1 else times[0])
    yield Bench(log, times)
    log.close()


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda make: make.__name__)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with under_test(request.param, tmp_path) as bench:
        yield bench


@pytest.fixture(params=CLOCKED, ids=lambda make: make.__name__)
def clocked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with under_test(request.param, tmp_path) as bench:
        yield bench


@pytest.fixture
def log(bench: Bench) -> Log:
    return bench.log


def all_of(log: Log) -> list[Stored]:
    return list(log.read(log.start()))


def identities(stored: list[Stored]) -> list[tuple[str, int]]:
    return [(s.record.envelope.source, s.record.envelope.id) for s in stored]


def test_it_knows_its_ledger_and_its_partitions(log: Log) -> None:
    assert log.ledger_id == LEDGER_ID
    assert set(log.partitions()) == set(TOPICS)
    assert min(log.partitions().values()) >= 1


def test_an_empty_log_ends_where_it_starts(log: Log) -> None:
    assert all_of(log) == []
    assert log.start().covers(log.end())
    assert list(log.read(Position(LEDGER_ID))) == []
    assert log.position_at(0) == log.end()


def test_records_come_back_as_they_were_in_the_order_they_went(log: Log) -> None:
    said = many(50)
    returned = log.append(said[:1]) + log.append(said[1:])
    assert [s.record for s in returned] == [o.record for o in said]
    assert all_of(log) == returned
    offsets = [s.offset for s in returned]
    assert offsets == sorted(set(offsets))


def test_appending_nothing_is_nothing(log: Log) -> None:
    assert log.append([]) == []
    assert all_of(log) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(record=records)
def test_any_record_comes_back_with_its_digest(bench: Bench, record: Record) -> None:
    texts = [value for value in record.envelope if isinstance(value, str)]
    if any("\ud800" <= c <= "\udfff" for text in texts for c in text):
        return  # a writer never says what UTF-8 cannot hold
    start = bench.log.end()
    bench.log.append([Outgoing(RUNS, record)])
    (stored,) = bench.log.read(start)
    assert stored.record == record
    assert stored.record.digest() == record.digest()


def test_a_batch_goes_in_whole_or_not_at_all(log: Log) -> None:
    log.append(many(2))
    before = all_of(log)
    bad = outgoing(5, partition=("nowhere", 0))
    with pytest.raises(LogUnavailable, match="nowhere"):
        log.append([*many(2, first=3), bad, *many(1, first=6)])
    with pytest.raises(LogUnavailable, match="17"):
        log.append([outgoing(3), outgoing(4, partition=("runs", 17))])
    assert all_of(log) == before
    log.append(many(1, first=3))
    assert [number for _, number in identities(all_of(log))] == [1, 2, 3]


def test_reading_goes_on_from_any_position(log: Log) -> None:
    stored = log.append(many(7))
    position = log.start()
    for done, record in enumerate(stored):
        assert list(log.read(position)) == stored[done:]
        assert list(log.read(position, 2)) == stored[done : done + 2]
        assert list(log.read(position, 0)) == []
        position = position.advanced(record.partition, record.offset)
    assert position.covers(log.end())
    assert list(log.read(position)) == []
    assert list(log.read(log.end())) == []


def test_a_limit_beyond_the_end_gives_what_there_is(log: Log) -> None:
    log.append(many(2005))
    assert len(list(log.read(log.start(), 2003))) == 2003
    assert len(list(log.read(log.start(), 9999))) == 2005
    assert len(all_of(log)) == 2005


def test_a_read_ends_where_the_log_ended_when_it_was_asked_for(log: Log) -> None:
    log.append(many(3))
    reading = log.read(log.start())
    log.append(many(1, first=4))
    assert len(list(reading)) == 3
    assert len(all_of(log)) == 4


def test_a_reader_that_is_behind_gets_the_rest_in_pieces(log: Log) -> None:
    said = many(25)
    position, seen = log.start(), []
    for start in range(0, 25, 5):
        log.append(said[start : start + 5])
        for record in log.read(position, 3):  # reads slower than is written
            seen.append(record)
            position = position.advanced(record.partition, record.offset)
    for record in log.read(position):
        seen.append(record)
        position = position.advanced(record.partition, record.offset)
    assert [s.record for s in seen] == [o.record for o in said]
    assert position.covers(log.end())


def test_partitions_keep_their_own_order(log: Log) -> None:
    catalog = [outgoing(n, "c/catalog/0", partition=CATALOG) for n in range(1, 6)]
    runs = [outgoing(n, "r/runs/0") for n in range(1, 6)]
    for pair in zip(catalog, runs, strict=True):
        log.append(pair)
    found = identities(all_of(log))
    for source in ("c/catalog/0", "r/runs/0"):
        assert [n for s, n in found if s == source] == [1, 2, 3, 4, 5]


def test_the_end_covers_every_position_before_it(log: Log) -> None:
    ends = [log.end()]
    for number in range(1, 4):
        log.append([outgoing(number)])
        ends.append(log.end())
    for earlier, later in pairwise(ends):
        assert later.covers(earlier)
        assert not earlier.covers(later)
    assert [len(list(log.read(end))) for end in ends] == [3, 2, 1, 0]


def test_every_position_it_gives_has_a_text(log: Log) -> None:
    log.append(many(3))
    log.append([outgoing(1, "c/catalog/0", partition=CATALOG)])
    for position in (log.start(), log.end(), log.position_at(0), log.position_at(10**12)):
        assert Position.parse(str(position)) == position
        assert list(log.read(Position.parse(str(position)))) == list(log.read(position))


def test_a_moment_is_the_position_before_the_first_record_after_it(clocked: Bench) -> None:
    for number, time_ms in enumerate([100, 200, 200, 200, 300], start=1):
        clocked.at(time_ms)
        clocked.log.append([outgoing(number)])
    left = {t: len(list(clocked.log.read(clocked.log.position_at(t)))) for t in (99, 100, 199, 200)}
    assert left == {99: 5, 100: 4, 199: 4, 200: 1}
    assert clocked.log.position_at(300) == clocked.log.end()
    assert clocked.log.position_at(10**15) == clocked.log.end()


def test_a_moment_between_two_appends_splits_the_log(log: Log) -> None:
    said = []
    for number in range(1, 4):
        [stored] = log.append([outgoing(number)])
        said.append(stored)
        while time.time_ns() // 1_000_000 <= stored.append_ms:
            pass  # the next millisecond comes soon
    for number, stored in enumerate(said, start=1):
        later = list(log.read(log.position_at(stored.append_ms)))
        assert later == [s for s in said[number:] if s.append_ms > stored.append_ms]
        assert stored in list(log.read(log.position_at(stored.append_ms - 1)))


def test_append_times_never_decrease_when_clocks_do(clocked: Bench) -> None:
    for number, time_ms in enumerate([500, 100, 400, 600, 50], start=1):
        clocked.at(time_ms)
        clocked.log.append([outgoing(number)])
    assert [s.append_ms for s in all_of(clocked.log)] == [500, 500, 500, 600, 600]
    assert len(list(clocked.log.read(clocked.log.position_at(499)))) == 5
    assert len(list(clocked.log.read(clocked.log.position_at(500)))) == 2
    assert len(list(clocked.log.read(clocked.log.position_at(600)))) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(gaps=st.lists(st.integers(-50, 50), min_size=1, max_size=30), ask=st.integers(0, 3000))
def test_any_moment_splits_the_log_by_append_time(
    clocked: Bench, gaps: list[int], ask: int
) -> None:
    now_ms = 1000
    for number, gap in enumerate(gaps, start=1):
        now_ms += gap
        clocked.at(now_ms)
        clocked.log.append([outgoing(number)])
    later = list(clocked.log.read(clocked.log.position_at(ask)))
    assert later == [s for s in all_of(clocked.log) if s.append_ms > ask]
