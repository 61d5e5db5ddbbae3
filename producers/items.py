"""What the stores of small families share: finding an item, and a page of items."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchUtils

from mlflow_ledger.query import Item, item_of
from mlflow_ledger.schemas import Event, Reason, Refused

from .edge import start_offset

__all__ = ["existing_item", "page_at", "page_of"]

T = TypeVar("T")


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


def page_of(
    items: Sequence[Item], size: int, page_token: str | None, entity: Callable[[Item], T]
) -> PagedList[T]:
    """A page of items that are in order, as entities, with the token of the next page."""
    offset = start_offset(page_token)
    return page_at(items[offset : offset + size + 1], size, offset, entity)


def page_at(
    items: Sequence[Item], size: int, offset: int, entity: Callable[[Item], T]
) -> PagedList[T]:
    """A page as entities, of items that were read from ``offset`` on: one more than it takes."""
    token = SearchUtils.create_page_token(offset + size) if len(items) > size else None
    return PagedList([entity(item) for item in items[:size]], token)
