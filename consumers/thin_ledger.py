"""A ledger in Kafka without a replica: topics to publish to, a query service to read from."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from mlflow_ledger.bus import (
    Actor,
    ChangedMeanwhile,
    KafkaLog,
    KafkaSettings,
    KeyFile,
    Keyring,
    KeyTopic,
    Outgoing,
    Position,
    Settings,
    SqliteLog,
    Stored,
    Writer,
    acting_as,
    acting_in,
    forkable,
    prepare,
)
from mlflow_ledger.schemas import Event, LogForeign, LogUnavailable, Reason, Refused, SettingsError

from .blob_place import place_of
from .blobs import Blobs
from .carrier import Carrier
from .committer import Decide
from .fold import FOLD_VERSION
from .keyed_state import Progress
from .known import Foreseen, Known, KnownHere
from .query_service import QueryService
from .remote import RemoteState, RemoteView
from .replica import Replica
from .speaking import Query, Speaking, said_of
from .wire import PROTOCOL, check_versions, event_in

__all__ = ["RemoteAnalytics", "ThinLedger"]

T = TypeVar("T")

_TRIES = 10
_KEY_LIFETIME_S = 600.0
"""How long one key seals: nobody tells a process without a replica that it was lost."""
_NOT_HERE = frozenset({"log", "files", "repair"})


class ThinLedger(Speaking):
    """What is said goes to the topics; what is read, a query service reads for us.

    Each read names the position behind what this process has said, and shows at least that.
    """

    fork_order = 2
    has_log = False

    def __init__(
        self, replica: Replica, settings: Settings, kafka_settings: KafkaSettings | None = None
    ) -> None:
        """Use the ledger that is at ``replica``'s place through ``settings.query``."""
        # A ledger's own beginning is left out: it is about a folder with a log and a state.
        assert settings.query is not None
        self._replica = replica
        self.folder = replica.folder
        self.settings = settings
        self.blobs = Blobs(place_of(settings.blobs, self.folder / "blobs"))
        self.shared, self.spools = True, False
        self.carrier = Carrier(self)
        self.artifact_root: str | None = None
        actor = Actor(settings.actor, "claimed") if settings.actor else None
        self._keys: KeyTopic | None = None
        keyring = None
        if replica.erasable:
            keys = KeyFile(None)
            keyring = Keyring(keys, _KEY_LIFETIME_S)
            self._keys = KeyTopic(replica.place, kafka_settings or KafkaSettings.read(), keys)
        self.erasable = replica.erasable
        self._writer = Writer(actor, keyring=keyring)
        before = self._keys.deliver if self._keys else None
        self.kafka = KafkaLog(replica.place, kafka_settings, replica.ledger_id, before)
        self._known = KnownHere()
        self._begin_speaking()
        self._said = Position(replica.ledger_id)
        self._reader = ""
        self._greeted = False
        self._service = QueryService(settings.query, settings.query_token)
        forkable(self)

    @property
    def ledger_id(self) -> str:
        """The ledger's id."""
        return self._replica.ledger_id

    @property
    def known(self) -> Known:
        """What this process knows without asking."""
        return self._known.here()

    def forget_known(self) -> None:
        """Let go of what is known, in whichever workspace."""
        self._known.forget()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the state, which holds every acknowledged event."""
        self._greet()
        state = RemoteState(self._service, self._opening(), self._opened)
        try:
            yield state  # type: ignore[misc]  # it has what the functions of the query layer use
        finally:
            state.close()

    def query(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to a question of the state; asks again where the view was lost."""
        for _ in range(_TRIES - 1):
            try:
                with self.read() as db:
                    return ask(db)
            except ChangedMeanwhile:
                continue
        with self.read() as db:
            return ask(db)

    def search(self, ask: Callable[[RemoteView], T]) -> T:
        """The answer to a question that begins with a search."""
        return self.query(lambda db: ask(RemoteView(db)))  # type: ignore[arg-type]  # see read

    def catch_up(self, progress: Progress | None = None) -> Position:
        """The position that the service has come to."""
        self._greet()
        return Position.parse(self._service.get("/v1/position")["position"])

    def rebuild(self, progress: Progress | None = None) -> NoReturn:
        """Refuse: it is the service's state."""
        raise self._not_here("rebuild")

    def trim_changes(self, generation: str, seq: int) -> NoReturn:
        """Refuse: it is the service's state."""
        raise self._not_here("trim_changes")

    def rehearse(self, events: Sequence[Event]) -> None:
        """Do nothing where the rules would take these events if they were next in the log.

        Raises:
            Refused: by the rules.
        """
        self._service.post(
            "/v1/rehearsals",
            {
                **self._who(),
                "position": self._upto(),
                "workspace": acting_in.get(),
                "events": [event_in(e) for e in events],
                "actor": list(acting_as.get() or self._writer.actor),
            },
        )

    def logs(self) -> list[SqliteLog]:
        """None: no event is kept here."""
        return []

    def distant_blob(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob, from the service's log."""
        return self._service.pieces(f"/v1/blobs/{digest}")

    def follow(self) -> None:
        """Nothing: there is no copy of the log here."""

    def exists(self) -> bool:
        """A ledger in Kafka that could be opened is there."""
        return True

    def close(self) -> None:
        """Disconnect."""
        self._service.close()
        self.kafka.close()
        if self._keys is not None:
            self._keys.close()

    def before_fork(self) -> None:
        """Keep still whoever is speaking."""
        self._speaking.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._speaking.release()

    def after_fork_in_child(self) -> None:
        """Speak with a voice of our own."""
        self._begin_speaking()
        self._writer.renew()
        self._known.forget()

    def __getattr__(self, name: str) -> Any:
        """Say in words that there is neither log nor state here."""
        if name in _NOT_HERE:
            raise self._not_here(name)
        msg = f"{type(self).__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)

    def _not_here(self, what: str) -> SettingsError:
        return SettingsError(
            f"this needs the ledger's {what}, and what reads through the query service at "
            f"{self._service.url} has none: ask on the host of that service, or leave query= out "
            "of the URI to keep a replica here"
        )

    def _greet(self) -> None:
        """Once: it must be a service of this ledger, of the same version.

        Raises:
            LogForeign: it is not.
        """
        if self._greeted:
            return
        found = self._service.get("/v1/ledger")
        ours = {"ledger_id": self.ledger_id, "cluster_id": self._replica.cluster_id}
        for what, wanted in ours.items():
            if found[what] != wanted:
                msg = (
                    f"the query service at {self._service.url} serves {what} {found[what]}, and "
                    f"{self._replica.place} is {wanted}: name the service of that ledger in query="
                )
                raise LogForeign(msg)
        check_versions(found["protocol"], found["fold_version"], f"at {self._service.url}")
        self._greeted = True

    def _who(self) -> dict[str, Any]:
        return {
            "ledger_id": self.ledger_id, "protocol": PROTOCOL, "fold_version": FOLD_VERSION,
        }  # fmt: skip

    def _upto(self) -> str | None:
        return str(self._said) if self._said.offsets else None

    def _opening(self) -> dict[str, Any]:
        return {
            **self._who(),
            "position": self._upto(),
            "since": {
                "reader": self._reader, "offset": self.known.offset, "voice": self._writer.name,
            },
        }  # fmt: skip

    def _opened(self, answer: dict[str, Any]) -> None:
        """Let what others have said wipe out what it may have changed."""
        with self._speaking:
            others = answer["others"]
            if others is None or answer["reader"] != self._reader:
                self._known.forget()
            elif answer["offset"] < self.known.offset:
                return  # another thread's view was opened later
            else:
                self.known.note(map(tuple, others))
            self.known.offset, self._reader = answer["offset"], answer["reader"]

    def _decided(self, decide: Decide) -> tuple[list[Event], list[Outgoing]]:
        try:
            events = self.query(lambda db: list(decide(db)))
            encoded = [prepare(event) for event in events]
            if events:
                self.rehearse(events)
        except Refused as refused:
            self._keep_refusal(refused)
            raise
        return events, self._stamp(events, encoded)

    def _lost(self, said: Sequence[Outgoing], events: Sequence[Event]) -> Refused | None:
        if not said:
            return None
        wait_s = self.kafka.timeout_s
        answer = self._service.post(
            "/v1/verdicts", {"said": [said_of(o) for o in said], "timeout_s": wait_s}
        )
        for verdict, event in zip(answer["verdicts"], events, strict=True):
            if verdict["verdict"] == "refused":
                return Refused(Reason(verdict["code"]), verdict["message"], event)
            if verdict["verdict"] == "unknown":
                msg = (
                    f"{self._replica.place} took what was said, and the query service at "
                    f"{self._service.url} has not folded it within {wait_s:g} s"
                )
                raise LogUnavailable(msg)
        return None

    def _follow_known(self) -> None:
        """What others have said comes with each view that is opened."""

    def _learn(self, foreseen: Foreseen, query: Query) -> None:
        def look(db: sqlite3.Connection) -> None:
            state: RemoteState = db  # type: ignore[assignment]  # see read
            state.open()
            with self._speaking:
                if self.known.offset == state.offset:  # else others know better
                    foreseen.learn(self.known, db)

        query(look)

    def new_analytics(self) -> RemoteAnalytics:
        """What runs are searched with: the service."""
        return RemoteAnalytics(self)

    def _published(self, stored: Sequence[Stored]) -> None:
        with self._speaking:
            offsets = dict(self._said.offsets)
            for at in stored:
                offsets[at.partition] = max(offsets.get(at.partition, 0), at.offset + 1)
            self._said = Position(self.ledger_id, offsets)


class RemoteAnalytics:
    """Searches of a thin ledger; nothing is kept here."""

    def __init__(self, ledger: ThinLedger) -> None:
        """Search through the service of ``ledger``."""
        self._ledger = ledger

    def query(self, ask: Callable[[RemoteView], T]) -> T:
        """The answer to a question."""
        return self._ledger.search(ask)

    def close(self) -> None:
        """Nothing is open."""
