"""Restoring a ledger in Kafka from a backup, into topics of a name that is not in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path

from mlflow_ledger.bus import (
    KafkaLog,
    KafkaPlace,
    KafkaSettings,
    KeyFile,
    KeyTopic,
    Outgoing,
    Partition,
    Position,
    Settings,
    Stored,
    TopicsMissing,
    reach,
)
from mlflow_ledger.schemas import (
    ArtifactError,
    DecodeError,
    LogForeign,
    LogUnavailable,
    Record,
    SettingsError,
    decode,
)

from .archive import opened_by
from .backups import fold_records
from .blob_place import place_of
from .blobs import Blobs
from .collection import named_blobs
from .digest import state_digest
from .key_backup import BackedKeys
from .restore import Cut, Restored, Source, restore_blobs
from .segment import partition_name
from .state_file import create

__all__ = ["restore_to_topics"]

Told = Callable[[str, int, int], None]

_AT_ONCE = 500


def restore_to_topics(
    source: Source,
    place: KafkaPlace,
    cut: Cut,
    settings: Settings,
    kafka_settings: KafkaSettings,
    *,
    allow_missing: bool = False,
    told: Told | None = None,
) -> Restored:
    """Publish the events of a backup to topics of their own, read them back and compare.

    Events keep their identities, digests and order; the log's own times are those of the restore,
    and offsets are the old ones unless there were holes between them. One that breaks off goes on
    when it is repeated. Nobody should use the ledger before it is there.

    Raises:
        LogForeign: the backup is of an embedded ledger, or other events stand in the topics.
        ArtifactError: what was published is not what the backup says, or artifacts are missing.
    """
    told = told or (lambda *_: None)
    if source.ledger.embedded:
        msg = (
            "this backup is of a ledger in a folder, which has no partitions; restore it to "
            "ledger:./folder"
        )
        raise LogForeign(msg)
    count = source.ledger.partitions["runs"]
    log = KafkaLog(
        place, kafka_settings.model_copy(update={"partitions": count}), source.ledger.ledger_id
    )
    with closing(log):
        _have_topics(log, source)
        if source.keys is not None:
            _publish_keys(place, kafka_settings, source.keys)
        for partition, records in groupby(source.records(cut, told), lambda s: s.partition):
            _publish(log, partition, records)
        reach("restore.written")
        return _checked(source, log, cut, settings, allow_missing, told)


def _have_topics(log: KafkaLog, source: Source) -> None:
    try:
        found = dict(log.topics.partitions)
    except TopicsMissing:
        found = dict(log.create(erasable=source.keys is not None).partitions)
    if found != source.ledger.partitions:
        msg = (
            f"{log.place} has the partitions {found}, and the backup those of "
            f"{source.ledger.partitions}; name a ledger that is not in use"
        )
        raise LogForeign(msg)


def _publish_keys(place: KafkaPlace, settings: KafkaSettings, keys: BackedKeys) -> None:
    """Put the keys into their topic, before anything that is sealed with them stands anywhere."""
    topic = KeyTopic(place, settings, KeyFile(None))
    with closing(topic):
        topic.check()
        topic.say(keys.keys)
    reach("restore.keyed")


def _publish(log: KafkaLog, partition: Partition, records: Iterator[Stored]) -> None:
    """Publish what of a partition is not there yet; what is there must be how it begins."""
    for stood in _read(log, partition):
        expected = next(records, None)
        if expected is None or expected.record.digest() != stood.record.digest():
            msg = (
                f"{log.place}: {partition_name(partition)} holds other events than the backup; "
                "restore to a name that is not in use"
            )
            raise LogForeign(msg)
    while some := list(islice(records, _AT_ONCE)):
        log.append([Outgoing(partition, s.record, _key(s.record)) for s in some])
        reach("restore.published")


def _read(log: KafkaLog, partition: Partition) -> Iterator[Stored]:
    end = log.end().offset(partition)
    others = {p: offset for p, offset in log.end().offsets.items() if p != partition}
    start = Position(log.ledger_id, others)
    for batch, _ in log.batches(start, Position(log.ledger_id, others | {partition: end})):
        yield from batch


def _checked(
    source: Source,
    log: KafkaLog,
    cut: Cut,
    settings: Settings,
    allow_missing: bool,
    told: Told,
) -> Restored:
    """Fold what now stands in the topics; it must be what the backup says."""
    end, events = log.end(), 0
    with closing(create(":memory:")) as db:
        behind = Position(log.ledger_id).distance(end)
        for batch, reached in log.batches(Position(log.ledger_id), end):
            keyring = source.archive.keyring
            fold_records(db, batch if keyring is None else [opened_by(keyring, s) for s in batch])
            events += len(batch)
            told("folding the events", behind - reached.distance(end), behind)
        found, named = state_digest(db), named_blobs(db)
        carried = {digest for (digest,) in db.execute(_CARRIED)}
    wanted_events, wanted = source.expected(cut, told)
    if events == 0:
        msg = "nothing stood in the log at that moment; name a later one"
        raise SettingsError(msg)
    if (events, found) != (wanted_events, wanted):
        msg = (
            f"what was published to {log.place} ({events} events, state {found}) is not what the "
            f"backup says ({wanted_events} events, state {wanted}): has somebody written there? "
            "Delete the topics, and restore again"
        )
        raise ArtifactError(msg)
    missing = _restore_blobs(source, settings, named, carried, allow_missing, told)
    return Restored(
        source.ledger.ledger_id, str(end), events, found, len(named) - len(missing),
        sum(size for digest, size in named.items() if digest not in missing), missing,
    )  # fmt: skip


def _restore_blobs(
    source: Source,
    settings: Settings,
    named: dict[str, int],
    carried: set[str],
    allow_missing: bool,
    told: Told,
) -> list[str]:
    """Copy the blobs to the store that hosts share; those that the log carries need none."""
    if settings.blobs is not None:
        target = Blobs(place_of(settings.blobs, Path()))
        return restore_blobs(source, target, named, allow_missing, told)
    if named.keys() <= carried:
        return []
    msg = (
        f"{len(named.keys() - carried)} artifacts did not travel over the bus: set "
        "MLFLOW_LEDGER_BLOBS to the object store where hosts are to find them, and restore again"
    )
    raise LogUnavailable(msg)


def _key(record: Record) -> str | None:
    """The key that the event was published with."""
    try:
        return decode(record.envelope.type, record.head).key
    except DecodeError:
        return None


_CARRIED = "SELECT digest FROM carried_blobs WHERE complete_ms IS NOT NULL"
