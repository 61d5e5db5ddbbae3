"""A URI becomes a ledger: one instance for each ledger and process, closed at exit."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_ledger.bus import (
    KAFKA_SCHEME,
    Settings,
    folder_of,
    kafka_place,
    options_of,
    parse_moment,
    split_as_of,
)
from mlflow_ledger.schemas import LedgerError, LogMissing, SettingsError

from .blob_place import place_of
from .ledger import Ledger
from .place import REDACTING, resolved
from .telling import Telling

__all__ = ["begin_ledger", "check_uri", "open_ledger"]

_log = logging.getLogger(__name__)

_SERVER = "_MLFLOW_SERVER_FILE_STORE"
"""MLflow sets it in its server, whose workers have to read what any of them has acknowledged."""

_ledgers: dict[Hashable, Ledger] = {}
_mutex = threading.RLock()


def check_uri(uri: str) -> None:
    """Do nothing where a URI may name a ledger; nothing is looked up.

    Raises:
        SettingsError: it makes no sense.
    """
    _, as_of = split_as_of(uri)
    if as_of is not None:
        parse_moment(as_of)
    if urlsplit(uri).scheme == KAFKA_SCHEME:
        kafka_place(uri)
        Settings.read(**options_of(uri))
    else:
        resolved(folder_of(uri))


def open_ledger(uri: str, *, create: bool = True, telling: Telling | None = None) -> Ledger:
    """The ledger of a URI; ``telling`` is told of work that takes long, such as a cold start.

    A folder is the same by whichever path: relative, absolute, through symbolic links. An embedded
    ledger is only named by this; of one in Kafka, the cluster is asked which one it is, and it
    begins if it is not there and ``create`` says so.

    Raises:
        SettingsError: the URI, an option or a setting makes no sense.
        LogMissing, LogUnavailable, LogForeign: the topics are not there, or not fit for use.
    """
    uri, as_of = split_as_of(uri)
    if as_of is not None:
        return _open_as_of(uri, as_of, telling)
    if urlsplit(uri).scheme == KAFKA_SCHEME:
        return _open_kafka(uri, telling, create=create)
    folder = resolved(folder_of(uri))
    ledger = _once(folder, lambda: Ledger(folder))
    if (folder / REDACTING).exists():
        _finish_redaction(ledger)
    return ledger


def begin_ledger(uri: str, *, erasable: bool = False) -> Ledger:
    """Begin the ledger of a URI, where there is none.

    Raises:
        SettingsError: there is one already, or it is to be ``erasable`` and is in a folder.
        LogUnavailable: the cluster is away, or forbids it.
    """
    if urlsplit(uri).scheme != KAFKA_SCHEME:
        return _begin_in_folder(uri, erasable=erasable)
    from mlflow_ledger.bus import KafkaLog, KafkaSettings

    place = kafka_place(uri)
    log = KafkaLog(place, KafkaSettings.read())
    try:
        begun = bool(log.topics) and not log.is_empty()
    except LogMissing:
        begun = False
    finally:
        log.close()
    if begun:
        raise _is_there(uri)
    ledger = _open_kafka(uri, None, create=True, erasable=erasable)
    if ledger.erasable != erasable:  # another process was quicker
        raise _is_there(uri)
    return ledger


def _begin_in_folder(uri: str, *, erasable: bool) -> Ledger:
    if erasable:
        msg = "from a ledger in a folder contents can be erased without keys: leave --erasable away"
        raise SettingsError(msg)
    ledger = open_ledger(uri)
    if ledger.exists():
        raise _is_there(uri)
    ledger.write(lambda _: [])
    return ledger


def _is_there(uri: str) -> SettingsError:
    return SettingsError(f"{uri} has begun already: whether it is erasable is decided for ever")


def _finish_redaction(ledger: Ledger) -> None:
    """Erase what a process was about to erase that was killed."""
    from .redaction import finish_redaction

    try:
        finish_redaction(ledger)
    except LedgerError as error:
        _log.warning("a redaction in %s is not finished: %s", ledger.folder, error)


def _open_as_of(uri: str, as_of: str, telling: Telling | None) -> Ledger:
    from .as_of_ledger import AsOfLedger  # needs what the present does without

    parse_moment(as_of)
    now = open_ledger(uri, create=False, telling=telling)
    if not now.has_log:
        msg = (
            "as_of needs the ledger's log, and what reads through a query service has none: ask on "
            "the host of that service, or leave query= out of the URI to keep a replica here"
        )
        raise SettingsError(msg)
    return _once((id(now), as_of), lambda: AsOfLedger(now, as_of, telling))


def _open_kafka(
    uri: str, telling: Telling | None, *, create: bool, erasable: bool = False
) -> Ledger:
    place, options = kafka_place(uri), options_of(uri)

    def make() -> Ledger:
        from .kafka_ledger import KafkaLedger
        from .replica import find_replica

        settings = Settings.read(**options)
        if settings.delivery is None:
            delivery = "ack" if os.environ.get(_SERVER) else "spool"
            settings = settings.model_copy(update={"delivery": delivery})
        blobs = place_of(settings.blobs, Path()) if settings.blobs is not None else None
        replica = find_replica(
            place, Path(settings.home), create=create, blobs=blobs, erasable=erasable
        )
        if settings.query is not None:
            from .thin_ledger import ThinLedger

            return ThinLedger(replica, settings)
        return KafkaLedger(replica, settings, telling=telling)

    ledger = _once((place.servers, place.name, *sorted(options.items())), make)
    if ledger.erasable and (ledger.folder / REDACTING).exists():
        _finish_redaction(ledger)
    return ledger


def _once(key: Hashable, make: Callable[[], Ledger]) -> Ledger:
    with _mutex:
        ledger = _ledgers.get(key)
        if ledger is None:
            ledger = _ledgers[key] = make()
        return ledger


@atexit.register
def _close_all() -> None:
    for ledger in _ledgers.values():
        ledger.close()
