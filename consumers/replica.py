"""Where a host keeps its replica of a ledger in Kafka, and which ledger that is."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow_ledger.bus import (
    KafkaLog,
    KafkaPlace,
    KafkaSettings,
    MirrorLog,
    TopicsMissing,
    Writer,
    share,
)
from mlflow_ledger.schemas import (
    LedgerCreated,
    LogDamaged,
    LogForeign,
    LogMissing,
    LogUnavailable,
)

from .beginning import beginning, root_of

__all__ = ["Replica", "find_replica"]

_log = logging.getLogger(__name__)

_ASKING_S = 5.0


@dataclass(frozen=True)
class Replica:
    """A ledger in Kafka as this host has come to know it, and the folder of its replica.

    ``topic_ids`` are the cluster's: topics that were made anew have others. Where it is
    ``erasable``, contents are sealed with keys that can be lost.
    """

    place: KafkaPlace
    home: Path
    cluster_id: str
    ledger_id: str
    partitions: dict[str, int]
    topic_ids: dict[str, str]
    erasable: bool = False

    @property
    def folder(self) -> Path:
        """The folder of this ledger on this cluster, and of no other."""
        return self.home / self.cluster_id / f"{self.place.name}-{self.ledger_id}"

    def facts(self) -> dict[str, str]:
        """What tells this ledger's topics from any others."""
        return _facts(self.cluster_id, self.topic_ids)

    def check(self, log: KafkaLog) -> None:
        """The cluster must still be the one that it was.

        Raises:
            LogForeign: another cluster answers there, or the topics were made anew.
        """
        topics = log.topics
        if topics.cluster_id != self.cluster_id:
            msg = (
                f"at {','.join(self.place.servers)} there now is cluster {topics.cluster_id}, and "
                f"{self.folder} is of cluster {self.cluster_id}; start again to use the "
                "ledger that is there now"
            )
            raise LogForeign(msg)
        other = [t for t, known in self.topic_ids.items() if topics.ids.get(t) != known]
        if other:
            raise LogForeign(_made_anew(self.place, other, self.folder))

    def check_mirror(self, mirror: MirrorLog) -> None:
        """The mirror must have been begun for the topics that are there now.

        Raises:
            LogForeign: it was not.
        """
        now = self.facts()
        other = [
            fact.removeprefix("topic_id.")
            for fact, known in mirror.facts().items()
            if now.get(fact) != known
        ]
        if other:
            raise LogForeign(_made_anew(self.place, other, self.folder))


def find_replica(
    place: KafkaPlace,
    home: Path,
    settings: KafkaSettings | None = None,
    *,
    create: bool = True,
    blobs: Path | str | None = None,
    erasable: bool = False,
) -> Replica:
    """Ask the cluster which ledger is there; where it is away, what it said the last time.

    Where there are no topics, or nothing is in them, the ledger begins, if ``create`` says so, and
    is ``erasable`` if that is asked for. Where the topics have forgotten their beginning, the
    archive in ``blobs`` tells it.

    Raises:
        LogMissing: there is no ledger, and none is to be made.
        LogUnavailable: the cluster is away, and this host has no replica.
        LogForeign: the topics are not those of the ledger that this host knows.
    """
    settings = settings or KafkaSettings.read()
    known = _known(place, home)
    if known is not None:  # there is something to go on with: do not wait long
        asking = min(settings.timeout_s, _ASKING_S)
        settings = settings.model_copy(update={"timeout_s": asking})
    log = KafkaLog(place, settings)
    try:
        found = _ask(log, known, place, home, create=create, blobs=blobs, erasable=erasable)
        if known is not None and known.cluster_id == found.cluster_id and known.folder.exists():
            known.check(log)
    except LogUnavailable as error:
        if known is None:
            msg = f"{error}; and this host has no replica of {place} to go on with"
            raise LogUnavailable(msg) from error
        _log.warning("%s; going on with what this host has in %s", error, known.folder)
        return known
    finally:
        log.close()
    if known != found:
        _remember(found)
    return found


def _ask(
    log: KafkaLog,
    known: Replica | None,
    place: KafkaPlace,
    home: Path,
    *,
    create: bool,
    blobs: Path | str | None,
    erasable: bool,
) -> Replica:
    try:
        topics = log.topics
    except TopicsMissing as error:
        if not create:
            raise
        _check_never_began(log, known, error)
        topics = log.create(erasable=erasable)
    if create and log.is_empty():
        if erasable:
            log.create(erasable=True)
        _begin(log, erasable=erasable)
    beginning = _beginning(log, blobs)
    counts = {said.topic: said.count for said in beginning.partitions}
    if counts != dict(topics.partitions):
        msg = (
            f"{place} began with {counts} partitions, and the cluster now has "
            f"{dict(topics.partitions)}: which partition an event belongs to would change. "
            "Begin a ledger under another name, and import this one"
        )
        raise LogForeign(msg)
    return Replica(
        place, home, topics.cluster_id, beginning.ledger_id, counts, dict(topics.ids),
        beginning.erasable,
    )  # fmt: skip


def _beginning(log: KafkaLog, blobs: Path | str | None) -> LedgerCreated:
    """The ledger's creation: the first record, or what the archive has kept of it."""
    try:
        return log.beginning()
    except (LogDamaged, LogForeign):
        found = None
        if blobs is not None:
            from .past import archived_beginning

            found = archived_beginning(blobs, _facts(log.topics.cluster_id, log.topics.ids))
        if found is None:
            raise
        return found


def _check_never_began(log: KafkaLog, known: Replica | None, error: TopicsMissing) -> None:
    """Topics are made for a new ledger only: made anew, those of another would look whole.

    Raises:
        LogMissing: the ledger has begun, as its catalog says, or what this host knows.
    """
    place = log.place
    here = known is not None and known.cluster_id == error.cluster_id and known.folder.exists()
    if not here and (place.topic("catalog") in error.missing or log.is_empty()):
        return
    msg = (
        f"of {place} the topics {', '.join(sorted(error.missing))} are missing: somebody deleted "
        "them. Restore them from a backup"
    )
    if here:
        assert known is not None
        msg += (
            f"; what this host knows is in {known.folder}. If a new ledger is meant, move that "
            "folder away"
        )
    raise LogMissing(msg) from error


def _begin(log: KafkaLog, *, erasable: bool) -> None:
    """Say that the ledger begins; where two hosts say so at once, the first in the log holds."""
    counts = log.partitions()
    ledger_id = secrets.token_hex(8)
    event = beginning(ledger_id, counts, root_of(ledger_id), erasable=erasable)
    log.append([Writer().stamp(event, counts)])
    try:
        log.publish_schemas()
    except LogUnavailable as error:  # nothing of ours needs them there: the ledger has begun
        _log.warning("%s", error)


def _file(place: KafkaPlace, home: Path) -> Path:
    named = "\n".join((place.name, *sorted(place.servers)))
    return home / "places" / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.json"


def _known(place: KafkaPlace, home: Path) -> Replica | None:
    """What this host was told the last time; None where it never was, or cannot be read."""
    try:
        said = json.loads(_file(place, home).read_text("utf-8"))
        return Replica(place, home, **said)
    except (OSError, ValueError, TypeError):
        return None


def _remember(replica: Replica) -> None:
    path = _file(replica.place, replica.home)
    said = {k: v for k, v in asdict(replica).items() if k not in ("place", "home")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{replica.ledger_id}")
        unfinished.write_text(json.dumps(said, indent=1), "utf-8")
        share(unfinished)
        unfinished.replace(path)
    except OSError as error:
        msg = (
            f"cannot keep replicas in {replica.home}: {error.strerror}; name a folder that can be "
            "written in MLFLOW_LEDGER_HOME"
        )
        raise LogUnavailable(msg) from error


def _facts(cluster_id: str, topic_ids: Mapping[str, str]) -> dict[str, str]:
    named = {f"topic_id.{topic}": found for topic, found in sorted(topic_ids.items())}
    return {"cluster_id": cluster_id, **named}


def _made_anew(place: KafkaPlace, topics: list[str], folder: Path) -> str:
    return (
        f"the topics {', '.join(map(place.topic, topics))} were deleted and made anew since this "
        f"host last read {place}: what it knows is in {folder}, and is not what is there now. "
        "Restore the topics, or, if a new ledger is meant, move that folder away"
    )
