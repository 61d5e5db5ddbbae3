"""Where it is said: the Log seam and what implements it."""

from .failpoint import FAILPOINTS, reach
from .fork import Forkable, abandon, forkable
from .lock import FileLock
from .log import TOPICS, Log, Outgoing, Stored
from .memory import MemoryLog
from .partition import murmur2, partition_of
from .position import EMBEDDED, Partition, Position
from .selection import Selection
from .settings import SCHEME, Settings, folder_of
from .sqlite import FORMAT, Appending, SqliteFailures, SqliteLog, Synchronous
from .writer import (
    MAX_EVENT_BYTES,
    RULES,
    Actor,
    EventTooLarge,
    Writer,
    acting_as,
    prepare,
    system_actor,
)

__all__ = [
    "EMBEDDED",
    "FAILPOINTS",
    "FORMAT",
    "MAX_EVENT_BYTES",
    "RULES",
    "SCHEME",
    "TOPICS",
    "Actor",
    "Appending",
    "EventTooLarge",
    "FileLock",
    "Forkable",
    "Log",
    "MemoryLog",
    "Outgoing",
    "Partition",
    "Position",
    "Selection",
    "Settings",
    "SqliteFailures",
    "SqliteLog",
    "Stored",
    "Synchronous",
    "Writer",
    "abandon",
    "acting_as",
    "folder_of",
    "forkable",
    "murmur2",
    "partition_of",
    "prepare",
    "reach",
    "system_actor",
]
