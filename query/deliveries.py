"""The durable cursor of a webhook bridge: what each webhook is still to be told."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlflow_ledger.schemas import (
    Event,
    LogForeign,
    LogUnavailable,
    ModelVersionCreated,
    RegisteredModelCreated,
    RegisteredModelDeleted,
    RegisteredModelEvent,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
    WebhookCreated,
    WebhookDeleted,
    WebhookEvent,
    WebhookUpdated,
)

from .webhook_events import IS_PROMPT, is_prompt, notice_of

__all__ = ["Deliveries", "Due", "Failing"]

_FORM = "1"
_MOST_ERROR = 500


class Due(NamedTuple):
    """One delivery: the webhook, where the event stands, and what notice is made from it."""

    webhook_id: str
    place: int
    action: str
    prompt: bool
    number: int
    append_ms: int


class Failing(NamedTuple):
    """How often a webhook did not take its next delivery, since when, and why not at last."""

    attempts: int
    since_ms: int
    error: str


class Deliveries:
    """A SQLite file of its own, which one bridge at a time uses.

    Routing an event and moving the cursor are one transaction, and a delivery is due until it was
    taken: killed at any moment, a bridge goes on with what was not. A power cut may take the last
    commits back; they are made again. Threads may share it.
    """

    def __init__(self, path: Path, ledger_id: str, *, looking: bool = False) -> None:
        """Open the file, or make it; who is only ``looking`` does not keep others from using it.

        Raises:
            LogUnavailable: another bridge uses it, or it cannot be used.
            LogForeign: it is another ledger's, or no such file.
        """
        self.path = path
        self._mutex = threading.RLock()
        with ExitStack() as opening:
            self._lock = None if looking else opening.enter_context(_lock(path))
            self._db = opening.enter_context(closing(_connect(path)))
            try:
                self._begin(ledger_id)
            except sqlite3.OperationalError as error:
                raise LogUnavailable(f"cannot use the cursor {path}: {error}") from error
            except sqlite3.DatabaseError as error:
                msg = f"{path} is no cursor of webhooks ({error}); name another file by --cursor"
                raise LogForeign(msg) from error
            opening.pop_all()

    def _begin(self, ledger_id: str) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self.transaction():
            if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                script = files(__package__).joinpath("deliveries.sql").read_text("utf-8")
                for statement in script.split(";"):
                    self._db.execute(statement)
                known = {"form": _FORM, "ledger_id": ledger_id, "place": "0"}
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", known.items())
        found = dict(self._db.execute("SELECT key, value FROM meta"))
        if found["ledger_id"] != ledger_id or found["form"] != _FORM:
            msg = (
                f"the cursor {self.path} is of ledger {found['ledger_id']}, form {found['form']}; "
                f"this one is {ledger_id}, form {_FORM}: name another file by --cursor"
            )
            raise LogForeign(msg)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is changed inside, or nothing."""
        with self._mutex:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Let another bridge have it."""
        with self._mutex, suppress(sqlite3.ProgrammingError):
            self._db.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def place(self) -> int:
        """Where the last event stands that was routed; 0 where there was none."""
        with self._mutex:
            (value,) = self._db.execute("SELECT value FROM meta WHERE key = 'place'").fetchone()
            return int(value)

    def highest(self, sources: Iterable[str]) -> dict[str, int]:
        """The highest id seen of each of these sources that is known."""
        with self._mutex:
            rows = [
                self._db.execute("SELECT source, highest FROM sources WHERE source = ?", (source,))
                for source in sources
            ]
            return dict(row for found in rows for row in found)

    def note_sources(self, highest: Mapping[str, int]) -> None:
        """Remember the highest ids of sources."""
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", highest.items())

    def route(self, place: int, append_ms: int, workspace: str, event: Event) -> None:
        """Take an accepted event in: webhooks that then are active and listen for it are due."""
        with self.transaction():
            if isinstance(event, WebhookEvent):
                self._take_webhook(event, workspace)
            elif isinstance(event, RegisteredModelEvent):
                due = self._due(place, append_ms, event)
                for webhook_id in self._listening(due.action, workspace) if due else ():
                    self._put(due._replace(webhook_id=webhook_id))  # type: ignore[union-attr]  # there are none where it is None

    def advance(self, place: int) -> None:
        """All up to there is routed."""
        with self._mutex:
            self._db.execute("UPDATE meta SET value = ? WHERE key = 'place'", (str(place),))

    def follow_model(self, event: RegisteredModelEvent) -> tuple[bool, int]:
        """Take in what an event changes of a model; whether it is a prompt, its last version."""
        prompt, versions = self._db.execute(
            "SELECT prompt, versions FROM models WHERE uid = ?", (event.model_uid,)
        ).fetchone() or (False, 0)
        if isinstance(event, RegisteredModelCreated):
            prompt = is_prompt(event.content.tags if event.content else ())
        elif isinstance(event, RegisteredModelTagSet) and event.tag == IS_PROMPT:
            prompt = ((event.content.value if event.content else None) or "").lower() == "true"
        elif isinstance(event, RegisteredModelTagDeleted) and event.tag == IS_PROMPT:
            prompt = False
        elif isinstance(event, ModelVersionCreated):
            versions += 1
        if isinstance(event, RegisteredModelDeleted):
            self._db.execute("DELETE FROM models WHERE uid = ?", (event.model_uid,))
        else:
            row = (event.model_uid, prompt, versions)
            self._db.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", row)
        return bool(prompt), int(versions)

    def forget_models(self) -> None:
        """Know no models, before their history is read again from its beginning."""
        self._db.execute("DELETE FROM models")

    def replay(
        self,
        place: int,
        append_ms: int,
        event: RegisteredModelEvent,
        wanted: Mapping[str, set[str]],
    ) -> None:
        """Make an event due for webhooks that listen for it now: their ids, with actions."""
        due = self._due(place, append_ms, event)
        for webhook_id, actions in wanted.items():
            if due is not None and due.action in actions:
                self._put(due._replace(webhook_id=webhook_id))

    def pass_over(self, event: Event, workspace: str) -> None:
        """Take an event in that nobody is to be told of any more."""
        if isinstance(event, WebhookEvent):
            self._take_webhook(event, workspace)
        elif isinstance(event, RegisteredModelEvent):
            self.follow_model(event)

    def waiting(self) -> list[str]:
        """The webhooks that have something due."""
        with self._mutex:
            return [row[0] for row in self._db.execute("SELECT DISTINCT webhook_id FROM due")]

    def next_due(self, webhook_id: str) -> Due | None:
        """The first delivery that is due to a webhook."""
        with self._mutex:
            row = self._db.execute(
                "SELECT * FROM due WHERE webhook_id = ? ORDER BY place LIMIT 1", (webhook_id,)
            ).fetchone()
        return None if row is None else _read_due(row)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """For each webhook: how many are due, when the first was appended, how many given up."""
        with self._mutex:
            due = {
                webhook_id: (count, since_ms)
                for webhook_id, count, since_ms in self._db.execute(
                    "SELECT webhook_id, count(*), min(append_ms) FROM due GROUP BY webhook_id"
                )
            }
            lost = dict(
                self._db.execute("SELECT webhook_id, count(*) FROM given_up GROUP BY webhook_id")
            )
        return {
            webhook_id: (*due.get(webhook_id, (0, 0)), lost.get(webhook_id, 0))
            for webhook_id in {*due, *lost}
        }

    def failing(self, webhook_id: str) -> Failing | None:
        """What a webhook said to its next delivery, where it did not take it."""
        with self._mutex:
            row = self._db.execute(
                "SELECT attempts, since_ms, error FROM failing WHERE webhook_id = ?", (webhook_id,)
            ).fetchone()
        return None if row is None else Failing(*row)

    def failed(self, due: Due, now_ms: int, error: str) -> Failing:
        """Remember that an attempt has failed."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO failing VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET "
                "attempts = iif(place = excluded.place, attempts + 1, 1), "
                "since_ms = iif(place = excluded.place, since_ms, excluded.since_ms), "
                "place = excluded.place, error = excluded.error",
                (due.webhook_id, due.place, now_ms, error[:_MOST_ERROR]),
            )
            found = self.failing(due.webhook_id)
        assert found is not None
        return found

    def done(self, due: Due) -> None:
        """The webhook has taken it."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM due WHERE webhook_id = ? AND place = ?", (due.webhook_id, due.place)
            )
            self._db.execute("DELETE FROM failing WHERE webhook_id = ?", (due.webhook_id,))

    def give_up(self, due: Due) -> None:
        """Put a delivery aside, where :meth:`take_up_again` finds it; the next one follows."""
        with self.transaction():
            failing = self.failing(due.webhook_id) or Failing(0, 0, "")
            row = (*due, failing.attempts, failing.error)
            self._db.execute("INSERT OR REPLACE INTO given_up VALUES (?,?,?,?,?,?,?,?)", row)
            self.done(due)

    def given_up(self) -> list[tuple[Due, int, str]]:
        """What was given up, each with its attempts and the last error."""
        with self._mutex:
            rows = self._db.execute("SELECT * FROM given_up ORDER BY webhook_id, place").fetchall()
        return [(_read_due(row[:6]), row[6], row[7]) for row in rows]

    def take_up_again(self) -> int:
        """Let all that was given up be due again; returns how many."""
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO due SELECT webhook_id, place, action, prompt, number, "
                "append_ms FROM given_up"
            )
            return self._db.execute("DELETE FROM given_up").rowcount

    def drop(self, webhook_id: str) -> int:
        """Forget what was due to a webhook that is deleted; returns how many deliveries."""
        with self.transaction():
            for table in ("failing", "given_up"):
                self._db.execute(f"DELETE FROM {table} WHERE webhook_id = ?", (webhook_id,))
            return self._db.execute("DELETE FROM due WHERE webhook_id = ?", (webhook_id,)).rowcount

    def _due(self, place: int, append_ms: int, event: RegisteredModelEvent) -> Due | None:
        prompt, number = self.follow_model(event)
        notice = notice_of(event, prompt=prompt, number=number)
        return notice and Due("", place, notice.action, prompt, number, append_ms)

    def _put(self, due: Due) -> None:
        self._db.execute("INSERT OR IGNORE INTO due VALUES (?, ?, ?, ?, ?, ?)", due)

    def _listening(self, action: str, workspace: str) -> list[str]:
        rows = self._db.execute(
            "SELECT webhook_id FROM webhooks WHERE workspace = ? AND status = 'ACTIVE' "
            "AND EXISTS (SELECT 1 FROM json_each(actions) WHERE value = ?)",
            (workspace, action),
        )
        return [row[0] for row in rows]

    def _take_webhook(self, event: WebhookEvent, workspace: str) -> None:
        if isinstance(event, WebhookCreated):
            row = (event.webhook_id, workspace, event.status, json.dumps(event.actions))
            self._db.execute("INSERT OR REPLACE INTO webhooks VALUES (?, ?, ?, ?)", row)
        elif isinstance(event, WebhookUpdated):
            self._db.execute(
                "UPDATE webhooks SET status = coalesce(?, status), "
                "actions = coalesce(?, actions) WHERE webhook_id = ?",
                (event.status, event.actions and json.dumps(event.actions), event.webhook_id),
            )
        elif isinstance(event, WebhookDeleted):
            self._db.execute("DELETE FROM webhooks WHERE webhook_id = ?", (event.webhook_id,))


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise LogUnavailable(f"cannot use the cursor {path}: {error}") from error


def _lock(path: Path) -> BinaryIO:
    """The lock of a cursor, held until the file is closed or the process ends in any way."""
    try:
        file = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        msg = f"cannot use the cursor {path}: {error.strerror}"
        raise LogUnavailable(msg) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        msg = f"another bridge delivers from the cursor {path}; run one at a time"
        raise LogUnavailable(msg) from error
    return file


def _read_due(row: tuple[str, int, str, int, int, int]) -> Due:
    webhook_id, place, action, prompt, number, append_ms = row
    return Due(webhook_id, place, action, bool(prompt), number, append_ms)
