"""Every error that a ledger raises on purpose.

LedgerError
├── DecodeError          bytes that are no event of ours
├── Refused              a command that the rules refuse; carries a Reason
├── SettingsError        a URI or setting that makes no sense
├── PastReadOnly         a write to a ledger as it was at an earlier moment
├── StatementRefused     SQL of ours that SQLite does not take
├── LogError             the log cannot be used as it is
│   ├── LogMissing       there is none
│   ├── LogUnavailable   it is there, and cannot be read or written now
│   ├── LogDamaged       its bytes are not what was written
│   ├── LogForeign       it is another ledger's, or of a newer version
│   ├── RecordRefused    it will never take this record
│   └── IdentityConflict one identity, two digests
└── ArtifactError        a blob is missing or is not what its digest says
    └── BlobMissing      it is not in the blob store
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ArtifactError",
    "BlobMissing",
    "DecodeError",
    "IdentityConflict",
    "LedgerError",
    "LogDamaged",
    "LogError",
    "LogForeign",
    "LogMissing",
    "LogUnavailable",
    "PastReadOnly",
    "Reason",
    "RecordRefused",
    "Refused",
    "SettingsError",
    "StatementRefused",
]


class LedgerError(Exception):
    """The base of all errors raised on purpose; says what failed and what to do next."""


class DecodeError(LedgerError, ValueError):
    """Bytes that are no event of ours: foreign, garbled, or of a schema not known here."""


class Reason(StrEnum):
    """Why a command was refused, in the words of MLflow's error codes."""

    EXISTS = "RESOURCE_ALREADY_EXISTS"
    MISSING = "RESOURCE_DOES_NOT_EXIST"
    INVALID = "INVALID_PARAMETER_VALUE"
    STATE = "INVALID_STATE"
    INTERNAL = "INTERNAL_ERROR"
    BAD_REQUEST = "BAD_REQUEST"
    DENIED = "PERMISSION_DENIED"


class Refused(LedgerError):
    """A command that the rules refuse."""

    def __init__(self, reason: Reason, message: str, event: object = None) -> None:
        """Refuse for a reason, in words for the caller.

        ``event`` is what the command would have said, where it is known: the audit keeps it.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.event = event


class SettingsError(LedgerError, ValueError):
    """A URI or setting that makes no sense."""


class PastReadOnly(LedgerError):
    """A ledger as it was at an earlier moment takes no writes."""


class StatementRefused(LedgerError):
    """A statement that SQLite does not take: a mistake of ours, or of who asked; no damage."""


class LogError(LedgerError):
    """The log cannot be used as it is."""


class LogMissing(LogError):
    """There is no log at that place."""


class LogUnavailable(LogError):
    """The log is there, and cannot be read or written now."""


class LogDamaged(LogError):
    """The log's bytes are not what was written."""


class LogForeign(LogError):
    """The log is another ledger's, or a newer program's."""


class RecordRefused(LogError):
    """The log does not take this record, however often it is asked; others it does."""


class IdentityConflict(LogError):
    """One (source, id) came with two digests."""


class ArtifactError(LedgerError):
    """A blob is missing, or is not what its digest says."""


class BlobMissing(ArtifactError):
    """A blob is not in the blob store."""
