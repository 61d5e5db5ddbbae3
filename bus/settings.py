"""Settings and URIs: where a ledger is, and how it is to be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_ledger.schemas import SettingsError

from .sqlite import Synchronous

__all__ = [
    "SCHEME",
    "Settings",
    "folder_of",
    "options_of",
    "read_settings",
    "split_as_of",
    "uri_of",
    "with_as_of",
]

SCHEME = "ledger"

_Kind = TypeVar("_Kind", bound=BaseSettings)

_AS_OF = "as_of"
_OPTIONS = {"delivery": "delivery", "query": "query", "read_wait": "read_wait_s"}


class Settings(BaseSettings):
    """What the environment (``MLFLOW_LEDGER_*``) and ``.env`` say."""

    model_config = SettingsConfigDict(
        env_prefix="MLFLOW_LEDGER_", env_file=".env", extra="ignore", frozen=True
    )

    synchronous: Synchronous = "normal"
    """``full`` also survives a power cut, for an fsync on every call."""

    actor: str | None = None
    """Who acts, where it is not the user of the process; the audit shows it as claimed."""

    network_folder: Literal["refuse", "allow"] = "refuse"
    """``allow`` lets a ledger lie on a network file system, at the risk of a garbled log."""

    snapshot_events: int = 2000
    """How many events at least lie between two snapshots."""

    analytics_memory: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[KMGT]i?B$")] = "1GB"
    """How much memory DuckDB may take in a process that searches; beyond it uses the disk."""

    home: Path = Field(default_factory=lambda: _state_home() / "mlflow-ledger")
    """Where this host keeps its copies of ledgers in Kafka, and what waits to be sent there."""

    delivery: Literal["spool", "ack"] | None = None
    """``spool`` keeps events on this host until Kafka has them, ``ack`` waits for the brokers."""

    spool_bytes: Annotated[int, Field(gt=0)] = 4 * 1024**3
    """How much may wait on this host to be sent to one ledger in Kafka."""

    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """How long the end of a run, and of a process, waits until all that was logged is sent."""

    read_wait_s: Annotated[float, Field(ge=0)] = 2.0
    """How long a read may wait for what was just logged, before it answers from what is here."""

    blobs: str | None = None
    """The URL of the blob store, where that is not a folder of the ledger's own."""

    bus_bytes: ByteSize = ByteSize(64 * 1024 * 1024)
    """Up to which size files travel over the bus, where a ledger has one."""

    query: str | None = None
    """Where a query service answers (``http://host:8080``): no replica is kept on this host."""

    query_token: SecretStr | None = None
    """What a query service asks of whoever reads from it, and what it is told."""

    signing_key: Path | None = None
    """The file with the private key that signs checkpoints of the log."""

    public_key: str | None = None
    """Whose checkpoints are believed, where that is not the key that signs here."""

    checkpoint_s: Annotated[float, Field(gt=0)] = 60.0
    """How long a service with a key waits, at least, between two checkpoints."""

    webhooks: Literal["server", "bridge"] = "server"
    """Who tells webhooks: MLflow's server, or ``mlflow-ledger webhooks`` from the log."""

    openlineage_key: SecretStr | None = None
    """What an HTTP end point asks of whoever sends it events of OpenLineage."""

    @field_validator("query")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        if not whole or parts.query or parts.fragment:
            msg = f"{value!r} is no query service's address; one looks like http://host:8080"
            raise ValueError(msg)
        return value.rstrip("/")

    @classmethod
    def read(cls, **options: str) -> Settings:
        """Read the settings; ``options`` of a URI come before them.

        Raises:
            SettingsError: one of them makes no sense.
        """
        return read_settings(cls, **options)


def read_settings(kind: type[_Kind], **options: str) -> _Kind:
    """Read settings of a kind; what is wrong is told by the variables' names, never their values.

    Raises:
        SettingsError: one of them makes no sense.
    """
    try:
        return kind(**options)  # type: ignore[arg-type]  # pydantic reads texts
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix"))
        problems = "; ".join(
            _problem(prefix, e, options) for e in error.errors(include_input=False)
        )
        raise SettingsError(problems) from error
    except OSError as error:
        msg = f"cannot read .env in the current folder: {error.strerror}"
        raise SettingsError(msg) from error


def _problem(prefix: str, error: Mapping[str, Any], options: Mapping[str, str]) -> str:
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    setting = error["loc"][0]
    option = next((name for name, of in _OPTIONS.items() if of == setting), None)
    if option is not None and setting in options:
        return f"the URI's option {option!r}: {error['msg']}"
    return f"{prefix}{'_'.join(map(str, error['loc'])).upper()}: {error['msg']}"


def _state_home() -> Path:
    """Where programs keep what should survive a restart (XDG base directories)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def options_of(uri: str) -> dict[str, str]:
    """The settings that a URI's options name, as ``delivery`` in ``…/team?delivery=ack``.

    Raises:
        SettingsError: an option is unknown, or given twice.
    """
    options: dict[str, str] = {}
    query = urlsplit(split_as_of(uri)[0]).query
    for name, value in parse_qsl(query, keep_blank_values=True):
        setting = _OPTIONS.get(name)
        if setting is None or setting in options:
            what = "is unknown" if setting is None else "is given twice"
            known = ", ".join(sorted((_AS_OF, *_OPTIONS)))
            msg = f"{uri!r}: option {name!r} {what}; there are {known}"
            raise SettingsError(msg)
        options[setting] = value
    return options


def split_as_of(uri: str) -> tuple[str, str | None]:
    """A URI without its option ``as_of``, and the moment that it names, None where it has none.

    A moment's ``+`` may stand as it is.

    Raises:
        SettingsError: it is given twice, or empty.
    """
    place, mark, query = uri.partition("?")
    pairs = query.split("&") if mark else []
    moments = [pair for pair in pairs if pair.partition("=")[0] == _AS_OF]
    if not moments:
        return uri, None
    moment = unquote(moments[0].partition("=")[2])
    if len(moments) > 1 or not moment:
        what = "is given twice" if len(moments) > 1 else "names no moment"
        msg = f"{uri!r}: option 'as_of' {what}; write ?as_of=2026-03-03T12:00:00Z, or a position"
        raise SettingsError(msg)
    rest = "&".join(pair for pair in pairs if pair not in moments)
    return (f"{place}?{rest}" if rest else place), moment


def with_as_of(uri: str, moment: str | None) -> str:
    """A URI that names a ledger as of a moment; :func:`split_as_of` takes it apart."""
    if moment is None:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{_AS_OF}={quote(moment, safe=':~.+')}"


def folder_of(uri: str) -> Path:
    """The absolute folder of an embedded ledger's URI: ``ledger:./path`` or ``ledger:///abs``.

    Raises:
        SettingsError: the URI is no such thing.
    """
    parts = urlsplit(split_as_of(uri)[0])
    if parts.scheme == f"{SCHEME}+kafka":
        msg = f"{uri!r} names a ledger in Kafka, where a folder is needed: ledger:./store"
        raise SettingsError(msg)
    if parts.scheme != SCHEME:
        msg = f"{uri!r} is no ledger URI; one looks like ledger:./store or ledger:///data/store"
        raise SettingsError(msg)
    if parts.netloc:
        msg = (
            f"{uri!r} names a host ({parts.netloc}), and a ledger is a folder on this machine; "
            f"write ledger:./{parts.netloc}{parts.path} or ledger:///{parts.netloc}{parts.path}"
        )
        raise SettingsError(msg)
    if not parts.path:
        msg = f"{uri!r} names no folder; write ledger:./store"
        raise SettingsError(msg)
    if parts.query or parts.fragment:
        msg = (
            f"{uri!r}: unknown option {parts.query or parts.fragment!r}; in a folder's name write "
            "? as %3F and # as %23"
        )
        raise SettingsError(msg)
    folder = Path(unquote(parts.path)).expanduser().absolute()
    if "\0" in parts.path or "%00" in parts.path:
        msg = f"{uri!r}: no folder's name holds a NUL"
        raise SettingsError(msg)
    if os.path.normpath(folder) == folder.anchor:
        msg = f"{uri!r} names the root of the file system; name a folder, as ledger:./store does"
        raise SettingsError(msg)
    return folder


def uri_of(folder: Path) -> str:
    """The URI of the ledger in a folder; :func:`folder_of` gives the folder back."""
    return f"{SCHEME}://{quote(str(folder.absolute()))}"
