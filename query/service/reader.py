"""What the query service does: open views, search, rehearse, wait, each within bounds."""

from __future__ import annotations

import itertools
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mlflow_ledger.bus import (
    Actor,
    ChangedMeanwhile,
    MirrorLog,
    Position,
    acting_as,
    acting_in,
)
from mlflow_ledger.consumers import FOLD_VERSION, Ledger
from mlflow_ledger.consumers.speaking import Verdict, verdict_of
from mlflow_ledger.consumers.wire import PROTOCOL, check_versions
from mlflow_ledger.query.conditions import Filter, Order
from mlflow_ledger.query.search_runs import RunSearch, find_runs
from mlflow_ledger.schemas import Event, LedgerError, LogForeign, LogUnavailable

from .guard import answers
from .leases import Lease, Leases

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Analytics

__all__ = ["Reader"]

_MOST_FOLLOWED = 5000
_POLL_S = 0.005


class Reader:
    """Reads one ledger for clients that have no replica of it."""

    def __init__(self, opening: Callable[[], Ledger], leases: Leases | None = None) -> None:
        """Nothing is opened yet. ``name`` tells this reader's offsets from another's."""
        self.leases = leases or Leases()
        self.name = secrets.token_hex(8)
        self._opening = opening
        self._opened: Ledger | None = None
        self._failure: LedgerError | None = None
        self._mutex = threading.Lock()
        self._searching = threading.Lock()

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened by whoever needs it first; who comes meanwhile waits for that.

        Raises:
            LedgerError: it cannot be opened; it is not tried again.
        """
        with self._mutex:
            if self._failure is not None:
                raise self._failure
            if self._opened is None:
                try:
                    self._opened = self._opening()
                except LedgerError as error:
                    self._failure = error
                    raise
            return self._opened

    def blob(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob that is in the log or the blob store, checked on the way.

        Raises:
            ArtifactError: it is in neither, or no digest is written like that.
        """
        pieces = self.ledger.carrier.read(digest, wait_s=0)
        first = next(pieces, b"")  # now: an error is still an answer of its own
        return itertools.chain([first], pieces)

    def facts(self) -> dict[str, Any]:
        """Which ledger this is."""
        ledger_id, log = self._ledger_id, self.ledger.log
        facts = log.facts() if isinstance(log, MirrorLog) else {}
        return {
            "ledger_id": ledger_id,
            "cluster_id": facts.get("cluster_id"),
            "topic_ids": {
                key.removeprefix("topic_id."): value
                for key, value in facts.items()
                if key.startswith("topic_id.")
            },
            "protocol": PROTOCOL,
            "fold_version": FOLD_VERSION,
            "version": version("mlflow-ledger"),
        }

    def position(self) -> Position:
        """The position that the state has come to, after it has caught up."""
        self._catch_up()
        position = self._known_position()
        self._catch_up()  # others may have copied more than was folded
        return position

    def check(self, who: dict[str, Any]) -> None:
        """Do nothing where the asker means this ledger, and by its questions what we mean.

        Raises:
            LogForeign: it does not.
        """
        if who["ledger_id"] != self.ledger.ledger_id:
            msg = (
                f"this query service serves ledger {self.ledger.ledger_id}, not {who['ledger_id']}"
            )
            raise LogForeign(msg)
        check_versions(who["protocol"], who["fold_version"], "at the client of the query service")

    def open(self, opening: dict[str, Any]) -> dict[str, Any]:
        """Open a view, and answer what is asked along with it."""
        self.check(opening)
        self._reach(opening["position"])
        with self.leases.lend(self.ledger) as lease:
            found = None
            if opening["search"] is None:
                with lease.begin():
                    pass
            else:
                found = self._search(lease, opening["search"])
            offset = _offset(lease.db)
            lease.guard()
            return {
                "view": lease.name,
                "reader": self.name,
                "offset": offset,
                "others": self._others(opening["since"], offset),
                "found": found,
                "results": self._answers(lease, opening["statements"]),
            }

    def ask(self, view: str, statements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer what is asked in a view that is open."""
        with self.leases.use(view) as lease:
            return self._answers(lease, statements)

    def rehearse(self, who: dict[str, Any], events: Sequence[Event]) -> None:
        """Do nothing where the rules would take these events.

        Raises:
            Refused: by the rules.
        """
        self.check(who)
        self._reach(who["position"])
        self._catch_up()
        actor = who.get("actor")
        before = acting_in.set(who["workspace"])
        as_before = acting_as.set(Actor(*actor) if actor else acting_as.get())
        try:
            self.ledger.rehearse(events)
        finally:
            acting_as.reset(as_before)
            acting_in.reset(before)

    def verdicts(self, said: Sequence[tuple[str, int]], timeout_s: float) -> list[Verdict]:
        """What became of what was said to the log; waits until it is known."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.ledger.query(lambda db: [verdict_of(db, one) for one in said])
            if None not in found or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_S)

    def has_reached(self, position: Position) -> bool:
        """Whether everything before a position is folded, after catching up."""
        return self.position().covers(position)

    def warm_up(self) -> None:
        """Catch up, and copy analytics, so that the first client does not wait for it."""
        self._analytics.query(lambda _: None)

    def close(self) -> None:
        """Close all views, and the ledger."""
        self.leases.close()
        if "_analytics" in vars(self):
            self._analytics.close()
        if self._opened is not None:
            self._opened.close()

    @cached_property
    def _ledger_id(self) -> str:
        self._catch_up()  # a replica begins with that
        return self.ledger.ledger_id

    def _catch_up(self) -> None:
        self.ledger.query(lambda _: None)

    @cached_property
    def _analytics(self) -> Analytics:
        from mlflow_ledger.consumers import Analytics  # DuckDB takes its time to be imported

        return Analytics(self.ledger)

    def _search(self, lease: Lease, document: dict[str, Any]) -> list[int]:
        search = RunSearch(
            **{
                **document,
                "filters": [Filter(*condition) for condition in document["filters"]],
                "orders": [Order(*order) for order in document["orders"]],
            }
        )
        with self._searching:
            analytics = self._analytics
        return analytics.query(lambda view: find_runs(view, search), read=lease.begin)

    def _answers(self, lease: Lease, statements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        results, damage = answers(lease.db, statements)
        if damage is not None:
            lease.end()
            self.ledger.repair(lease.mark, _damaged(damage))
            msg = "the state was damaged, and is folded again; ask again from the beginning"
            raise ChangedMeanwhile(msg)
        return results

    def _others(self, since: dict[str, Any] | None, offset: int) -> list[tuple[str, str]] | None:
        log = self.ledger.log
        if since is None or since["reader"] != self.name or not isinstance(log, MirrorLog):
            return None
        behind = offset - since["offset"]
        if behind > _MOST_FOLLOWED:
            return None
        return log.since(since["offset"], behind, since["voice"]) if behind > 0 else []

    def _reach(self, text: str | None) -> None:
        """Have folded what the asker has said.

        Raises:
            LogUnavailable: it cannot be had from the topics now.
        """
        if text is None:
            return
        position = Position.parse(text)
        if self._known_position().covers(position):
            return
        self.ledger.catch_up()
        if not self._known_position().covers(position):
            msg = f"the query service has not come to {text}: it is at {self._known_position()}"
            raise LogUnavailable(msg)

    def _known_position(self) -> Position:
        log = self.ledger.log
        return log.position() if isinstance(log, MirrorLog) else log.end()


def _offset(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT next FROM progress").fetchone()
    return row[0] - 1 if row else 0


def _damaged(error: sqlite3.Error) -> Any:
    from mlflow_ledger.consumers import StateDamaged

    return StateDamaged(f"the state is damaged ({error})")
