"""Processes that are up at once, can be killed at any moment, and tell when they are in a call.

Importing MLflow takes seconds; the server that forks them has imported it before.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "Life", "Orders", "Started", "prepare", "start"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.soak.imported"])
_PATIENCE_S = 60

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}


class Ended(Exception):
    """The process was told to end."""


class Orders:
    """What a process hears from the one that started it; it listens between calls."""

    def __init__(self, pipe: multiprocessing.connection.Connection) -> None:
        self._pipe = pipe

    def rest(self, seconds: float) -> None:
        """Do nothing for so long, unless there is an order.

        Raises:
            Ended: that was the order.
        """
        if not self._pipe.poll(seconds):
            return
        if self._pipe.recv_bytes() == b"end":
            raise Ended
        self._pipe.send_bytes(b"now")  # whoever wants to strike knows that a call begins


@dataclass(frozen=True)
class Life:
    """One process in one slot: the ``number``-th there, with a random generator of its own."""

    slot: int
    number: int
    uri: str
    folder: Path
    rate: float
    seed: int

    @property
    def rng(self) -> random.Random:
        """The same numbers for the same seed, slot and number."""
        return random.Random(f"{self.seed} {self.slot} {self.number}")

    @property
    def errors(self) -> Path:
        """Where it says what it failed with."""
        return self.folder / f"error-{self.slot}-{self.number}.txt"


class Started:
    """A process that runs, as the one that started it sees it."""

    def __init__(self, work: Callable[[Life, Orders], None], life: Life) -> None:
        ours, theirs = _CONTEXT.Pipe()
        self.life = life
        self._pipe = ours
        self._process = _CONTEXT.Process(target=_live, args=(work, life, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def wait_for_call(self, seconds: float) -> bool:
        """Wait until it is about to make a call; false if it is not within so many seconds."""
        try:
            self._pipe.send_bytes(b"tell")
            return self._pipe.poll(seconds)
        except OSError:  # it is gone
            return False

    def kill(self) -> bool:
        """Kill it with SIGKILL; whether that is what it ended by."""
        self._process.kill()
        self._process.join(_PATIENCE_S)
        self._pipe.close()
        return self._process.exitcode == -signal.SIGKILL

    def end(self) -> bool:
        """Tell it to end; whether it did, without an error."""
        with suppress(OSError):  # where it is gone already, its exit code says how
            self._pipe.send_bytes(b"end")
        self._process.join(_PATIENCE_S)
        ended = self._process.exitcode == 0
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        return ended


def start(work: Callable[[Life, Orders], None], life: Life) -> Started:
    """Run ``work`` in a process of its own until it is told to end."""
    return Started(work, life)


def _live(
    work: Callable[[Life, Orders], None], life: Life, pipe: multiprocessing.connection.Connection
) -> None:
    try:
        work(life, Orders(pipe))
    except Ended:
        return
    except BaseException:
        life.errors.write_text(traceback.format_exc(), "utf-8")
        raise


def _check_imported() -> None:
    sys.exit("tests.soak.imported" not in sys.modules)


@contextmanager
def prepare(folder: Path) -> Iterator[None]:
    """Have the server of forks up: it imports once what every process needs.

    Temporary files of all processes go below ``folder``.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    os.environ.update(ENVIRONMENT, TMPDIR=str(temporary))
    first = _CONTEXT.Process(target=_check_imported)
    first.start()
    first.join()
    if first.exitcode != 0:  # it does not say why: a failed import there is passed over
        raise RuntimeError("the server of forks has not imported tests.soak.imported: import it")
    yield
