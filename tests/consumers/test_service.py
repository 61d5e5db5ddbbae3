"""The service's loop, round by round, with a clock and a wait of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mlflow_ledger.bus import Position
from mlflow_ledger.consumers import Duty, Ledger, Publishing, Service, open_ledger
from mlflow_ledger.consumers.keyed_state import Progress
from mlflow_ledger.schemas import ArtifactError, LogDamaged, LogUnavailable, RunCreated


def runs(first: int, count: int) -> list[RunCreated]:
    return [
        RunCreated(run_id=f"{n:032x}", experiment_id="0", experiment_epoch=0, artifact_uri="x")
        for n in range(first, first + count)
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = open_ledger(f"ledger:{tmp_path}/store")
    ledger.write(lambda _: runs(0, 10))
    return ledger


class Time:
    """A clock that goes on while somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []
        self.then: Callable[[], object] = lambda: None

    def clock(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.waits.append(seconds)
        self.then()


class Counting:
    """A duty that fails as long as it is told to."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.fails = False

    def round(self, seq: int) -> None:
        self.seen.append(seq)
        if self.fails:
            msg = "the store is away"
            raise ArtifactError(msg)


def service(ledger: Ledger, time: Time, *duties: Duty) -> Service:
    def make(_: Ledger) -> Sequence[Duty]:
        return duties

    return Service(lambda: ledger, make, clock=time.clock, wait=time.wait)


def test_a_round_catches_up_and_does_its_duties(ledger: Ledger) -> None:
    duty, time = Counting(), Time()
    made = service(ledger, time, duty)
    assert made.round() is False
    ledger.write(lambda _: runs(10, 5))
    made.once()
    first, second = duty.seen
    assert second - first == 5
    status = made.status
    assert (status.applied, status.rounds, status.seq) == (5, 2, second)
    assert status.position == ledger.log.end()
    assert status.lag is not None
    assert status.lag.events == 0
    assert made.healthy()


def test_it_waits_when_there_is_nothing_to_do(ledger: Ledger) -> None:
    time = Time()
    made = service(ledger, time)
    time.then = made.stop
    made.run()
    assert time.waits == [0.1]
    assert made.status.rounds == 1


def test_a_log_that_is_away_is_said_once_and_waited_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    time, advance, tries = Time(), ledger.advance, [0]

    def away(budget_s: float, progress: Progress | None = None) -> Position:
        tries[0] += 1
        if tries[0] <= 8:
            msg = "Kafka did not answer"
            raise LogUnavailable(msg)
        return advance(budget_s, progress)

    monkeypatch.setattr(ledger, "advance", away)
    made = service(ledger, time)
    states: list[bool] = []

    def look() -> None:
        states.append(made.healthy())
        if made.status.rounds:
            made.stop()

    time.then = look
    made.run()
    assert time.waits == [0.5, 1, 2, 4, 8, 10, 10, 10, 0.1]
    assert states == [False] * 8 + [True]
    assert [m for m in caplog.messages if "waiting for it" in m] == [
        "Kafka did not answer; waiting for it"
    ]
    assert caplog.messages.count("the log answers again") == 1


def test_a_log_that_is_damaged_ends_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> Position:
        msg = "events were lost"
        raise LogDamaged(msg)

    monkeypatch.setattr(ledger, "advance", damaged)
    with pytest.raises(LogDamaged):
        service(ledger, Time()).run()


def test_a_duty_that_fails_rests_and_others_go_on(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good, time = Counting(), Counting(), Time()
    bad.fails = True
    made = service(ledger, time, bad, good)
    for _ in range(10):
        made.round()
        time.now_s += 0.3
    assert len(good.seen) == 10
    assert 2 <= len(bad.seen) <= 4  # after 0.5 s, then after 1 s, then after 2 s
    assert made.status.failures == len(bad.seen)
    assert caplog.messages == ["the store is away; it is tried again"]
    bad.fails = False
    time.now_s += 60
    made.round()
    made.round()
    assert len(bad.seen) == made.status.failures + 2


def test_told_to_stop_it_ends_between_two_steps(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    duty, time = Counting(), Time()
    made = service(ledger, time, duty)
    steps: list[int] = []

    def long(_: float, progress: Progress) -> Position:
        for done in range(100):
            steps.append(done)
            if done == 3:
                made.stop()
            progress(done, 100)
        raise AssertionError

    monkeypatch.setattr(ledger, "advance", long)
    made.run()
    assert steps == [0, 1, 2, 3]
    assert duty.seen == []


def test_a_loop_that_does_not_come_on_is_not_healthy(ledger: Ledger) -> None:
    time = Time()
    made = service(ledger, time)
    made.round()
    time.now_s += 59
    assert made.healthy()
    time.now_s += 2
    assert not made.healthy()


def test_a_state_that_is_behind_is_a_lag(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    made = service(ledger, Time())
    made.round()
    monkeypatch.setattr(ledger, "advance", lambda *_: ledger.log.end())
    monkeypatch.setattr(ledger, "query", lambda _: 4)  # three of them are folded
    made.round()
    assert made.status.lag is not None
    assert made.status.lag.events == ledger.log.last_offset() - 3
    first = ledger.log.at(4)
    assert first is not None
    assert made.status.lag.oldest_ms == first.append_ms


def test_snapshots_are_published_when_enough_came(ledger: Ledger) -> None:
    publishing = Publishing(ledger, None, every=8)
    made = service(ledger, Time(), publishing)
    made.round()
    assert publishing.published == 1
    ledger.write(lambda _: runs(20, 7))
    made.round()
    assert publishing.published == 1
    ledger.write(lambda _: runs(40, 1))
    made.round()
    assert publishing.published == 2
    another = Publishing(ledger, None, every=8)  # of another process: it is not due again
    service(ledger, Time(), another).round()
    assert another.published == 0
    publishing.close()
    another.close()
