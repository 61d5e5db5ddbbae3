"""A log in memory and the state folded from it, for tests that need no files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from mlflow_ledger.bus import Actor, MemoryLog, Outgoing, Position, Stored, Writer
from mlflow_ledger.consumers import STATE_TABLES, Fold, Verdict, create, state_digest
from mlflow_ledger.schemas import Event, LedgerCreated, TopicPartitions

LEDGER_ID = "0123456789abcdef"
PARTITIONS = {"catalog": 1, "runs": 4, "traces": 1, "artifacts": 4}
BEGINNING = LedgerCreated(
    ledger_id=LEDGER_ID,
    partitions=[TopicPartitions(topic=t, count=n) for t, n in PARTITIONS.items()],
    rules=1,
    artifact_root=f"ledger-artifacts://{LEDGER_ID}",
)
AUDIT = ("rejections", "identities")
"""The tables that keep what was refused: all others stay as they were when something is."""


class Clock:
    """A clock that ticks whenever it is looked at."""

    def __init__(self, now_ms: int = 1_772_539_200_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


class State:
    """A state in memory, and its fold."""

    def __init__(self) -> None:
        self.db: sqlite3.Connection = create(":memory:")
        self.fold = Fold(self.db)

    def apply(self, records: Iterable[Stored]) -> list[Verdict]:
        """Fold records in one transaction."""
        self.db.execute("BEGIN")
        self.fold.refresh()
        verdicts = [self.fold.apply(stored) for stored in records]
        self.fold.save_progress()
        self.db.execute("COMMIT")
        return verdicts

    def copy(self) -> State:
        """A snapshot: the same rows in another database."""
        other = State.__new__(State)
        other.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.backup(other.db)
        other.fold = Fold(other.db)
        return other

    def position(self) -> Position:
        """How far the state is folded."""
        self.fold.refresh()
        return Position(LEDGER_ID, self.fold.progress())

    def digest(self) -> str:
        """The digest of everything."""
        return state_digest(self.db)

    def essence(self) -> str:
        """The digest of all but the audit."""
        return state_digest(self.db, {n: q for n, q in STATE_TABLES.items() if n not in AUDIT})

    def rows(self, sql: str, *values: object) -> list[Any]:
        """The rows of a query."""
        return self.db.execute(sql, values).fetchall()

    def close(self) -> None:
        self.db.close()


class Bench(State):
    """A log, a voice, and a state that has folded all that was said."""

    def __init__(self, begun: bool = True) -> None:
        super().__init__()
        self.log = MemoryLog(LEDGER_ID, PARTITIONS, Clock())
        self.writer = Writer(Actor("Zoë", "claimed"), Clock())
        if begun:
            assert self.say(BEGINNING) == [Verdict("accepted")]

    def say(self, *events: Event) -> list[Verdict]:
        """Stamp, append and fold some events."""
        return self.deliver([self.writer.stamp(event, PARTITIONS) for event in events])

    def accept(self, *events: Event) -> None:
        """Say events, all of which must be accepted."""
        for event, verdict in zip(events, self.say(*events), strict=True):
            assert verdict.kind == "accepted", (event, verdict)

    def deliver(self, records: Sequence[Outgoing]) -> list[Verdict]:
        """Append and fold records that have their identity."""
        return self.apply(self.log.append(records))
