"""The first event of a ledger."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_ledger.bus import RULES
from mlflow_ledger.schemas import LedgerCreated, TopicPartitions

__all__ = ["beginning", "root_of"]


def beginning(
    ledger_id: str, partitions: Mapping[str, int], root: str, *, erasable: bool = False
) -> LedgerCreated:
    """What a log says first; ``partitions`` is how many each topic has, ``root`` for artifacts."""
    return LedgerCreated(
        ledger_id=ledger_id,
        partitions=[TopicPartitions(topic=topic, count=n) for topic, n in partitions.items()],
        rules=RULES,
        erasable=erasable,
        artifact_root=root,
    )


def root_of(ledger_id: str) -> str:
    """Where artifacts of new experiments go, unless a server says otherwise."""
    return f"ledger-artifacts://{ledger_id}"
