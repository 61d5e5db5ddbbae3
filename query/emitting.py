"""Events of OpenLineage on their way out: read from the log, delivered, and noted as delivered."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

from mlflow_ledger.bus import EMBEDDED, MirrorLog, Selection, Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import LedgerError, SettingsError

from .emitting_targets import Target
from .moment import Since
from .openlineage import TYPES, OpenLineage, accepted
from .verdicts import Judged, folded, judged
from .workspace import check_workspace

__all__ = ["CursorLost", "Emitting"]

_BATCH = 100
_BATCHES_A_ROUND = 20


class CursorLost(LedgerError):
    """How far events were delivered cannot be read or kept."""


class Emitting:
    """A duty: delivers what came to the log since the last time, at least once and in its order.

    The cursor is a file. It says of each partition how far it was delivered, so that it holds for
    another replica of the same ledger too.
    """

    def __init__(
        self,
        ledger: Ledger,
        target: Target,
        cursor: Path,
        since: str | None,
        workspace: str | None = None,
    ) -> None:
        """Deliver to a target; with ``since`` from a moment on, whatever the cursor says.

        With ``workspace`` only what was said in it is delivered.

        Raises:
            CursorLost: the cursor cannot be read, or is another ledger's.
            SettingsError: the moment is none.
            Unknown: there is no such workspace.
        """
        check_workspace(ledger, workspace)
        self.delivered = 0
        self._workspace = workspace
        self._ledger = ledger
        self._target = target
        self._cursor = cursor
        self._translation = OpenLineage(ledger.ledger_id, ledger.log.place)
        self._offsets = {} if since is not None else self._read()
        self._since = Since.read(ledger.log, since)
        self._next = self._since.position.offset(EMBEDDED)
        self._inode = 0
        self._highest: dict[str, int] = {}

    def round(self, seq: int) -> None:
        """Deliver some of what is due.

        Raises:
            NotTaken, LogUnavailable: the target does not take it now.
            CursorLost: what was delivered cannot be noted.
        """
        assert seq >= 0
        for _ in range(_BATCHES_A_ROUND):
            if not self._some():
                return

    def drain(self) -> None:
        """Deliver all that stands in the log by now; raises as :meth:`round` does."""
        while self._some():
            pass

    def _some(self) -> bool:
        """Deliver one batch; whether there was any."""
        end = folded(self._ledger)
        self._look_again()
        where, values = Selection(TYPES).sql()
        rows = self._ledger.log.rows(self._next, None, where, values)
        within = itertools.takewhile(lambda stored: stored.offset < end, rows)
        batch = list(itertools.islice(within, _BATCH))
        due = [stored for stored in batch if self._is_due(stored)]
        entries = list(accepted(judged(self._ledger, due, end, self._highest)))
        told = self._ledger.query(lambda db: [self._translation.events(db, e) for e in entries])
        for entry, events in zip(entries, told, strict=True):
            self._deliver(entry, events)
        for stored in batch:
            self._note(stored)
        if batch:
            self._target.flush()
            self._next = batch[-1].offset + 1
            self._keep()
        return bool(batch)

    def _deliver(self, entry: Judged, events: list[dict[str, Any]]) -> None:
        """Deliver what is told of one event; what came before it is noted if it is not taken."""
        try:
            self._target.send(events)
        except LedgerError:
            self._keep()
            raise
        self.delivered += len(events)
        self._note(entry.stored)

    def _look_again(self) -> None:
        """Read from the beginning where the log's file is another one: its places are others."""
        inode = self._ledger.log.path.stat().st_ino
        if self._inode not in (0, inode):
            self._next = 1
            self._highest = {}
        self._inode = inode

    def _place(self, stored: Stored) -> tuple[str, int]:
        """The partition that a record came from, and its offset there."""
        log = self._ledger.log
        if not isinstance(log, MirrorLog):
            return "", stored.offset
        (topic, number), offset = log.origin(stored.offset)
        return f"{topic}/{number}", offset

    def _is_due(self, stored: Stored) -> bool:
        partition, offset = self._place(stored)
        of_us = self._workspace in (None, stored.record.envelope.workspace)
        is_delivered = offset < self._offsets.get(partition, 0)
        return of_us and not is_delivered and self._since.holds(stored)

    def _note(self, stored: Stored) -> None:
        partition, offset = self._place(stored)
        self._offsets[partition] = max(self._offsets.get(partition, 0), offset + 1)

    def _read(self) -> dict[str, int]:
        try:
            said = json.loads(self._cursor.read_text("utf-8"))
            ledger_id, offsets = said["ledger"], said["offsets"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = (
                f"the cursor {self._cursor} cannot be read ({error}); move it aside, and begin anew"
            )
            raise CursorLost(msg) from error
        if ledger_id != self._ledger.ledger_id:
            msg = f"the cursor {self._cursor} is of ledger {ledger_id}; name another by --cursor"
            raise SettingsError(msg)
        return {str(partition): int(offset) for partition, offset in offsets.items()}

    def _keep(self) -> None:
        """Write the cursor, so that a crash leaves the old one or the new one."""
        said: dict[str, Any] = {"ledger": self._ledger.ledger_id, "offsets": self._offsets}
        beside = self._cursor.with_name(f".{self._cursor.name}.{os.getpid()}")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump(said, file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._cursor)
        except OSError as error:
            msg = f"cannot note in {self._cursor} what was delivered: {error.strerror}"
            raise CursorLost(msg) from error
