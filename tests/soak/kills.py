"""Loggers and searchers on one ledger, any of them killed at any moment."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from .evidence import findings
from .log import MODELS, log
from .notes import Call, calls, every
from .process import Life, Started, prepare, start
from .search import search
from .watch import Took, machine_ticks

__all__ = ["Killing", "Outcome", "begin", "run"]

_LOG_STRIKE_S = 0.0015
_SEARCH_STRIKE_S = 0.03
_CALL_WITHIN_S = 1.0


@dataclass(frozen=True)
class Killing:
    """How long, how many kills, of how many processes, and how often each makes a call."""

    seconds: float = 300
    kills: int = 600
    loggers: int = 8
    searchers: int = 2
    log_rate: float = 20
    search_rate: float = 4
    seed: int = 1


@dataclass
class Outcome:
    """What happened: kills, those that struck a call, times by kind of call, what does not hold."""

    seconds: float
    kills: int
    calls: int
    struck: int
    busy: float
    times: dict[str, list[Took]]
    failures: list[str] = field(default_factory=list)


class _Soak:
    """The processes that are up, one a slot."""

    def __init__(self, plan: Killing, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._rng = random.Random(plan.seed)
        self._up: dict[int, Started] = {}
        self.kills = 0
        self.failures: list[str] = []

    def run(self) -> None:
        """Kill one after the other for as long as planned."""
        plan = self._plan
        for slot in range(plan.loggers + plan.searchers):
            self._start(slot, 0)
        began = time.monotonic()
        while self.kills < plan.kills or time.monotonic() - began < plan.seconds:
            ahead_s = began + plan.seconds * (self.kills + 1) / plan.kills - time.monotonic()
            if ahead_s > 0:
                time.sleep(self._rng.uniform(0, 2 * ahead_s))  # this is the random moment
            self._kill(self._rng.randrange(plan.loggers + plan.searchers))
        for started in self._up.values():
            if not started.end():
                self._failed(started)

    def _kill(self, slot: int) -> None:
        """Kill one, every second time within a call as near as can be, and start the next."""
        started = self._up[slot]
        if not started.alive:
            self._failed(started)
        elif self._rng.random() < 0.5 and started.wait_for_call(_CALL_WITHIN_S):  # a half
            within_s = _LOG_STRIKE_S if slot < self._plan.loggers else _SEARCH_STRIKE_S
            time.sleep(self._rng.uniform(0, within_s))  # this is the random moment
        if started.kill():
            self.kills += 1
        self._start(slot, started.life.number + 1)

    def _start(self, slot: int, number: int) -> None:
        plan = self._plan
        work, rate = (log, plan.log_rate) if slot < plan.loggers else (search, plan.search_rate)
        uri = f"ledger:{self._folder}/store"
        self._up[slot] = start(work, Life(slot, number, uri, self._folder, rate, plan.seed))

    def _failed(self, started: Started) -> None:
        errors = started.life.errors
        said = errors.read_text("utf-8") if errors.exists() else "it said nothing"
        self.failures.append(f"process {started.life.slot}-{started.life.number} ended: {said}")


def run(plan: Killing, folder: Path) -> Outcome:
    """Do it in an empty folder, and look what is left."""
    with prepare(folder):
        begin(f"ledger:{folder}/store")
        soak = _Soak(plan, folder)
        began, (total, used) = time.monotonic(), machine_ticks()
        soak.run()
        seconds, (total_after, used_after) = time.monotonic() - began, machine_ticks()
        begun = calls(sorted(folder.glob("notes-*.jsonl")))
        outcome = Outcome(
            seconds=seconds,
            kills=soak.kills,
            calls=len(begun),
            struck=sum(not call.acknowledged for call in begun.values()),
            busy=(used_after - used) / max(total_after - total, 1),
            times=_times([*begun.values(), *_searches(folder)]),
            failures=soak.failures,
        )
        outcome.failures += findings(folder, begun)
        return outcome


def begin(uri: str) -> None:
    """Make the models that loggers make versions of."""
    client = MlflowClient(uri, uri)
    for name in MODELS:
        client.create_registered_model(name)


def _searches(folder: Path) -> Iterator[Call]:
    for path in sorted(folder.glob("times-*.jsonl")):
        yield from every(path)


def _times(calls_made: list[Call]) -> dict[str, list[Took]]:
    times: dict[str, list[Took]] = defaultdict(list)
    for call in calls_made:
        if call.took is not None:
            times[call.kind].append(call.took)
    return dict(sorted(times.items()))
