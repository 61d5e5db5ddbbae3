"""How far a replica is behind its log."""

from __future__ import annotations

from typing import NamedTuple

from mlflow_ledger.bus import Position

from .ledger import Ledger

__all__ = ["Lag", "lag_of"]


class Lag(NamedTuple):
    """How many events are not folded yet, and when the log took the oldest of them."""

    events: int
    oldest_ms: int | None


def lag_of(ledger: Ledger, end: Position, seq: int, before: Lag | None) -> Lag:
    """The lag of a ledger that has folded ``seq`` events of a log that ends at ``end``.

    ``before`` is what was found the last time: an event that then was the oldest is asked for
    again only when something was folded since.
    """
    stored = ledger.log.last_offset()
    to_copy = ledger.position().distance(end)
    events = max(0, stored - seq) + to_copy
    if events == 0:
        return Lag(0, None)
    if before is not None and before.oldest_ms is not None and before.events == events:
        return Lag(events, before.oldest_ms)
    found = []
    if stored > seq:
        first = ledger.log.at(seq + 1)
        found = [first.append_ms] if first else []
    if to_copy:
        oldest_ms = ledger.oldest_missing_ms(end)
        found += [] if oldest_ms is None else [oldest_ms]
    return Lag(events, min(found, default=None))
