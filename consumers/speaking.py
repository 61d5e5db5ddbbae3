"""Saying events to a log in Kafka: what may lose a race waits for its verdict, others do not."""

from __future__ import annotations

import sqlite3
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from mlflow_ledger.bus import Outgoing, Stored, prepare
from mlflow_ledger.schemas import (
    Encoded,
    Envelope,
    Event,
    Refused,
    RunCreated,
    RunDataLogged,
    WorkspaceDeleted,
)

from .committer import Decide, rejection_of
from .known import Foreseen
from .ledger import Ledger

if TYPE_CHECKING:  # an embedded ledger does without Kafka's client
    from mlflow_ledger.bus import KafkaLog

    from .replica import Replica

__all__ = ["Query", "Said", "Speaking", "Verdict", "said_of", "verdict_of"]

T = TypeVar("T")

_MOST_RACES = 30  # of a crowd that wants one name, one wins each round
_MOST_OWN_RUNS = 10_000

Said = tuple[str, int]
"""How a record is known before it is folded: its source and id."""

Verdict = tuple[str, str] | tuple[()] | None
"""What became of a record: refused with code and message, accepted, or not folded yet."""


class Query(Protocol):
    """Asks a state."""

    def __call__(self, ask: Callable[[sqlite3.Connection], T], /) -> T:
        """The answer to a question."""


class Speaking(Ledger):
    """A ledger in Kafka as one process speaks to it, wherever that process reads."""

    kafka: KafkaLog
    _replica: Replica

    def _begin_speaking(self) -> None:
        """Take a voice of our own: at first, and in a forked child."""
        self._speaking = threading.Lock()
        self._own_runs: OrderedDict[str, None] = OrderedDict()

    @abstractmethod
    def _decided(self, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        """What is to be said, as the rules would take it if it were next in the log."""

    @abstractmethod
    def _lost(self, said: Sequence[Outgoing], events: Sequence[Event]) -> Refused | None:
        """Wait until what was said is folded; the first refusal, if there is one."""

    @abstractmethod
    def _follow_known(self) -> None:
        """Let what others have said wipe out what it may have changed; call it while speaking."""

    def _check_reachable(self, event: Event) -> None:
        """Do nothing where a verdict can be had now.

        Raises:
            LogUnavailable: it cannot.
        """

    def _deliver(self, said: Sequence[Outgoing], events: Sequence[Event]) -> None:
        """See to it that what cannot lose a race gets into the log."""
        self._publish(said)

    def _published(self, stored: Sequence[Stored]) -> None:
        """Take note of where in the topics something stands that was just said."""

    def write(self, decide: Decide, foreseen: Foreseen | None = None) -> list[Event]:
        """Say what ``decide`` decides; returns the events once it is certain that they hold.

        Raises:
            Refused: by ``decide``, or by the rules: somebody else came first.
            LogUnavailable: it is not known whether they will hold.
        """
        if foreseen is not None and self._say_foreseen(foreseen) is not None:
            return list(foreseen.events)
        return self._say_decided(decide, foreseen)[0]

    def write_and_ask(
        self,
        decide: Decide,
        question: Callable[[sqlite3.Connection], T],
        foreseen: Foreseen | None = None,
        answer: Callable[[Envelope], T] | None = None,
    ) -> T:
        """Say what ``decide`` decides, and ask the state that holds it, perhaps with more."""
        if foreseen is not None and answer is not None:
            said = self._say_foreseen(foreseen)
            if said is not None:
                return answer(said[0].record.envelope)
        _, query = self._say_decided(decide, foreseen)
        return query(question)

    def _say_foreseen(self, foreseen: Foreseen) -> Sequence[Outgoing] | None:
        """Say what was foreseen, if it holds and cannot lose a race; returns what was said."""
        if self._may_lose(foreseen.events):
            return None
        encoded = [prepare(event) for event in foreseen.events]
        with self._speaking:
            self._follow_known()
            if not foreseen.holds(self.known):
                return None
            said = self._stamp(foreseen.events, encoded)
            self.known.said(foreseen.events, self.known.offset)
            self._note_own(foreseen.events)
        self._deliver(said, foreseen.events)
        return said

    def _say_decided(self, decide: Decide, foreseen: Foreseen | None) -> tuple[list[Event], Query]:
        """Decide by the replica, deliver, and wait for the verdict where there can be another.

        Who lost a race decides again, by what has won: that gives MLflow's own error, or the next
        number of a version. Returns what was said, and how to ask a state that holds it.
        """
        lost: Refused | None = None
        for _ in range(_MOST_RACES):
            events, said = self._decided(decide)
            if self._may_lose(events):
                self._check_reachable(events[0])
                self._publish(said)
                lost, query = self._lost(said, events), self._query_decided
            else:
                self._deliver(said, events)
                lost, query = None, self.query
            with self._speaking:
                self._follow_known()
                self.known.note([(type(event).__name__, event.subject) for event in events])
                self._note_own(events)
            if lost is None:
                if foreseen is not None:
                    self._learn(foreseen, query)
                return events, query
        assert lost is not None
        raise lost

    def _query_decided(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """As :meth:`query`, right after a verdict came: by then the state holds what was said."""
        return self.query(ask)

    def _learn(self, foreseen: Foreseen, query: Query) -> None:
        """Look at the state for what lets the next such command do without."""
        with self._speaking:
            self._follow_known()
            offset = self.known.offset

        def look(db: sqlite3.Connection) -> None:
            with self._speaking:
                if self.known.offset == offset:  # else the view may be older than what is known
                    foreseen.learn(self.known, db)

        query(look)

    def _keep_refusal(self, refused: Refused) -> None:
        rejected = rejection_of(refused)
        if rejected is not None:
            with self._speaking:
                said = self._stamp([rejected])
            self._deliver(said, [rejected])

    def _may_lose(self, events: Sequence[Event]) -> bool:
        """Whether any of these may be refused because somebody else came first."""
        return any(
            event.topic == "catalog"
            or (
                isinstance(event, RunDataLogged)
                and event.content is not None
                and bool(event.content.params)
                and event.run_id not in self._own_runs
            )
            for event in events
        )

    def _note_own(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, RunCreated):
                self._own_runs[event.run_id] = None
            elif isinstance(event, WorkspaceDeleted):
                self.forget_known()  # what it held may be in another workspace now
        while len(self._own_runs) > _MOST_OWN_RUNS:
            self._own_runs.popitem(last=False)

    def _stamp(
        self, events: Sequence[Event], encoded: Sequence[Encoded] | None = None
    ) -> list[Outgoing]:
        return self._writer.stamp_all(events, self._replica.partitions, encoded)

    def _publish(self, said: Sequence[Outgoing]) -> None:
        """Wait for the brokers' acknowledgement."""
        try:
            stored = self.kafka.append(said)
        except BaseException:
            self._forget_voice()
            raise
        self._published(stored)

    def _forget_voice(self) -> None:
        """It is not known what of this voice stands in the log: take another."""
        self._writer.renew()
        with self._speaking:
            self.forget_known()


def said_of(outgoing: Outgoing) -> Said:
    """How a record is known."""
    envelope = outgoing.record.envelope
    return envelope.source, envelope.id


def verdict_of(db: sqlite3.Connection, said: Said) -> Verdict:
    """What became of a record, as a state shows it."""
    refused = db.execute(
        "SELECT code, message FROM rejections WHERE source = ? AND id = ? AND digest != x''", said
    ).fetchone()
    if refused is not None:
        return refused[0], refused[1]
    folded = db.execute(
        "SELECT 1 FROM identities JOIN sources USING (source_no) WHERE source = ? AND id = ?", said
    ).fetchone()
    return () if folded else None
