"""What thin clients and a query service say to each other: JSON in which no value changes.

JSON has no bytes, infinities or NaN: they stand as ``{"$bytes": "<base64>"}`` and
``{"$float": "Infinity"}``. Integers have any length, texts any character, lone surrogates too.
"""

from __future__ import annotations

import base64
import json
import math
import sqlite3
from typing import Any

from mlflow_ledger.bus import ChangedMeanwhile
from mlflow_ledger.schemas import (
    ArtifactError,
    DecodeError,
    Encoded,
    Event,
    LedgerError,
    LogDamaged,
    LogForeign,
    LogMissing,
    LogUnavailable,
    Reason,
    Refused,
    SettingsError,
    decode,
    encode,
)

from .fold import FOLD_VERSION

__all__ = [
    "PROTOCOL",
    "check_versions",
    "dump",
    "error_from",
    "error_in",
    "event_from",
    "event_in",
    "load",
]

PROTOCOL = 1
"""Raised when a client and a service of two versions would misunderstand each other."""

_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        ArtifactError, ChangedMeanwhile, DecodeError, LedgerError, LogDamaged, LogForeign,
        LogMissing, LogUnavailable, SettingsError, OverflowError,
        sqlite3.DatabaseError, sqlite3.OperationalError, sqlite3.DataError,
        sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.InternalError,
    )
}  # fmt: skip
"""What is raised by a client as it was raised in the service; anything else is a LedgerError."""


def check_versions(protocol: int, fold_version: int, where: str) -> None:
    """Do nothing where both sides mean the same by what they say.

    Raises:
        LogForeign: they are of different versions.
    """
    if (protocol, fold_version) == (PROTOCOL, FOLD_VERSION):
        return
    msg = (
        f"{where} there is protocol {protocol} and fold version {fold_version}, here protocol "
        f"{PROTOCOL} and fold version {FOLD_VERSION}: their states do not mean the same. Install "
        "one version of mlflow-ledger on both sides, or leave query= out of the URI to keep a "
        "replica on the client's host"
    )
    raise LogForeign(msg)


def dump(document: Any) -> bytes:
    """A document as bytes."""
    try:
        return _dumped(document)
    except ValueError:  # what JSON has no numbers for is rare: look for it only now
        return _dumped(_tagged_floats(document))


def load(data: bytes) -> Any:
    """The document that :func:`dump` was given; tuples are lists.

    Raises:
        DecodeError: the bytes are no such document.
    """
    try:
        return json.loads(data, object_hook=_untagged)
    except (ValueError, RecursionError) as error:
        msg = f"{len(data)} bytes that came over the network are no document of ours: {error}"
        raise DecodeError(msg) from error


def error_in(error: Exception) -> dict[str, str]:
    """An error as a document."""
    if isinstance(error, Refused):
        return {"kind": "Refused", "code": error.reason.value, "message": error.message}
    kind = next((c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS), "LedgerError")
    return {"kind": kind, "message": str(error)}


def error_from(document: dict[str, str]) -> Exception:
    """The error that a document tells of."""
    if document["kind"] == "Refused":
        return Refused(Reason(document["code"]), document["message"])
    return _KINDS.get(document["kind"], LedgerError)(document["message"])


def event_in(event: Event) -> dict[str, Any]:
    """An event as a document."""
    encoded = encode(event)
    return {"type": type(event).__name__, "head": encoded.head, "content": encoded.content}


def event_from(document: dict[str, Any]) -> Event:
    """The event in a document.

    Raises:
        DecodeError: there is none that is known here.
    """
    encoded = Encoded(document["head"], document["content"])
    if not isinstance(encoded.head, bytes) or not isinstance(encoded.content, bytes | None):
        msg = f"a {document['type']} came without its bytes"
        raise DecodeError(msg)
    return decode(document["type"], *encoded)


def _dumped(document: Any) -> bytes:
    return json.dumps(
        document, default=_tagged_bytes, allow_nan=False, separators=(",", ":")
    ).encode("ascii")


def _tagged_bytes(value: object) -> dict[str, str]:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    msg = f"a {type(value).__name__} cannot be sent: {value!r}"
    raise TypeError(msg)


def _tagged_floats(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"$float": name}
    if isinstance(value, list | tuple):
        return [_tagged_floats(item) for item in value]
    if isinstance(value, dict):
        return {key: _tagged_floats(item) for key, item in value.items()}
    return value


def _untagged(document: dict[str, Any]) -> Any:
    if len(document) == 1:
        if "$bytes" in document:
            return base64.b64decode(document["$bytes"], validate=True)
        if "$float" in document:
            return _FLOATS[document["$float"]]
    return document
