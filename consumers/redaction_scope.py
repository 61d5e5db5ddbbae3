"""Which events a redaction is about."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_ledger.bus import Partition, Selection, Stored
from mlflow_ledger.schemas import (
    CommandRejected,
    ContentRedacted,
    DecodeError,
    RegisteredModelEvent,
    decode,
)

__all__ = ["CATALOG", "Scope", "scope_of"]

CATALOG: Partition = ("catalog", 0)
"""Where redactions are said."""


@dataclass(frozen=True)
class Scope:
    """Which events are about an entity; as in :class:`ContentRedacted`."""

    entity: str
    subjects: tuple[str, ...]
    model_uids: tuple[str, ...] = ()
    version_uids: tuple[str, ...] = ()

    @property
    def selection(self) -> Selection:
        """The records to look at; :meth:`holds` says of each whether it counts."""
        return Selection(subjects=self.subjects, below=self.subjects)

    def holds(self, stored: Stored) -> bool:
        """Whether a record of the selection is about the entity."""
        record = stored.record
        if record.envelope.type == ContentRedacted.__name__:
            return False
        if not self.model_uids and not self.version_uids:
            return True
        try:
            event = decode(record.envelope.type, record.head)
        except DecodeError:  # whoever cannot read it cannot say that it is about something else
            return True
        if self.version_uids and not isinstance(event, CommandRejected):
            return getattr(event, "version_uid", None) in self.version_uids
        if isinstance(event, RegisteredModelEvent):
            return event.model_uid in self.model_uids
        return record.envelope.subject.startswith(f"{self.entity}/") or (
            record.envelope.subject == self.entity or not self.version_uids
        )


def scope_of(event: ContentRedacted) -> Scope:
    """What a redaction is about."""
    return Scope(
        event.entity, tuple(event.subjects), tuple(event.model_uids), tuple(event.version_uids)
    )
