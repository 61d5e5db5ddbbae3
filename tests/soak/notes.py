"""What processes note outside the ledger: each call before it is made and once it has returned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .watch import Took

__all__ = ["Call", "Notes", "calls", "every", "recent"]

_TAIL_BYTES = 8192


class Call(NamedTuple):
    """A call that was begun; ``mark`` is in whatever it said, and in nothing else.

    ``answer`` is what it returned, and ``took`` how long it took, once it was acknowledged.
    """

    mark: int
    kind: str
    about: str
    answer: str | None = None
    took: Took | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether it returned."""
        return self.took is not None


class Notes:
    """One process's notes: a file to which each line is appended with one system call.

    What stands in it outlives its writer's death by a signal at any moment.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def begin(self, call: Call) -> None:
        """Note that a call is about to be made."""
        self._append(["begin", *call[:3]])

    def acknowledge(self, call: Call, answer: str, took: Took) -> None:
        """Note that it has returned."""
        self._append(["done", *call[:3], answer, took])

    def _append(self, note: object) -> None:
        os.write(self._descriptor, f"{json.dumps(note)}\n".encode())


def calls(paths: Iterable[Path]) -> dict[int, Call]:
    """Every call that was begun, by its mark."""
    found: dict[int, Call] = {}
    for path in paths:
        for call in every(path):
            found[call.mark] = call
    return found


def every(path: Path) -> Iterator[Call]:
    """All notes of one file, in their order."""
    with path.open("rb") as file:
        yield from _calls(file)


def recent(paths: Iterable[Path]) -> list[Call]:
    """The last calls of each file that were acknowledged before now."""
    found: list[Call] = []
    for path in paths:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            file.seek(max(size_bytes - _TAIL_BYTES, 0))
            lines = file.read(_TAIL_BYTES).splitlines(keepends=True)
        whole = lines[1:] if size_bytes > _TAIL_BYTES else lines
        found += [call for call in _calls(whole) if call.acknowledged]
    return found


def _calls(lines: Iterable[bytes]) -> Iterator[Call]:
    for line in lines:
        if not line.endswith(b"\n"):
            return  # it is just being written
        what, *fields = json.loads(line)
        if what == "done":
            *fields, took = fields
            yield Call(*fields, took=Took(*took))
        else:
            yield Call(*fields)
