"""A ledger in Kafka, as one host sees it: topics to publish to, a replica to read from."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow_ledger.bus import (
    EMBEDDED,
    KafkaLog,
    KafkaSettings,
    MirrorLog,
    Outgoing,
    Position,
    Settings,
    Stored,
    prepare,
)
from mlflow_ledger.schemas import Event, LogUnavailable, Reason, Refused

from .committer import Decide, check_verdict
from .follower import Follower
from .keyed_state import rehearsal
from .replica import Replica
from .speaking import Speaking, said_of, verdict_of

__all__ = ["KafkaLedger"]

_log = logging.getLogger(__name__)

_FIRST_REST_S, _MOST_REST_S = 1.0, 10.0
_MOST_FOLLOWED = 5000


class KafkaLedger(Speaking):
    """What is said goes to the topics; what is read is the replica of this host.

    The replica is a folder as an embedded ledger's, whose log mirrors the topics: state, analytics
    and audit are folded from it as from any log. A read asks the brokers for the end of the topics
    first and copies what is missing. What may lose a race (names, versions, aliases, params of
    runs that others made) waits until it is folded, and its verdict is returned; all else is
    acknowledged with the brokers' acknowledgement.
    """

    log: MirrorLog

    def __init__(
        self, replica: Replica, settings: Settings, kafka_settings: KafkaSettings | None = None
    ) -> None:
        """Use the ledger that :func:`find_replica` has found."""
        self._replica = replica
        super().__init__(replica.folder, settings)
        self.kafka = KafkaLog(replica.place, kafka_settings, replica.ledger_id)
        self._follower = Follower(replica, self.kafka, self.log)
        self._begin_speaking()
        self._rest_until = 0.0
        self._rest_s = 0.0

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state, which holds every acknowledged event.

        With the brokers away it shows what this host knows, and a warning is given once.
        """
        self.follow()
        with super().read() as db:
            yield db

    def catch_up(self) -> Position:
        """Copy and fold everything up to the end of the topics; returns the position reached."""
        self._begin_mirror()
        end = self._follower.follow(self.kafka.timeout_s)
        self._fold_rest()
        return end

    def follow(self) -> None:
        """Copy what is new in the topics, unless the brokers were away a moment ago."""
        self._begin_mirror()
        if time.monotonic() < self._rest_until:
            return
        try:
            self._follower.follow(self.settings.read_wait_s)
        except LogUnavailable as error:
            if self.log.last_offset() == 0:
                raise
            self._rest(error)
        else:
            if self._rest_s:
                _log.warning("%s answers again", self._replica.place)
            self._rest_s = 0.0

    def exists(self) -> bool:
        """A ledger in Kafka that could be opened is there."""
        return True

    def close(self) -> None:
        """Close what is open."""
        super().close()
        self._follower.close()
        self.kafka.close()

    def after_fork_in_child(self) -> None:
        """Leave inherited connections alone, and speak with a voice of our own."""
        super().after_fork_in_child()
        self._begin_speaking()

    def _make_log(self, path: Path) -> MirrorLog:
        return MirrorLog(
            path,
            self._replica.partitions,
            self.settings.synchronous,
            make_folder=self._make_place,
        )

    def _begin_mirror(self) -> None:
        if self.log.path.exists():
            return
        with self.log.lock:
            if not self.log.path.exists():
                MirrorLog.begin(self.log.path, self._replica.ledger_id, self._replica.facts())

    def _begin_or_repair(self) -> None:
        self._begin_mirror()
        with self._state.lock:
            self._state.repairing(self._state.caught_up)

    def _rest(self, error: LogUnavailable) -> None:
        """The brokers are away: leave them alone for a while, and say so the first time."""
        if not self._rest_s:
            _log.warning("%s; answering from the replica in %s until then", error, self.folder)
        self._rest_s = min(max(2 * self._rest_s, _FIRST_REST_S), _MOST_REST_S)
        self._rest_until = time.monotonic() + self._rest_s

    def _decided(self, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        """What is to be said, as the rules would take it if it were next in the log."""
        self.follow()
        try:
            with self._state.lock:
                return self._state.repairing(lambda: self._rehearsed(decide))
        except Refused as refused:
            self._keep_refusal(refused)
            raise

    def _rehearsed(self, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        db, fold = self._state.caught_up()
        said: list[Outgoing] = []
        with rehearsal(db, fold):
            try:
                events = list(decide(db))
                said = self._stamp(events, [prepare(event) for event in events])
                for outgoing, event in zip(said, events, strict=True):
                    offset = fold.next_offset(EMBEDDED)
                    stored = Stored(
                        EMBEDDED, offset, outgoing.record.envelope.time_ms, outgoing.record
                    )
                    check_verdict(fold.apply(stored, event), event)
            except BaseException:
                self._writer.unsay(said)
                raise
        return events, said

    def _follow_known(self) -> None:
        """Let what others have said wipe out what it may have changed; call it while speaking."""
        last = self.log.last_offset()
        behind = last - self.known.offset
        if 0 < behind <= _MOST_FOLLOWED:
            others = self.log.since(self.known.offset, behind, self._writer.name)
            self.known.note(others)
            self.known.offset = last
        elif behind:
            self.known.forget()
            self.known.offset = last

    def _lost(self, said: Sequence[Outgoing], events: Sequence[Event]) -> Refused | None:
        """Wait until what was said is folded; the first refusal, if there is one."""
        deadline = time.monotonic() + self.kafka.timeout_s
        while True:
            self._follower.follow(self.kafka.timeout_s)
            self._fold_rest()
            verdicts = self.query(lambda db: [verdict_of(db, said_of(o)) for o in said])
            if None not in verdicts:
                break
            if time.monotonic() > deadline:
                msg = f"{self._replica.place} took what was said, and does not show it to readers"
                raise LogUnavailable(msg)
        for verdict, event in zip(verdicts, events, strict=True):
            if verdict:
                code, message = verdict
                return Refused(Reason(code), message, event)
        return None
