"""Where blobs are kept: a folder of this host, or a bucket of an object store."""

from __future__ import annotations

import os
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from mlflow_ledger.schemas import ArtifactError, SettingsError

__all__ = ["check_shared", "explained", "opened", "place_name", "place_of"]

_STORES: dict[str, tuple[str, Any]] = {
    "s3": ("AWS", S3Store),
    "s3a": ("AWS", S3Store),
    "gs": ("GOOGLE", GCSStore),
    "az": ("AZURE", AzureStore),
    "azure": ("AZURE", AzureStore),
    "abfs": ("AZURE", AzureStore),
    "abfss": ("AZURE", AzureStore),
}
"""Whose settings and which client a URL's scheme means."""

_NAMES_CONTAINER = ("abfs", "abfss")
"""In these, ``container@account`` is no user and host."""

_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIALS", re.IGNORECASE)
_SHORTEST_SECRET = 6
_MESSAGE_LENGTH = 400
_TRUE = ("1", "true", "yes", "on")

# A request that nobody answers fails within a minute or so, and an upload that is under way may
# take its time. The store's own defaults wait for three minutes, and end long downloads after 30 s.
_RETRIES: dict[str, Any] = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=60),
    "timeout": timedelta(minutes=30),
}


def place_of(url: str | None, default: Path, what: str = "MLFLOW_LEDGER_BLOBS") -> Path | str:
    """The place that a setting, or ``what``, names: a folder as a path, an object store as its URL.

    Raises:
        SettingsError: it names neither, or holds a secret.
    """
    if url is None:
        return default
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    if parts.query or parts.fragment or parts.password or _has_user(parts.scheme, parts.username):
        msg = (
            f"{what} ({shown}) holds more than a place; secrets come from the store's "
            "own settings (AWS_…, GOOGLE_…, AZURE_…), never from a URL"
        )
        raise SettingsError(msg)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Path(unquote(parts.path))
    if parts.scheme in _STORES and parts.netloc:
        return url.rstrip("/")
    msg = (
        f"{what} ({shown}) is no place for blobs; one looks like s3://bucket/prefix, "
        "gs://bucket/prefix, az://container/prefix or file:///folder"
    )
    raise SettingsError(msg)


def place_name(place: Path | str) -> str:
    """A name that is the same wherever the place is the same: of a folder with its host's."""
    return f"file://{socket.gethostname()}{place}" if isinstance(place, Path) else place


def check_shared(place: Path | str) -> None:
    """A place that other hosts reach.

    Raises:
        ArtifactError: it is a folder of this host.
    """
    if isinstance(place, Path):
        msg = (
            f"{place} is a folder of this host ({socket.gethostname()}), and this ledger is shared "
            "by several: they would not find what is kept there. Set MLFLOW_LEDGER_BLOBS to an "
            "object store that all of them reach (s3://…, gs://…, az://…), or raise "
            "MLFLOW_LEDGER_BUS_BYTES, so that the file travels over the bus"
        )
        raise ArtifactError(msg)


def opened(place: Path | str) -> ObjectStore:
    """The store at a place; nothing is asked of it yet.

    Raises:
        ArtifactError: its settings make no sense, or it is a folder that cannot be used.
    """
    try:
        if isinstance(place, Path):
            return LocalStore(place)
        family, store = _STORES[urlsplit(place).scheme]
        found: ObjectStore = store.from_url(
            place,
            client_options={**_TIMEOUTS, "allow_http": _allows_http(family)},
            retry_config=_RETRIES,
        )
    except (BaseError, OSError, ValueError) as error:
        msg = f"cannot use {place} for blobs: {explained(error)}"
        raise ArtifactError(msg) from None
    return found


def explained(error: Exception) -> str:
    """What a store's error says, on one line, without its secrets."""
    text = str(error).split("Debug source", 1)[0]
    text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1?…", " ".join(text.split()))
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "…")
    return f"{text[:_MESSAGE_LENGTH]}…" if len(text) > _MESSAGE_LENGTH else text


def _has_user(scheme: str, user: str | None) -> bool:
    return user is not None and scheme not in _NAMES_CONTAINER


def _allows_http(family: str) -> bool:
    """Whether the environment lets the store be asked without TLS, as its own client would."""
    names = [f"{family}_ALLOW_HTTP"]
    if family == "AZURE":
        names += ["AZURE_STORAGE_ALLOW_HTTP", "AZURE_STORAGE_USE_EMULATOR", "AZURE_USE_EMULATOR"]
    return any(os.environ.get(name, "").lower() in _TRUE for name in names)
