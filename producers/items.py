"""What the stores of small families share: finding an item, and a page of items."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchUtils

from mlflow_ledger.consumers import Decide
from mlflow_ledger.query import Item, item_named, item_of
from mlflow_ledger.schemas import Event, Reason, Refused

from .edge import start_offset

__all__ = [
    "existing_item",
    "found_page",
    "item_by_either",
    "of_experiment",
    "page_of",
    "say_with_parent",
]

T = TypeVar("T")
R = TypeVar("R")
_WITH_PARENT = 2


def of_experiment(experiment_id: str | int) -> str:
    """The parent of items that belong to an experiment, as events name it."""
    return f"experiments:/{int(experiment_id)}"


def existing_item(
    db: sqlite3.Connection, kind: str, item_id: str, missing: str, event: Event | None = None
) -> Item:
    """An item that must be there; ``missing`` is what is said where it is not.

    Raises:
        Refused: it is not; ``event`` is what the command would have said.
    """
    item = item_of(db, kind, item_id)
    if item is None:
        raise Refused(Reason.MISSING, missing, event)
    return item


def item_by_either(
    db: sqlite3.Connection, kind: str, noun: str, named: Mapping[str, str | None]
) -> Item:
    """An item that is named in exactly one of two ways, by its id or by its name.

    Raises:
        MlflowException: it is named in both ways or in none.
        Refused: it is not there.
    """
    (id_field, item_id), (name_field, name) = named.items()
    if (item_id is None) == (name is None):
        raise MlflowException(
            f"Exactly one of {id_field} or {name_field} must be provided", INVALID_PARAMETER_VALUE
        )
    if item_id:
        return existing_item(db, kind, item_id, f"{noun} not found ({id_field}='{item_id}')")
    item = None if name is None else item_named(db, kind, name)
    if item is None:
        raise Refused(Reason.MISSING, f"{noun} not found ({name_field}='{name}')")
    return item


def page_of(
    items: Sequence[Item], size: int, page_token: str | None, entity: Callable[[Item], T]
) -> PagedList[T]:
    """A page of items that are in order, as entities, with the token of the next page."""
    offset = start_offset(page_token)
    return found_page(items[offset : offset + size + 1], size, offset, entity)


def found_page(rows: Sequence[R], size: int, offset: int, entity: Callable[[R], T]) -> PagedList[T]:
    """A page of rows that were found from ``offset`` on, one more than it takes where there is."""
    token = SearchUtils.create_page_token(offset + size) if len(rows) > size else None
    return PagedList([entity(row) for row in rows[:size]], token)


def say_with_parent(say: Callable[[Decide], object], decide: Decide) -> None:
    """Say something that brings along what it belongs to, where that is not there yet.

    Another host may just bring it along too; then it is decided again, and is there.
    """
    said: list[Event] = []

    def noting(db: sqlite3.Connection) -> Sequence[Event]:
        said[:] = decide(db)
        return said

    try:
        say(noting)
    except Refused as refusal:
        if len(said) < _WITH_PARENT or refusal.reason is not Reason.EXISTS:
            raise
        say(decide)
