"""Publishing schemas as a duty: foreign readers find those of a new version where events stand."""

from __future__ import annotations

from .kafka_ledger import KafkaLedger

__all__ = ["SchemaPublishing"]


class SchemaPublishing:
    """Puts every released schema on the topic for them, once for each start of a service."""

    def __init__(self, ledger: KafkaLedger) -> None:
        """Publish to the cluster of ``ledger``."""
        self._ledger = ledger
        self.published = 0

    def round(self, seq: int) -> None:
        """Publish, unless that was done; ``seq`` does not matter."""
        if not self.published:
            self.published = self._ledger.kafka.publish_schemas()
