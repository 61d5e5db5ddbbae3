"""Comparisons as SQL conditions, with MLflow's meaning of each operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

__all__ = ["Filter", "Order", "Sql", "compare", "ilike_duckdb", "ilike_sqlite"]

_PLAIN = {"=", "!=", "<", "<=", ">", ">=", "LIKE"}


class Filter(NamedTuple):
    """One comparison of a filter string, parsed: kind of entity, key, operator, value."""

    kind: str
    key: str
    comparator: str
    value: object


class Order(NamedTuple):
    """One key of an ``order_by``, parsed."""

    kind: str
    key: str
    ascending: bool


class Sql:
    """A statement being put together: text with its bound values in the same order."""

    def __init__(self, text: str = "", values: Sequence[object] = ()) -> None:
        """Begin with a text and its values."""
        self.text = text
        self.values = list(values)

    def add(self, text: str, *values: object) -> Self:
        """Add text and the values of its question marks."""
        self.text += text
        self.values.extend(values)
        return self

    def __iadd__(self, other: Sql) -> Self:
        """Add another piece."""
        return self.add(other.text, *other.values)


def compare(column: str, comparator: str, value: object, ilike: str) -> Sql:
    """``column <comparator> value``; ``ilike`` is the dialect's template for ILIKE.

    There is no escape character in patterns, and a missing value matches nothing, ``!=`` included:
    so it is in MLflow's SQL store.
    """
    if comparator in ("IN", "NOT IN"):
        items = list(value) if isinstance(value, tuple | list | set) else [value]
        marks = ", ".join("?" * len(items))
        return Sql(f"{column} {comparator} ({marks})", items)
    if comparator == "ILIKE":
        return Sql(ilike.format(column=column, value="?"), [value])
    if comparator not in _PLAIN:
        msg = f"no SQL for comparator {comparator!r}"
        raise ValueError(msg)
    return Sql(f"{column} {comparator} ?", [value])


_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"

_FOLDED = f"translate({{}}, '{_UPPER}', '{_LOWER}')"

ilike_duckdb = f"{_FOLDED.format('{column}')} LIKE {_FOLDED.format('{value}')}"
"""ILIKE as SQLite's ``lower`` does it, which folds ASCII only."""

ilike_sqlite = "lower({column}) LIKE lower({value})"
"""ILIKE in the keyed state."""
