"""What a rule is given, and how it is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from mlflow_ledger.schemas import ClaimCheck, Envelope, Event, KeyValue, Reason, Refused

from .pending import Pending

__all__ = [
    "Context",
    "Numbers",
    "Rule",
    "check_values",
    "experiment_number",
    "rule",
    "rules_of",
    "stored_text",
]

_MAX_DIGITS = 18
_MOST_NUMBERS = 2000

E = TypeVar("E", bound=Event)
Rule = Callable[["Context", Any], None]
Numbers = dict[tuple[str, str], int]
"""Numbers that a fold has looked up, by query and value."""

_RULES: dict[int, dict[type[Event], Rule]] = {1: {}, 2: {}}


class Context:
    """The state as a rule sees it, and the envelope of the event it decides about.

    ``touched`` collects what analytics has to read again: for a run's number the names of its
    metrics (``m``), params (``p``) and tags (``t``), and whether its row (``r``) or inputs (``i``)
    changed; the catalog as a whole (``catalog``).
    """

    __slots__ = ("_numbers", "catalog", "db", "envelope", "pending", "seq", "touched")

    def __init__(
        self,
        db: sqlite3.Connection,
        envelope: Envelope,
        seq: int,
        numbers: Numbers,
        pending: Pending,
    ) -> None:
        """Decide about one event, the ``seq``-th that this state folds."""
        self._numbers = numbers
        self.pending = pending
        self.db = db
        self.envelope = envelope
        self.seq = seq
        self.touched: dict[int, dict[str, list[str]]] = {}
        self.catalog = False

    def row(self, sql: str, *values: object) -> Any:
        """The first row of a query, or None."""
        return self.db.execute(sql, values).fetchone()

    def write(self, sql: str, *values: object) -> int:
        """Change the state; returns how many rows changed."""
        return self.db.execute(sql, values).rowcount

    def number(self, sql: str, value: str) -> int | None:
        """The number that a query finds for a value, remembered until :meth:`forget_number`."""
        known = self._numbers.get((sql, value))
        if known is None:
            row = self.row(sql, value)
            if row is None:
                return None
            if len(self._numbers) >= _MOST_NUMBERS:
                self._numbers.clear()
            known = self._numbers[sql, value] = int(row[0])
        return known

    def retell(self, trace_id: str) -> None:
        """Note that something of a trace changed that its details repeat."""
        self.pending.traces.add(trace_id)

    def forget_number(self, sql: str, value: str) -> None:
        """The value has that number no more."""
        self._numbers.pop((sql, value), None)

    def touch(self, run_no: int, kind: str, *keys: str) -> None:
        """Note that something of a run changed."""
        self.touched.setdefault(run_no, {}).setdefault(kind, []).extend(keys)


def rule(event: type[E]) -> Callable[[Callable[[Context, E], None]], Callable[[Context, E], None]]:
    """Make a function the rule for an event type, from the version on that first knows it.

    No rule of version 1 has another in version 2, which came with new types only.
    """

    def register(function: Callable[[Context, E], None]) -> Callable[[Context, E], None]:
        for version, known in _RULES.items():
            if version >= event.rules_version:
                known[event] = function
        return function

    return register


def rules_of(version: int) -> Mapping[type[Event], Rule] | None:
    """The rules of one version, or None where it is not known here; released ones stay."""
    return _RULES.get(version)


def experiment_number(experiment_id: str) -> int:
    """An experiment's id as a number.

    Raises:
        Refused: it is none.
    """
    if experiment_id.isascii() and experiment_id.isdigit() and len(experiment_id) <= _MAX_DIGITS:
        return int(experiment_id)
    raise Refused(Reason.INVALID, f"Invalid experiment ID {experiment_id!r}: it is no number.")


def check_values(pairs: Iterable[KeyValue]) -> None:
    """Only a run's and an experiment's tags may have no value.

    Raises:
        Refused: one has none.
    """
    for pair in pairs:
        if pair.value is None:
            raise Refused(Reason.BAD_REQUEST, f"{pair.key!r} has no value.")


def stored_text(text: str | ClaimCheck | None) -> str | bytes | None:
    """A text as the state keeps it: a claim check as a blob of JSON, so that none is mistaken."""
    return text.model_dump_json().encode() if isinstance(text, ClaimCheck) else text
