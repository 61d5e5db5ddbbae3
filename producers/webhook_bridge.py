"""The webhook bridge: tells webhooks from the log, at least once, each in the log's order."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from mlflow.environment_variables import MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES

from mlflow_ledger.bus import Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.query import WebhookRow, all_webhooks
from mlflow_ledger.query.deliveries import Deliveries, Due
from mlflow_ledger.query.webhook_events import Notice, notice_of
from mlflow_ledger.query.webhook_feed import WebhookFeed
from mlflow_ledger.schemas import ClaimCheck, LedgerError, LogUnavailable, decode

from .webhook_sending import Message, NotTaken, WebhookSending, delivery_id
from .webhooks import secret_of

__all__ = ["Attempt", "Bridge", "Figures"]

_POLL_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0


class Attempt(NamedTuple):
    """One attempt to deliver, and what came of it.

    ``since_ms`` is when this delivery was tried first, ``again_in_s`` when it is tried next.
    """

    webhook_id: str
    name: str
    delivery_id: str
    event: str
    entity: str
    position: str
    outcome: Literal["delivered", "failed", "given up", "dropped"]
    attempts: int
    error: str = ""
    again_in_s: float = 0.0


@dataclass
class Figures:
    """What a bridge has done since it began."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    log_answers: bool = False
    alive_s: float = 0.0


class Bridge:
    """Reads the log on, and has one delivery under way for each webhook that has some due.

    What is due was decided when the event was routed: webhooks that then were active and listened
    for it. Where to and with what secret is as it stands when it is sent. A webhook that is
    disabled meanwhile waits, and one that is deleted is told nothing more.
    """

    def __init__(
        self,
        ledger: Ledger,
        deliveries: Deliveries,
        tell: Callable[[Attempt], None],
        *,
        give_up_after_s: float | None = None,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """Deliver from ``ledger``; ``tell`` is told of every attempt."""
        self.figures = Figures()
        self.feed = WebhookFeed(ledger, deliveries)
        self.deliveries = deliveries
        self._ledger = ledger
        self._tell = tell
        self._give_up_after_s = give_up_after_s
        self._first_pause_s = first_pause_s
        self._webhooks: dict[str, WebhookRow] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._most_attempts: int | None = None
        self._jitter = random.Random()  # noqa: S311  # it spreads retries, and is no secret

    def stop(self) -> None:
        """End; what is under way is sent again by the next bridge, if it was not taken."""
        self._stopping.set()

    async def run(self) -> None:
        """Go on until :meth:`stop`.

        Raises:
            LedgerError: the log is not what was followed until now.
        """
        sending = WebhookSending()
        try:
            while not self._stopping.is_set():
                await self._round(sending)
                await self._pause(_POLL_S)
        finally:
            await self._end(sending)

    async def once(self) -> bool:
        """Deliver what stands in the log by now; whether all of it was taken.

        A webhook that fails as often as MLflow would try is left as it is.
        """
        self._most_attempts = 1 + MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES.get()
        sending = WebhookSending()
        try:
            await self._round(sending)
            while self._tasks and not self._stopping.is_set():
                tasks = [*self._tasks.values(), asyncio.ensure_future(self._stopping.wait())]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                tasks[-1].cancel()
                self._collect()
        finally:
            await self._end(sending)
        return not self.deliveries.waiting()

    def active(self) -> dict[str, set[str]]:
        """The active webhooks, with the actions that they listen for."""
        rows = self._ledger.query(all_webhooks)
        return {row.webhook_id: set(row.actions) for row in rows if row.status == "ACTIVE"}

    async def _round(self, sending: WebhookSending) -> None:
        try:
            rows = await asyncio.to_thread(self._look)
        except LogUnavailable:
            self.figures.log_answers = False
            return
        self.figures.log_answers, self.figures.alive_s = True, time.monotonic()
        self._webhooks = {row.webhook_id: row for row in rows}
        self._collect()
        for webhook_id in self.deliveries.waiting():
            webhook = self._webhooks.get(webhook_id)
            if webhook is None:
                self._drop(webhook_id)
            elif webhook.status == "ACTIVE" and webhook_id not in self._tasks:
                work = self._deliver_all(sending, webhook_id)
                self._tasks[webhook_id] = asyncio.create_task(work)

    def _look(self) -> list[WebhookRow]:
        self.feed.take()
        return self._ledger.query(all_webhooks)

    def _collect(self) -> None:
        """Forget tasks that have ended; an error that was not foreseen ends the bridge."""
        for webhook_id in [w for w, task in self._tasks.items() if task.done()]:
            self._tasks.pop(webhook_id).result()

    async def _end(self, sending: WebhookSending) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await sending.close()

    def _drop(self, webhook_id: str) -> None:
        count = self.deliveries.drop(webhook_id)
        self._tell(
            Attempt(webhook_id, "", "", "", "", "", "dropped", 0, f"deleted with {count} due")
        )

    async def _deliver_all(self, sending: WebhookSending, webhook_id: str) -> None:
        """Deliver one after the other until nothing is due, or nothing can be for now."""
        while due := self.deliveries.next_due(webhook_id):
            webhook = self._webhooks.get(webhook_id)
            if webhook is None or webhook.status != "ACTIVE":
                return
            pause_s = await self._attempt(sending, webhook, due)
            if pause_s is None:
                return
            if pause_s:
                await self._pause(pause_s)

    async def _attempt(
        self, sending: WebhookSending, webhook: WebhookRow, due: Due
    ) -> float | None:
        """Try once; how long to wait before the next attempt, None where there is none for now."""
        stored = self.feed.at(due.place)
        try:
            notice = await asyncio.to_thread(self._notice, stored, due)
            secret = await asyncio.to_thread(secret_of, self._ledger, webhook.secret)
            message = Message.of(stored.record.envelope, notice)
            await sending.send(webhook.url or "", secret, message)
        except LedgerError as error:
            return self._failed(webhook, due, stored, error)
        earlier = self.deliveries.failing(due.webhook_id)
        self.deliveries.done(due)
        self.figures.delivered += 1
        tell = self._attempt_of(webhook, due, stored)
        self._tell(tell("delivered", 1 + (earlier.attempts if earlier else 0)))
        return 0.0

    def _failed(
        self, webhook: WebhookRow, due: Due, stored: Stored, error: LedgerError
    ) -> float | None:
        now_ms = time.time_ns() // 1_000_000
        failing = self.deliveries.failed(due, now_ms, str(error))
        self.figures.failed += 1
        tell = self._attempt_of(webhook, due, stored)
        after_s = self._give_up_after_s
        if after_s is not None and now_ms - failing.since_ms >= after_s * 1000:
            self.deliveries.give_up(due)
            self.figures.given_up += 1
            self._tell(tell("given up", failing.attempts, failing.error))
            return 0.0
        wait_s = error.retry_after_s if isinstance(error, NotTaken) else 0.0
        pause_s = max(self._pause_s(failing.attempts), wait_s)
        self._tell(tell("failed", failing.attempts, failing.error, pause_s))
        most = self._most_attempts
        return None if most is not None and failing.attempts % most == 0 else pause_s

    def _pause_s(self, attempts: int) -> float:
        """Twice as long each time, up to five minutes, and up to half as much at random."""
        pause_s: float = min(self._first_pause_s * 2.0 ** min(attempts, 30) / 2, _LONGEST_PAUSE_S)
        return pause_s * (1 + self._jitter.random() / 2)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _notice(self, stored: Stored, due: Due) -> Notice:
        """What is said of an event, with texts that were too large for it."""
        record = stored.record
        event = decode(record.envelope.type, record.head, record.clear())
        notice = notice_of(event, prompt=due.prompt, number=due.number)
        assert notice is not None
        get = self._ledger.carrier.get
        whole = {
            name: get(value.digest).decode() if isinstance(value, ClaimCheck) else value
            for name, value in notice.data.items()
        }
        return Notice(due.action, {**whole})

    def _attempt_of(self, webhook: WebhookRow, due: Due, stored: Stored) -> Callable[..., Attempt]:
        envelope = stored.record.envelope
        return partial(
            Attempt,
            webhook.webhook_id,
            webhook.name or "",
            delivery_id(envelope),
            due.action,
            envelope.subject,
            self._ledger.log.place(stored),
        )
