"""One view of a state that a query service holds, for the questions that are asked of a state."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_ledger.bus import abandon, forkable

from .wire import error_from

if TYPE_CHECKING:
    from .query_service import QueryService

__all__ = ["RemoteRows", "RemoteState", "RemoteView"]

_MOST_STATEMENTS = 200


class RemoteRows:
    """The rows of one statement, sent when the first of them is wanted."""

    def __init__(self, state: RemoteState, statement: dict[str, Any]) -> None:
        """Rows are got by :meth:`RemoteState.send`."""
        self._state = state
        self.statement = statement
        self._rows: Iterator[tuple[Any, ...]] | None = None
        self._error: Exception | None = None

    def answered(self, answer: dict[str, Any]) -> None:
        """Take what the service says."""
        if "error" in answer:
            self._error = error_from(answer["error"])
        else:
            self._rows = map(tuple, answer["rows"])

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        return next(self, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        return list(self)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Itself, as a cursor is."""
        return self

    def __next__(self) -> tuple[Any, ...]:
        """The next row."""
        if self._rows is None and self._error is None:
            self._state.send()
        if self._error is not None:
            raise self._error
        assert self._rows is not None
        return next(self._rows)


class RemoteState:
    """Stands for a :class:`sqlite3.Connection` with a view open, for reading.

    Statements travel together as far as nobody has asked for their rows, and the first of them
    open the view. Use it in one thread, and close it: views are few and have limited lives.
    """

    is_remote = True
    """Statements are kept until an answer is looked at, and then sent together."""

    def __init__(
        self,
        service: QueryService,
        opening: dict[str, Any],
        opened: Callable[[dict[str, Any]], None],
    ) -> None:
        """Open the view with ``opening``; ``opened`` is told what the service says of it."""
        self._service = service
        self._opening = opening
        self._opened = opened
        self._path = ""
        self._waiting: list[RemoteRows] = []
        self.offset = 0

    def execute(self, statement: str, values: Sequence[object] = ()) -> RemoteRows:
        """Ask something.

        Raises:
            Exception: what SQLite raises for values that it does not take.
        """
        rows = RemoteRows(self, {"sql": statement, "values": _bound(values)})
        self._waiting.append(rows)
        return rows

    def open(self, search: dict[str, Any] | None = None) -> dict[str, Any]:
        """Open the view now, with the cut of a search if there is one; returns the answer."""
        waiting, self._waiting = self._waiting, []
        first, rest = waiting[:_MOST_STATEMENTS], waiting[_MOST_STATEMENTS:]
        document = {
            **self._opening, "search": search, "statements": [r.statement for r in first],
        }  # fmt: skip
        answer: dict[str, Any] = self._service.post("/v1/views", document)
        self._path = f"/v1/views/{answer['view']}"
        self.offset = answer["offset"]
        self._opened(answer)
        _answer(first, answer)
        self._waiting = rest
        return answer

    def send(self) -> None:
        """Send what waits, and open the view if it is not open yet."""
        if not self._path:
            self.open()
        while self._waiting:
            batch = self._waiting[:_MOST_STATEMENTS]
            del self._waiting[:_MOST_STATEMENTS]
            statements = [rows.statement for rows in batch]
            _answer(batch, self._service.post(self._path, {"statements": statements}))

    def close(self) -> None:
        """Let go of the view."""
        if self._path:
            self._service.delete(self._path)


class RemoteView:
    """One consistent cut: a search that was answered over there, and the state it was made from."""

    def __init__(self, state: RemoteState) -> None:
        """``keyed`` is what the functions of the query layer ask."""
        self.remote = state
        self.keyed: sqlite3.Connection = state  # type: ignore[assignment]  # it has what they use

    def search(self, search: dict[str, Any]) -> list[int]:
        """The numbers of the runs that a search finds. It comes first in a view."""
        found: list[int] = self.remote.open(search)["found"]
        return found


def _answer(asked: Sequence[RemoteRows], answer: dict[str, Any]) -> None:
    for rows, result in zip(asked, answer["results"], strict=True):
        rows.answered(result)


def _bound(values: Sequence[object]) -> list[Any]:
    """Values as SQLite takes them, refused in its own words where it does not."""
    if not values:
        return []
    marks = ", ".join("?" * len(values))
    return list(_binder.one(f"SELECT {marks}", values))


class _Binder:
    """A SQLite in memory that binds values as the one over there would."""

    fork_order = 5

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        forkable(self)

    def one(self, statement: str, values: Sequence[object]) -> tuple[Any, ...]:
        with self._mutex:
            row: tuple[Any, ...] = self._db.execute(statement, values).fetchone()
        return row

    def before_fork(self) -> None:
        self._mutex.acquire()

    def after_fork_in_parent(self) -> None:
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        abandon(self._db)
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._mutex.release()


_binder = _Binder()
