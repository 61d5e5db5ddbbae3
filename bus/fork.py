"""What a fork must not share: connections are left alone in the child, locks are not inherited."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Protocol

__all__ = ["Forkable", "abandon", "forkable"]


class Forkable(Protocol):
    """Something that holds locks and connections across a fork."""

    fork_order: int
    """Where its locks stand in the order in which threads take them; the lowest is taken first."""

    def before_fork(self) -> None:
        """In the parent: stand still, so that no lock is held by a thread the child lacks."""

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""

    def after_fork_in_child(self) -> None:
        """In the child: abandon what was inherited, and open anew when next asked."""


_forking = threading.Lock()  # two threads may fork at the same time
_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()
_abandoned: list[object] = []
_standing_still: list[Forkable] = []


def forkable(thing: Forkable) -> None:
    """Have the hooks of ``thing`` called around forks, for as long as it lives."""
    with _forking:
        _objects.add(thing)


def abandon(*things: object) -> None:
    """Keep inherited connections from ever being closed or finalised in this process.

    A child that closed an inherited SQLite or DuckDB handle could drop locks or check-point a
    file that its parent is using. So the references are kept beyond the interpreter's own end.
    """
    for thing in things:
        if thing is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
            _abandoned.append(thing)


def _before() -> None:
    _forking.acquire()
    _standing_still.extend(sorted(_objects, key=lambda thing: thing.fork_order))
    for thing in _standing_still:
        thing.before_fork()


def _parent() -> None:
    while _standing_still:
        _standing_still.pop().after_fork_in_parent()
    _forking.release()


def _child() -> None:
    while _standing_still:
        _standing_still.pop().after_fork_in_child()
    _forking.release()


os.register_at_fork(before=_before, after_in_parent=_parent, after_in_child=_child)
