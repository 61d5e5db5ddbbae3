"""A moment as people write it: a time, or a position."""

from __future__ import annotations

from mlflow_ledger.schemas import SettingsError, parse_time

from .position import Position

__all__ = ["parse_moment"]


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
