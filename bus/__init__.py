"""Where it is said: the Log seam and what implements it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .appending import Appending
from .asyncapi import asyncapi
from .collector import without_gc
from .cut import Cut, Spans, cut_log, past_read_only, position_of, spans_before, vector_at
from .failpoint import FAILPOINTS, reach
from .fork import Forkable, abandon, forkable
from .forwarder import Forwarder, ForwarderStatus
from .inode import inode_of
from .kafka_records import UNREADABLE, message_of, record_of_message, unreadable_record
from .kafka_settings import KAFKA_SCHEME, KafkaPlace, KafkaSettings, TopicsMissing, kafka_place
from .lock import FileLock
from .log import TOPICS, Log, Outgoing, Stored
from .memory import MemoryLog
from .mirror import Mirrored, MirrorLog
from .mirror_file import MirrorDamaged, move_aside
from .moment import parse_moment
from .mounts import check_local, is_network, mount_of
from .onlooker import ChangedMeanwhile, Onlooker
from .partition import murmur2, partition_of
from .position import EMBEDDED, Partition, Position, record_at
from .private import PrivateFolder
from .redacting import blank, compact
from .selection import Selection
from .settings import SCHEME, Settings, folder_of, options_of, split_as_of, uri_of, with_as_of
from .sharing import is_shared, may_write, share, share_database
from .spool import MOST_SPOOL_BYTES, Spool
from .spool_rows import Refusal, SpoolDepth, Waiting
from .sqlite import SqliteLog, Synchronous
from .sqlite_failures import FORMAT, SqliteFailures, is_gone, statement_refused
from .writer import (
    MAX_EVENT_BYTES,
    RULES,
    Actor,
    EventTooLarge,
    Writer,
    acting_as,
    acting_in,
    prepare,
    system_actor,
)

if TYPE_CHECKING:
    from .kafka import KafkaLog
    from .key_file import KeyFile
    from .key_topic import KeyTopic
    from .keyring import Keyring
    from .topic_writer import TopicWriter

__all__ = [
    "EMBEDDED",
    "FAILPOINTS",
    "FORMAT",
    "KAFKA_SCHEME",
    "MAX_EVENT_BYTES",
    "MOST_SPOOL_BYTES",
    "RULES",
    "SCHEME",
    "TOPICS",
    "UNREADABLE",
    "Actor",
    "Appending",
    "ChangedMeanwhile",
    "Cut",
    "EventTooLarge",
    "FileLock",
    "Forkable",
    "Forwarder",
    "ForwarderStatus",
    "KafkaLog",
    "KafkaPlace",
    "KafkaSettings",
    "KeyFile",
    "KeyTopic",
    "Keyring",
    "Log",
    "MemoryLog",
    "MirrorDamaged",
    "MirrorLog",
    "Mirrored",
    "Onlooker",
    "Outgoing",
    "Partition",
    "Position",
    "PrivateFolder",
    "Refusal",
    "Selection",
    "Settings",
    "Spans",
    "Spool",
    "SpoolDepth",
    "SqliteFailures",
    "SqliteLog",
    "Stored",
    "Synchronous",
    "TopicWriter",
    "TopicsMissing",
    "Waiting",
    "Writer",
    "abandon",
    "acting_as",
    "acting_in",
    "asyncapi",
    "blank",
    "check_local",
    "compact",
    "cut_log",
    "folder_of",
    "forkable",
    "inode_of",
    "is_gone",
    "is_network",
    "is_shared",
    "kafka_place",
    "may_write",
    "message_of",
    "mount_of",
    "move_aside",
    "murmur2",
    "options_of",
    "parse_moment",
    "partition_of",
    "past_read_only",
    "position_of",
    "prepare",
    "reach",
    "record_at",
    "record_of_message",
    "share",
    "share_database",
    "spans_before",
    "split_as_of",
    "statement_refused",
    "system_actor",
    "unreadable_record",
    "uri_of",
    "vector_at",
    "with_as_of",
    "without_gc",
]


_LAZY = {
    "KafkaLog": "kafka",
    "KeyFile": "key_file",
    "KeyTopic": "key_topic",
    "Keyring": "keyring",
    "TopicWriter": "topic_writer",
}


def __getattr__(name: str) -> Any:
    """Import Kafka's client, and ciphers, with the first use only: most ledgers do without."""
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
