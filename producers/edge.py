"""The plugin's edge: our errors become MLflow's, our ledger is found by its URI."""

from __future__ import annotations

import functools
import inspect
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.tracking._tracking_service import utils as tracking_utils
from mlflow.utils.search_utils import SearchUtils
from pydantic import ValidationError

from mlflow_ledger.bus import (
    SCHEME,
    EventTooLarge,
    acting_as,
    folder_of,
    split_as_of,
    uri_of,
    with_as_of,
)
from mlflow_ledger.consumers import Decide, Foreseen, Ledger, check_uri, open_ledger
from mlflow_ledger.query.progress import ProgressShown
from mlflow_ledger.schemas import (
    ClaimCheck,
    Envelope,
    Event,
    LedgerError,
    LogUnavailable,
    PastReadOnly,
    Refused,
    SettingsError,
)

from .server_user import server_user

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Analytics, RemoteAnalytics

__all__ = [
    "MAX_WHOLE",
    "MIN_WHOLE",
    "LedgerStore",
    "asked_for",
    "increasing_ns",
    "mlflow_errors",
    "now_ms",
    "start_offset",
    "text",
    "whole",
]

C = TypeVar("C", bound=type)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_TOLD = (LedgerError, MlflowException, ValidationError)  # each becomes its own code at the edge
_CLAIM_BYTES = 256 * 1024
_ASKED_FOR = ("_get_d", "_hard_", "_load_d", "_search")
"""How private methods begin that MLflow calls."""
MIN_WHOLE, MAX_WHOLE = -(2**63), 2**63 - 1


class LedgerStore:
    """What tracking store and registry store share: a ledger, writing to it and reading from it."""

    _uri: str
    _artifact_root: str | None = None
    _looked = False

    def _use(self, store_uri: str, artifact_root: str | None = None) -> None:
        """Use the ledger of a URI. Nothing is opened, made, locked or asked yet."""
        self._uri, self._artifact_root = store_uri, artifact_root
        with_mlflow_errors(self._check)

    def _check(self) -> None:
        check_alone()
        check_uri(self._uri)
        _make_absolute(self._uri)

    @functools.cached_property
    def _ledger(self) -> Ledger:
        ledger = open_ledger(self._uri, telling=ProgressShown())
        if self._artifact_root is not None:
            ledger.artifact_root = self._artifact_root
        return ledger

    @property
    def _analytics(self) -> Analytics | RemoteAnalytics:
        return analytics_of(self._ledger)

    def close(self) -> None:
        """Let go of all files of the ledger; whoever uses it next opens them again."""
        analytics = _analytics.get(self._ledger)
        if analytics is not None:
            analytics.close()
        self._ledger.close()

    def _write(self, *events: Event) -> None:
        """Say something that does not depend on what is there."""
        self._decide(lambda _: events)

    def _decide(self, decide: Decide, foreseen: Foreseen | None = None) -> list[Event]:
        """Say what depends on what is there; ``decide`` sees it caught up and under the lock."""
        try:
            return self._ledger.write(self._first_looking(decide), foreseen)
        except _TOLD:
            raise
        except Exception as error:
            raise _unforeseen(error) from error

    def _decide_and_ask(
        self,
        decide: Decide,
        question: Callable[[sqlite3.Connection], Any],
        foreseen: Foreseen | None = None,
        answer: Callable[[Envelope], Any] | None = None,
    ) -> Any:
        """Say what depends on what is there, and read what came of it."""
        try:
            decide = self._first_looking(decide)
            return self._ledger.write_and_ask(decide, question, foreseen, answer)
        except _TOLD:
            raise
        except Exception as error:
            raise _unforeseen(error) from error

    def _ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        """Read the state as of now."""
        try:
            return self._ledger.query(self._first_looking(question))
        except _TOLD:
            raise
        except Exception as error:
            raise _unforeseen(error) from error

    def _first_looking(self, ask: Callable[[sqlite3.Connection], T]) -> Callable[..., T]:
        """A question, and the first time before it whether this store may be used at all."""
        if self._looked:
            return ask

        def looking(db: sqlite3.Connection) -> T:
            self._check_usable(db)
            self._looked = True
            return ask(db)

        return looking

    def _check_usable(self, db: sqlite3.Connection) -> None:
        """Do nothing where this kind of store may be used on what is there."""

    def _travelling(
        self, text: str | None, most_bytes: int = _CLAIM_BYTES
    ) -> str | ClaimCheck | None:
        """A text as an event carries it: a large one as a claim check for a blob."""
        if text is None or len(text) * 4 <= most_bytes:
            return text
        data = text.encode("utf-8")
        if len(data) <= most_bytes:
            return text
        digest, size_bytes = self._ledger.carrier.put(data)
        return ClaimCheck(digest=digest, size_bytes=size_bytes)

    def _arrived(self, text: str | bytes | Mapping[str, Any] | None) -> str | None:
        """A text from the state; a claim check, of a column or of an item, is redeemed."""
        if text is None or isinstance(text, str):
            return text
        if isinstance(text, bytes):
            claim = ClaimCheck.model_validate_json(text)
        else:
            claim = ClaimCheck.model_validate(text)
        return self._ledger.carrier.get(claim.digest).decode("utf-8")


@functools.lru_cache(maxsize=1)
def check_alone() -> None:
    """Look, once, whether the scheme is ours alone.

    MLflow takes whichever plugin comes last, so two processes could log to two different places.

    Raises:
        SettingsError: another distribution claims it too.
    """
    ours = __name__.rpartition(".")[0]
    for group in (
        "mlflow.tracking_store", "mlflow.model_registry_store", "mlflow.workspace_provider",
    ):  # fmt: skip
        others = {
            f"{claim.value} of {claim.dist.name if claim.dist else 'an unknown distribution'}"
            for claim in entry_points(group=group, name=SCHEME)
            if not claim.value.startswith(f"{ours}.")
        }
        if others:
            msg = (
                f"mlflow-ledger is not alone in claiming {SCHEME}: URIs for {group}: so does "
                f"{', '.join(sorted(others))}; uninstall one of them, since MLflow takes either"
            )
            raise SettingsError(msg)


_analytics: dict[Ledger, Analytics | RemoteAnalytics] = {}
_analytics_mutex = threading.Lock()


def analytics_of(ledger: Ledger) -> Analytics | RemoteAnalytics:
    """The one clone that all stores of a process share for a ledger."""
    with _analytics_mutex:
        if ledger not in _analytics:
            _analytics[ledger] = ledger.new_analytics()
        return _analytics[ledger]


_last_ns = 0
_clock_mutex = threading.Lock()


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def increasing_ns() -> int:
    """Nanoseconds since 1970 by this process's clock, never the same twice and never less."""
    global _last_ns  # noqa: PLW0603  # one clock for all threads of a process
    with _clock_mutex:
        _last_ns = max(_last_ns + 1, time.time_ns())
        return _last_ns


def whole(number: float | None) -> int | None:
    """A number that MLflow lets through as the whole number it stands for."""
    if number is None or (type(number) is int and MIN_WHOLE <= number <= MAX_WHOLE):
        return number
    try:
        value = int(number)
    except (OverflowError, ValueError):
        raise MlflowException(f"{number} is no whole number", INVALID_PARAMETER_VALUE) from None
    if not MIN_WHOLE <= value <= MAX_WHOLE:
        # The words and the code of MLflow's SQL store, where the driver refuses the number.
        raise MlflowException("Python int too large to convert to SQLite INTEGER", INTERNAL_ERROR)
    return value


def start_offset(page_token: str | None) -> int:
    """Where the page that a token names begins; nonsense gets the code of MLflow's SQL store."""
    try:
        offset = int(SearchUtils.parse_start_offset_from_page_token(page_token))
    except (AttributeError, TypeError, ValueError) as error:
        raise MlflowException(str(error), INTERNAL_ERROR) from error
    return max(whole(offset) or 0, 0)


def _unforeseen(error: Exception) -> MlflowException:
    """What nobody foresaw inside the store, with the code that MLflow's SQL store gives it."""
    refused = isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError)
    return MlflowException(str(error), BAD_REQUEST if refused else INTERNAL_ERROR)


def _wrong_types(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
        for found in error.errors()
    )


def with_mlflow_errors(work: Callable[[], Any]) -> Any:
    """Do something; what we refuse or cannot do becomes an ``MlflowException``.

    MLflow's clients retry 5xx seven times, so only what may pass on its own gets such a code.
    """
    try:
        return work()
    except Refused as refused:
        raise MlflowException(refused.message, ErrorCode.Value(refused.reason.value)) from refused
    except (SettingsError, EventTooLarge) as error:
        raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error
    except ValidationError as error:
        raise MlflowException(_wrong_types(error), INVALID_PARAMETER_VALUE) from error
    except PastReadOnly as error:
        raise MlflowException(str(error), PERMISSION_DENIED) from error
    except LogUnavailable as error:
        raise MlflowException(str(error), TEMPORARILY_UNAVAILABLE) from error
    except (LedgerError, sqlite3.Error, struct.error, OverflowError, UnicodeError) as error:
        raise MlflowException(str(error), INTERNAL_ERROR) from error


def mlflow_errors(store: C) -> C:
    """Have every method that a store class adds raise MLflow's errors only."""
    ours = [base for base in store.__mro__ if base.__module__.startswith("mlflow_ledger.")]
    for base in ours:
        for name, method in vars(base).items():
            if inspect.isfunction(method) and asked_for(name) and name not in vars(store):
                setattr(store, name, _guarded(method))
    return store


def asked_for(name: str) -> bool:
    """Whether MLflow calls a method of this name."""
    return not name.startswith("_") or name.startswith(_ASKED_FOR)


def _guarded(method: F) -> F:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        user = server_user()
        if user is None:
            return with_mlflow_errors(lambda: method(*args, **kwargs))
        before = acting_as.set(user)
        try:
            return with_mlflow_errors(lambda: method(*args, **kwargs))
        finally:
            acting_as.reset(before)

    return guarded  # type: ignore[return-value]  # functools.wraps keeps the signature


def _make_absolute(store_uri: str) -> None:
    """Let processes that are started in another folder find the same ledger.

    ``mlflow run`` starts a project in the project's folder and hands it the tracking URI as it
    stands; a relative one would name another ledger there.
    """
    if urlsplit(store_uri).scheme != SCHEME:
        return
    absolute = with_as_of(uri_of(folder_of(store_uri)), split_as_of(store_uri)[1])
    if os.environ.get("MLFLOW_TRACKING_URI") == store_uri:
        os.environ["MLFLOW_TRACKING_URI"] = absolute
    if tracking_utils._tracking_uri == store_uri:  # noqa: SLF001  # there is no public way
        tracking_utils._tracking_uri = absolute  # noqa: SLF001


def text(value: object) -> str | None:
    """A tag's or param's value as an event carries it; MLflow lets numbers through."""
    return None if value is None else str(value)


def first(events: Sequence[Event]) -> Event:
    """The only event of a decision."""
    (event,) = events
    return event
