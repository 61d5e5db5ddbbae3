"""A moment in a log: a time, or a position."""

from __future__ import annotations

from mlflow_ledger.bus import Position, SqliteLog
from mlflow_ledger.schemas import SettingsError, parse_time

__all__ = ["parse_moment", "position_since"]


def parse_moment(text: str) -> int | Position:
    """A position's text form, or an RFC 3339 time as milliseconds since 1970.

    Raises:
        SettingsError: the text is neither.
    """
    if text.startswith("v1~"):
        return Position.parse(text)
    try:
        return parse_time(text)
    except ValueError as error:
        reason = str(error) if "offset" in str(error) else f"{text!r} is no moment"
        msg = (
            f"{reason}; a moment is a time such as 2026-03-03T12:00:00Z, "
            "or a position as `mlflow-ledger log` shows it"
        )
        raise SettingsError(msg) from error


def position_since(log: SqliteLog, text: str | None) -> Position:
    """Where reading begins: at the first record appended at that time or later, or at a position.

    Raises:
        SettingsError: the text is no moment, or a position of another ledger.
    """
    if text is None:
        return log.start()
    moment = parse_moment(text)
    if isinstance(moment, int):
        return log.position_at(moment - 1)
    if moment.ledger_id != log.ledger_id:
        msg = f"{text!r} is a position of ledger {moment.ledger_id}; this one is {log.ledger_id}"
        raise SettingsError(msg)
    return log.local(moment)
