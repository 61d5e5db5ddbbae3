"""The consumer service: keeps a replica up with its log, and does what others rely on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_ledger.bus import Position
from mlflow_ledger.schemas import LedgerError, LogMissing, LogUnavailable

from .keyed_state import next_offset
from .lag import Lag, lag_of
from .ledger import Ledger

__all__ = ["Duty", "Service", "Status"]

_log = logging.getLogger(__name__)

_FIRST_REST_S, _MOST_REST_S = 0.5, 10.0
_POLL_S = 0.1
_ROUND_S = 1.0
_STALLED_S = 60.0


class Duty(Protocol):
    """Something that a service does besides folding; it knows itself when it is due."""

    def round(self, seq: int) -> None:
        """Do what is due, now that ``seq`` events are folded; bounded, and nothing by halves.

        Raises:
            LedgerError: it failed; it is called again after a while.
        """


@dataclass
class Status:
    """What a service says of itself; written by its loop, read by whoever serves it."""

    brokers_up: bool = False
    since_s: float = 0.0
    """Since when the log answers, or does not; seconds since 1970."""

    position: Position | None = None
    lag: Lag | None = None
    seq: int = 0
    applied: int = 0
    failures: int = 0
    rounds: int = 0
    alive_s: float = 0.0
    """When the loop last came on, by the service's clock."""


class Service:
    """Rounds of catching up and duties, until it is told to stop.

    Any number may run side by side, on one host or on many: what they copy, fold, publish and
    store is protected by locks, or is the same whoever writes it.
    """

    def __init__(
        self,
        opening: Callable[[], Ledger],
        duties: Callable[[Ledger], Sequence[Duty]],
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        poll_s: float = _POLL_S,
    ) -> None:
        """Open the ledger with ``opening``, once there is one; ``wait`` waits so many seconds."""
        self.status = Status()
        self.ledger: Ledger | None = None
        self._opening = opening
        self._make_duties = duties
        self._duties: Sequence[Duty] = ()
        self._resting: dict[int, tuple[float, float]] = {}
        self._clock = clock
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._poll_s = poll_s
        self._rest_s = 0.0
        self._begun_at: int | None = None

    def stop(self) -> None:
        """End with the step that is under way; may be called from a signal handler."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def healthy(self) -> bool:
        """Whether the log answers and the loop comes on."""
        stalled = self._clock() - self.status.alive_s > _STALLED_S
        return self.status.brokers_up and not stalled

    def run(self) -> None:
        """Go on until :meth:`stop`; while the log is away, ask for it now and then.

        Raises:
            LedgerError: the log is not what was followed until now; nothing will mend that.
        """
        while not self.stopping:
            try:
                behind = self.round()
            except (LogUnavailable, LogMissing) as error:
                self._rest(error)
                continue
            if not behind and not self.stopping:
                self._wait(self._poll_s)

    def once(self) -> None:
        """Catch up, do what is due, and return.

        Raises:
            LedgerError: the log is away, or is not what was followed until now.
        """
        while self.round() and not self.stopping:
            pass

    def round(self) -> bool:
        """One round: catch up for a while, then duties; whether there is more to catch up with.

        Raises:
            LogUnavailable, LogMissing: the log is away.
            LogForeign, LogDamaged: the log is not what was followed until now.
        """
        if self.ledger is None:
            self.ledger = self._opening()
            self._duties = self._make_duties(self.ledger)
        self._come_on()
        try:
            end = self.ledger.advance(_ROUND_S, self._progress)
        except _StopAsked:
            return False
        self._note(self.ledger, end)
        self._answers()
        for number, duty in enumerate(self._duties):
            if self.stopping:
                break
            self._perform(number, duty)
            self._come_on()
        self.status.rounds += 1
        lag = self.status.lag
        return lag is not None and lag.events > 0

    def _come_on(self) -> None:
        self.status.alive_s = self._clock()

    def _progress(self, _done: int, _of: int) -> None:
        """Is called between two steps, neither of which is done by halves."""
        self._come_on()
        if self.stopping:
            raise _StopAsked

    def _note(self, ledger: Ledger, end: Position) -> None:
        seq = ledger.query(next_offset) - 1
        if self._begun_at is None:
            self._begun_at = seq
        status = self.status
        status.applied = max(status.applied, seq - self._begun_at)
        status.seq, status.position = seq, ledger.position()
        status.lag = lag_of(ledger, end, seq, status.lag)

    def _perform(self, number: int, duty: Duty) -> None:
        """Do a duty; where it fails it rests ever longer, and all else goes on."""
        until, length_s = self._resting.get(number, (0.0, 0.0))
        if self._clock() < until:
            return
        try:
            duty.round(self.status.seq)
        except LedgerError as error:
            length_s = min(max(2 * length_s, _FIRST_REST_S), _MOST_REST_S)
            self._resting[number] = (self._clock() + length_s, length_s)
            self.status.failures += 1
            if length_s == _FIRST_REST_S:
                _log.warning("%s; it is tried again", error)
        else:
            self._resting.pop(number, None)

    def _answers(self) -> None:
        if not self.status.brokers_up:
            self.status.since_s = time.time()
            if self._rest_s:
                _log.warning("the log answers again")
        self.status.brokers_up, self._rest_s = True, 0.0

    def _rest(self, error: LedgerError) -> None:
        """The log is away: say so once, and leave it alone for a while."""
        self._come_on()
        if self.status.brokers_up or not self._rest_s:
            self.status.since_s = time.time()
            _log.warning("%s; waiting for it", error)
        self.status.brokers_up = False
        self._rest_s = min(max(2 * self._rest_s, _FIRST_REST_S), _MOST_REST_S)
        self._wait(self._rest_s)


class _StopAsked(Exception):
    """The service was told to stop while it was catching up."""
