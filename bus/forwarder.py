"""Who sends what waits in a spool: a thread of each process that spools, one of them at a time."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mlflow_ledger.schemas import LedgerError, LogError, RecordRefused, format_time

from .failpoint import reach
from .fork import forkable
from .lock import FileLock
from .log import Log, Outgoing
from .spool import Spool
from .spool_rows import SpoolDepth
from .writer import EventTooLarge

__all__ = ["Forwarder", "ForwarderStatus"]

_log = logging.getLogger(__name__)

_REFUSALS = (RecordRefused, EventTooLarge, UnicodeError)
"""What a log says of a record, not of itself: asking again would change nothing."""

_IDLE_S = 2.0
"""How often a process looks for what another left that has died."""

_FIRST_TURN_S, _MOST_TURN_S = 0.001, 0.05
_MOST_PAUSE_S = 0.05
_LOOK_S = 0.02


class ForwarderStatus(NamedTuple):
    """How a forwarder is doing; ``away_since_ms`` and ``error`` while the log cannot be reached."""

    depth: SpoolDepth
    refused: int
    away_since_ms: int | None
    error: str | None


class Forwarder:
    """Sends what waits in a spool to a log, in order, and drops it once the log has it.

    Delivery is at least once: what was sent and not yet dropped when a process died is sent again.
    The thread is started by the first :meth:`notify`, in a forked child by the child's own.
    """

    fork_order = 3

    _thread: threading.Thread | None
    _stop: threading.Event
    _awake: threading.Event

    def __init__(
        self,
        spool: Spool,
        log: Log,
        uri: str,
        *,
        most_records: int = 500,
        first_delay_s: float = 0.1,
        most_delay_s: float = 5.0,
    ) -> None:
        """Send to ``log``, which people know by ``uri``.

        While the log cannot be reached it is asked again after ``first_delay_s``, then after
        twice that, and so on up to ``most_delay_s``.
        """
        self.spool = spool
        self.log = log
        self.uri = uri
        self._most_records = self._limit = most_records
        self._delays_s = (first_delay_s, most_delay_s)
        self._turn = FileLock(spool.path.with_name(f"{spool.path.name}.forward"))
        self.sent = 0
        """How many records this one has sent, in this process and not in others."""
        self._begin()
        forkable(self)

    def notify(self) -> None:
        """Something was spooled: send it. Call it after every append; it does not wait."""
        if self._thread is None:
            self._start()
        self._awake.set()

    def status(self) -> ForwarderStatus:
        """How it is going."""
        away_since_ms, error = self._away or (None, None)
        return ForwarderStatus(self.spool.depth(), self.spool.count_refused(), away_since_ms, error)

    def drain(self, timeout_s: float) -> int:
        """Wait until the log has all that this process has spooled; how many of it still wait.

        What the log refuses, and :meth:`Spool.refused` shows, does not wait any more.
        """
        through = self.spool.own_last
        deadline = time.monotonic() + timeout_s
        with self._hurrying():
            while self._waits(through):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return self.spool.own(through)
                self.notify()
                if self._thread is None:  # the interpreter is ending and starts none any more
                    self._sleep(self._step(), left_s)
                else:
                    self._moved.clear()
                    if self._waits(through):
                        self._moved.wait(min(left_s, _LOOK_S))
        return 0

    def run(self, patience_s: float, progress: Callable[[int], None] | None = None) -> int:
        """Send all that waits, whoever spooled it, in the caller's thread; how many still wait.

        It gives up when nothing has left the spool for ``patience_s``. ``progress`` is told, again
        and again, how many records still wait.
        """
        before, moved_at = self.spool.first(), time.monotonic()
        with self._hurrying():
            while before is not None:
                pause_s = self._step()
                first = self.spool.first()
                if first != before:
                    before, moved_at = first, time.monotonic()
                if progress is not None:
                    progress(self.spool.depth().events)
                left_s = moved_at + patience_s - time.monotonic()
                if left_s <= 0:
                    break
                self._sleep(pause_s, left_s)
        return self.spool.depth().events

    def close(self, timeout_s: float) -> int:
        """Drain, then end the thread; says loudly what is left. How many records that are.

        -1 where the spool cannot be read. It can be used again, and starts another thread then.
        """
        try:
            left = self.drain(timeout_s)
            if left:
                self.tell_left(left)
        except LogError as error:
            left = -1
            self._tell(f"cannot tell what waits to be sent to {self.uri}: {error}")
        with self._gate:
            thread, self._thread = self._thread, None
            self._stop.set()
            self._awake.set()
        if thread is not None:
            thread.join(min(timeout_s, 1.0))  # it may be in the midst of asking a log that is away
        if thread is None or not thread.is_alive():
            self._turn.close()
        return left

    def before_fork(self) -> None:
        """Stand still: no thread is just taking its turn. The fork does not wait for the log."""
        self._gate.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._gate.release()

    def after_fork_in_child(self) -> None:
        """Begin without a thread, and without the turn, which is the parent's."""
        self._turn.without_processes().acquire(blocking=False)  # else the parent's thread had it
        self._turn.after_fork_in_child()
        self._begin()

    def _begin(self) -> None:
        self._gate = threading.Lock()
        """Held while the thread is started or ended, and while the turn is taken or given."""
        self._thread = None
        self._stop = threading.Event()
        self._awake = threading.Event()
        self._moved = threading.Event()
        self._hurried = 0
        self._limit = self._most_records
        self._turn_wait_s = _FIRST_TURN_S
        self._delay_s = self._delays_s[0]
        self._away: tuple[int, str] | None = None

    def _start(self) -> None:
        with self._gate:
            if self._thread is not None:
                return
            self._stop = threading.Event()
            thread = threading.Thread(
                target=self._forward, args=(self._stop,), name="mlflow-ledger-forward", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending; close() sends what it can
                return
            self._thread = thread

    def _forward(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._awake.clear()  # before it looks: what comes after the look sets it again
            pause_s = self._step()
            if pause_s is None:
                self._awake.wait(_IDLE_S)
            elif pause_s:
                stop.wait(pause_s)

    def _step(self) -> float | None:
        """Send a batch, if it is our turn; how long to pause, None: until something is spooled."""
        try:
            first = self.spool.first()
            if first is None:
                return None
            if not self._take_turn():
                return self._wait_for_turn(first)
            try:
                return self._send()
            finally:
                self._give_turn()
        except Exception as error:  # noqa: BLE001  # whatever it is: told, and tried again
            return self._is_away(error)

    def _send(self) -> float | None:
        began = time.monotonic()
        batch = self.spool.batch(self._limit)
        if not batch:  # another process was quicker
            return None
        try:
            self.log.append([outgoing for _, outgoing in batch])
        except _REFUSALS as error:
            self._is_refused(batch, error)
            return 0.0
        self.sent += len(batch)
        reach("forward.sent")
        self._is_back()
        self.spool.forget(batch[-1][0])
        reach("forward.forgotten")
        self._moved.set()
        self._limit = min(2 * self._limit, self._most_records)
        if self._hurried or len(batch) == 1:
            return 0.0
        # Others are logging in this process. While this thread works they get little done, since
        # only one thread runs Python at a time: it rests twice as long, and more is sent at once.
        return min(2 * (time.monotonic() - began), _MOST_PAUSE_S)

    def _is_refused(self, batch: list[tuple[int, Outgoing]], error: Exception) -> None:
        """Find the record that is meant by sending fewer at a time; put it aside."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return
        ((number, (_, record, _)),) = batch
        self.spool.refuse(number, f"{type(error).__name__}: {error}")
        self._moved.set()
        self._limit = 2
        _log.error(
            "%s does not take the %s about %s (%s). It is kept in %s, the others are sent; "
            "`mlflow-ledger spool %s` shows it",
            self.uri, record.envelope.type, record.envelope.subject, error, self.spool.path,
            self.uri,
        )  # fmt: skip

    def _is_away(self, error: Exception) -> float:
        if self._away is None:
            self._delay_s = self._delays_s[0]
            _log.warning(
                "cannot send to %s: %s. Events wait in %s and are sent when it answers again; "
                "logging goes on",
                self.uri, error or type(error).__name__, self.spool.path,
            )  # fmt: skip
        since_ms = self._away[0] if self._away else time.time_ns() // 1_000_000
        said = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
        self._away = (since_ms, said)
        delay_s, self._delay_s = self._delay_s, min(2 * self._delay_s, self._delays_s[1])
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311  # so that not all ask at once

    def _is_back(self) -> None:
        if self._away is not None:
            since_ms, self._away = self._away[0], None
            _log.warning("%s answers again; it had not since %s", self.uri, format_time(since_ms))

    def _take_turn(self) -> bool:
        with self._gate:
            taken = self._turn.try_acquire()
        if taken:
            self._turn_wait_s = _FIRST_TURN_S
        return taken

    def _give_turn(self) -> None:
        with self._gate:
            self._turn.release()

    def _wait_for_turn(self, first: int) -> float | None:
        """Another process is sending: look again soon, as long as something of ours waits."""
        if first > self.spool.own_last and not self._hurried:
            return None
        wait_s, self._turn_wait_s = self._turn_wait_s, min(2 * self._turn_wait_s, _MOST_TURN_S)
        return wait_s

    def _waits(self, through: int) -> bool:
        first = self.spool.first()
        return first is not None and first <= through

    @contextlib.contextmanager
    def _hurrying(self) -> Iterator[None]:
        with self._gate:
            self._hurried += 1
        try:
            yield
        finally:
            with self._gate:
                self._hurried -= 1

    @staticmethod
    def _sleep(pause_s: float | None, most_s: float) -> None:
        time.sleep(min(_LOOK_S if pause_s is None else pause_s, most_s))

    def tell_left(self, left: int) -> None:
        """Say that so many events of this process were not sent, where nobody can overlook it."""
        depth = self.spool.depth()
        since = "" if depth.oldest_ms is None else f" since {format_time(depth.oldest_ms)}"
        why = f" ({self._away[1]})" if self._away else ""
        self._tell(
            f"{left} events of this process were not sent to {self.uri}{why}. Nothing is lost: "
            f"they wait in {self.spool.path}, where {depth.events} events wait{since}. Whichever "
            f"process logs there next sends them, or: mlflow-ledger forward {self.uri}"
        )

    def _tell(self, what: str) -> None:
        """Say it where nobody can overlook it, and in the log of the program, if it has one."""
        if _log.hasHandlers():
            _log.warning("%s", what)
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none any more
            sys.stderr.write(f"mlflow-ledger: {what}\n")
            sys.stderr.flush()
