"""What librdkafka says of failures, in our words."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError

from mlflow_ledger.schemas import LogUnavailable

from .kafka_failures import denied, unavailable, unheard
from .kafka_settings import KafkaPlace, KafkaSettings

__all__ = ["PASSING", "Trouble", "codes"]


def codes(*names: str) -> frozenset[int]:
    """The numbers of errors; librdkafka's own begin with an underscore."""
    return frozenset(getattr(KafkaError, name) for name in names)


PASSING = codes(
    "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH", "OFFSET_NOT_AVAILABLE", "REQUEST_TIMED_OUT", "_TRANSPORT",
    "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_AUTHENTICATION", "_RESOLVE", "_SSL",
)  # fmt: skip
"""What passes as soon as a broker comes back, another one leads, or we are let in."""

_SILENT = PASSING | codes("_MSG_TIMED_OUT", "_PURGE_QUEUE", "_PURGE_INFLIGHT")
_DENIED = codes("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED")


class Trouble:
    """What librdkafka last complained of, for the errors of those who wait in vain."""

    def __init__(self, place: KafkaPlace, settings: KafkaSettings) -> None:
        """Nothing yet."""
        self._place = place
        self._settings = settings
        self._last: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """Keep it."""
        self._last = error

    def failed(
        self, error: KafkaError, operation: str, topics: Iterable[str] = ()
    ) -> LogUnavailable:
        """The error to raise for one of librdkafka; see ``kafka_failures.failure``."""
        if error.code() in _DENIED:
            return denied(self._place, self._settings, operation, topics)
        what = f"{error.name()}: {error.str()}"
        if error.code() in _SILENT:
            return self.unheard(what)
        return unavailable(self._place, f"{what}{self}")

    def unheard(self, what: str) -> LogUnavailable:
        """The error to raise where nobody answered."""
        return unheard(self._place, self._settings, f"{what}{self}")

    def __str__(self) -> str:
        """The words to add to an error."""
        return "" if self._last is None else f"; last trouble: {self._last.str()}"
