"""The file of a mirror: being a copy, it is copied again where it is damaged."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from mlflow_ledger.schemas import LogDamaged, LogUnavailable

from .failpoint import reach
from .sharing import BESIDE
from .sqlite_failures import SqliteFailures

__all__ = ["MirrorDamaged", "MirrorFailures", "mirror_damaged", "move_aside"]

_ASIDE = ".damaged"


class MirrorDamaged(LogDamaged):
    """A mirror cannot be read as it is; being a copy, it is copied again from the topics."""


class MirrorFailures(SqliteFailures):
    """As for any log, and one that is cut off is damaged as well."""

    __slots__ = ()

    def __init__(self, path: Path) -> None:
        """Of the mirror at ``path``."""
        super().__init__(path, mirror_damaged, ("log.sql", "mirror.sql"))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise what the error means, if it is one of SQLite's or of the file."""
        if isinstance(error, LogDamaged) and not isinstance(error, MirrorDamaged):
            raise mirror_damaged(self._path, "it is cut off") from error
        super().__exit__(kind, error, trace)


def mirror_damaged(path: Path, what: object) -> MirrorDamaged:
    """The error to raise where a mirror is not what was copied."""
    return MirrorDamaged(
        f"{path} is damaged ({what}). It is only this host's copy of the topics: `mlflow-ledger "
        "rebuild` copies them again, and so does whoever meets this while the brokers answer. "
        "What waits to be sent stands in another file"
    )


def move_aside(path: Path) -> Path:
    """Move a damaged mirror out of the way, with what SQLite keeps beside it; where it now is.

    One is kept, so that it can be looked at; an older one goes.

    Raises:
        LogUnavailable: it cannot be moved.
    """
    aside = path.with_name(f"{path.name}{_ASIDE}")
    try:
        for suffix in BESIDE:
            aside.with_name(aside.name + suffix).unlink(missing_ok=True)
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.replace(aside.with_name(aside.name + suffix))
        if path.exists():
            path.replace(aside)
    except OSError as error:
        msg = f"cannot move the damaged {path} to {aside}: {error.strerror}; remove it by hand"
        raise LogUnavailable(msg) from error
    reach("mirror.moved")
    return aside
