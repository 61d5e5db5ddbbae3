"""Processes of their own: another host's, or one that begins with nothing."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Self

__all__ = ["Elsewhere", "elsewhere"]

_PATIENCE_S = 900.0


class Elsewhere:
    """A function that runs in a new process, with settings of its own; use it in ``with``."""

    def __init__(
        self, work: Callable[..., Any], settings: Mapping[str, str], *arguments: Any
    ) -> None:
        """Start it; ``work`` gets the arguments, then our end of a pipe to talk through."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(work, dict(settings), arguments, theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        """Nothing more: it runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.join(10)
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def said(self) -> Any:
        """What it says next; its answer comes last.

        Raises:
            AssertionError: it failed.
            TimeoutError: it says nothing.
        """
        if not self.pipe.poll(_PATIENCE_S):
            raise TimeoutError("a process of the benchmarks does not answer")
        answer = self.pipe.recv()
        if type(answer) is _Failed:
            raise AssertionError(f"a process of the benchmarks failed:\n{answer}")
        return answer


def elsewhere(work: Callable[..., Any], settings: Mapping[str, str], *arguments: Any) -> Any:
    """What a function answers in a new process; it gets a pipe as its last argument."""
    with Elsewhere(work, settings, *arguments) as process:
        return process.said()


class _Failed(str):
    """The traceback of what went wrong there."""

    __slots__ = ()


def _serve(
    work: Callable[..., Any], settings: dict[str, str], arguments: tuple[Any, ...], pipe: Connection
) -> None:
    os.environ.update(settings)
    try:
        pipe.send(work(*arguments, pipe))
    except Exception:  # noqa: BLE001  # whatever it is: told, and raised where it is waited for
        pipe.send(_Failed(traceback.format_exc()))
