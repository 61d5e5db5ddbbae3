"""What changed in the state since a clone last looked, merged from the state's list of changes."""

from __future__ import annotations

import json
import sqlite3

__all__ = ["Changes"]

_KINDS = {"m": "metrics", "p": "params", "t": "tags"}


class Changes:
    """What the state's list of changes names, merged."""

    def __init__(self) -> None:
        self.runs: set[int] = set()
        self.inputs: set[int] = set()
        self.pairs: dict[str, set[tuple[int, str]]] = {name: set() for name in _KINDS.values()}
        self.chunks: list[tuple[int, str, int]] = []
        self.last: int | None = None
        """The last event among these, where there may be more behind it."""

    @classmethod
    def since(cls, keyed: sqlite3.Connection, seq: int, limit: int) -> Changes:
        """The changes after ``seq``, of no more than ``limit`` events."""
        changes = cls()
        rows = keyed.execute(
            "SELECT seq, touched FROM changes WHERE seq > ? AND touched <> '' ORDER BY seq LIMIT ?",
            (seq, limit),
        ).fetchall()
        for number, touched in rows:
            for run_no, kinds in json.loads(touched).items():
                changes._add(number, int(run_no), kinds)
        if len(rows) == limit:
            changes.last = rows[-1][0]
        return changes

    def _add(self, seq: int, run_no: int, kinds: dict[str, list[str]]) -> None:
        if "r" in kinds:
            self.runs.add(run_no)
        if "i" in kinds:
            self.inputs.add(run_no)
        for kind, name in _KINDS.items():
            self.pairs[name].update((run_no, key) for key in kinds.get(kind, ()))
        self.chunks.extend((run_no, key, seq) for key in kinds.get("m", ()))
