"""Rows that a fold has decided on and not yet written: many at once take a fifth of the time."""

from __future__ import annotations

import sqlite3

from .trace_details import write_trace_details

__all__ = ["Latest", "Pending"]

Latest = tuple[int, int, float, bool]
"""Step, timestamp in milliseconds, value (0 for NaN), whether it is NaN; compared in this order."""

_IDENTITY = "INSERT INTO identities VALUES (?, ?, ?)"
_CHANGE = "INSERT INTO changes VALUES (?, ?)"
_CHUNK = "INSERT INTO metric_chunks VALUES (?, ?, ?, ?)"
_METRIC = (
    "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "value = excluded.value, is_nan = excluded.is_nan, "
    "timestamp_ms = excluded.timestamp_ms, step = excluded.step "
    "WHERE (excluded.step, excluded.timestamp_ms, excluded.value) > "
    "(metrics.step, metrics.timestamp_ms, metrics.value)"
)


class Pending:
    """Rows of tables that rules hardly read; whoever does read them has them written before."""

    __slots__ = ("_db", "_latest", "changes", "chunks", "identities", "traces")

    def __init__(self, db: sqlite3.Connection) -> None:
        """Write to ``db``."""
        self._db = db
        self.identities: list[tuple[int, int, bytes]] = []
        self.changes: list[tuple[int, str]] = []
        self.chunks: list[tuple[int, int, int, bytes]] = []
        self.traces: set[str] = set()
        """Traces of which something changed that their details repeat."""
        self._latest: dict[tuple[int, str], Latest] = {}

    def measure(self, run_no: int, key: str, measured: Latest) -> None:
        """A metric was measured: the latest of a run is the largest, of equal ones the first."""
        known = self._latest.get((run_no, key))
        if known is None or measured[:3] > known[:3]:
            self._latest[run_no, key] = measured

    def write_identities(self) -> None:
        """Write the identities."""
        if self.identities:
            self._db.executemany(_IDENTITY, self.identities)
            self.identities.clear()

    def write_metrics(self) -> None:
        """Write the metrics and their history."""
        if self.chunks:
            self._db.executemany(_CHUNK, self.chunks)
            self.chunks.clear()
        if self._latest:
            self._db.executemany(
                _METRIC,
                [
                    (run_no, key, value, is_nan, timestamp_ms, step)
                    for (run_no, key), (step, timestamp_ms, value, is_nan) in self._latest.items()
                ],
            )
            self._latest.clear()

    def write(self) -> None:
        """Write all of it."""
        self.write_identities()
        self.write_metrics()
        if self.changes:
            self._db.executemany(_CHANGE, self.changes)
            self.changes.clear()
        if self.traces:
            for trace_id in self.traces:
                write_trace_details(self._db, trace_id)
            self.traces.clear()

    def forget(self) -> None:
        """Forget what a transaction that is rolled back would have written."""
        self.identities.clear()
        self.changes.clear()
        self.chunks.clear()
        self.traces.clear()
        self._latest.clear()
