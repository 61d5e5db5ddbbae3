"""What a host's readers see of what waits to be sent: a private state, ahead of the log."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow_ledger.bus import MirrorLog, Outgoing, PrivateFolder, Settings, Spool, SqliteLog
from mlflow_ledger.schemas import Record

from .keyed_state import next_offset
from .ledger import Ledger
from .unseen import Unseen

__all__ = ["Overlay"]

_ANY_PARTITION = ("runs", 0)  # in a log of one sequence it makes no difference
_BATCH = 500


class Overlay:
    """A copy of a replica's state, with what waits in the spool folded on top.

    It is as if what waits stood in the log already. What comes back from the log is dropped by its
    identity, so the copy may go on with the replica; once nothing waits it is thrown away, and
    with it whatever the log has decided otherwise.
    """

    def __init__(self, view: sqlite3.Connection, log: MirrorLog, settings: Settings) -> None:
        """Begin with what a view of the replica shows, ``log`` being the replica's."""
        self._log = log
        self._mark = log.mark()
        self._copied = next_offset(view) - 1
        self._number = 0
        self._unseen = 0
        self._users = 1  # whoever made it, until it is closed
        self._mutex = threading.Lock()
        self._folder = PrivateFolder()
        self.ledger = Ledger(self._folder.path, settings)
        """The ledger as it will be; it is read and rehearsed on, never written to."""
        self.ledger.log.keyring = log.keyring
        last = log.at(self._copied)
        SqliteLog.begin_behind(self.ledger.log.path, log.ledger_id, last)
        self.ledger.files.adopt(view)

    def stands(self) -> bool:
        """Whether the replica's log still is the one whose state was copied."""
        return self._log.mark() == self._mark

    def refresh(self, spool: Spool, unseen: Unseen) -> None:
        """Add what the replica has learnt since, then what was sent, then what waits."""
        records: list[Record] = []
        for stored in self._log.rows(self._copied + 1):
            self._copied = stored.offset
            self._add(records, stored.record)
        # What leaves the spool while it is read is found among what was sent.
        sent = deque(unseen.since(self._unseen))
        for number, outgoing, _ in spool.waiting(self._number):
            self._add_sent(records, sent, number)
            self._number = number
            self._add(records, outgoing.record)
        sent = deque(unseen.since(self._unseen))
        self._add_sent(records, sent, spool.first())
        self._append(records)

    @contextmanager
    def in_use(self) -> Iterator[Ledger]:
        """The ledger as it will be, which is not thrown away meanwhile."""
        with self._mutex:
            self._users += 1
        try:
            yield self.ledger
        finally:
            self._leave()

    def close(self) -> None:
        """Throw it away, once nobody uses it."""
        self._leave()

    def _leave(self) -> None:
        with self._mutex:
            self._users -= 1
            if self._users:
                return
        self.ledger.close()
        self._folder.remove()

    def abandon(self) -> None:
        """After a fork, in the child: leave it to the parent."""
        self._folder.abandon()

    def _add_sent(
        self, records: list[Record], sent: deque[tuple[int, int, Outgoing]], before: int | None
    ) -> None:
        """Add what was sent before a record that waits; without one, all of it."""
        while sent and (before is None or sent[0][1] < before):
            index, number, outgoing = sent.popleft()
            self._unseen = index + 1
            if number == 0 or number > self._number:
                self._number = max(self._number, number)
                self._add(records, outgoing.record)

    def _add(self, records: list[Record], record: Record) -> None:
        records.append(record)
        if len(records) >= _BATCH:
            self._append(records)

    def _append(self, records: list[Record]) -> None:
        self.ledger.log.append([Outgoing(_ANY_PARTITION, record) for record in records])
        records.clear()
