"""A moment in a log: a time, or a position."""

from __future__ import annotations

from typing import NamedTuple

from mlflow_ledger.bus import Position, SqliteLog, Stored, parse_moment
from mlflow_ledger.schemas import SettingsError

__all__ = ["Since", "parse_moment"]


class Since(NamedTuple):
    """Where reading begins, and the earliest append time that counts.

    A host's copy of a ledger in Kafka has each partition's records in their order, and those of
    several as they came: behind a moment's first record earlier ones may stand.
    """

    position: Position
    append_ms: int

    def holds(self, stored: Stored) -> bool:
        """Whether a record that stands there counts."""
        return stored.append_ms >= self.append_ms

    @classmethod
    def read(cls, log: SqliteLog, text: str | None) -> Since:
        """The beginning, a time (appended then or later) or a position.

        Raises:
            SettingsError: the text is no moment, or a position of another ledger.
        """
        if text is None:
            return cls(log.start(), 0)
        moment = parse_moment(text)
        if isinstance(moment, int):
            return cls(log.position_at(moment - 1), moment)
        if moment.ledger_id != log.ledger_id:
            msg = (
                f"{text!r} is a position of ledger {moment.ledger_id}; this one is {log.ledger_id}"
            )
            raise SettingsError(msg)
        return cls(log.local(moment), 0)
