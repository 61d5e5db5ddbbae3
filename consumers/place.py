"""The folder of a ledger: where it may be, and whether it still is there."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_ledger.bus import Settings, check_local, share, uri_of
from mlflow_ledger.schemas import LogMissing, LogUnavailable, SettingsError

__all__ = ["REDACTING", "Place", "resolved"]

REDACTING = "redacting.json"
"""The file that stands in a ledger's folder while something is being erased."""

_SQLITE = b"SQLite format 3\0"


class Place:
    """The folder as this process has found it.

    It is looked at once, when it is first used, and held by a descriptor: should somebody move it
    while it is in use, nothing is made anew at the old place.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Look at nothing yet."""
        self._folder = folder
        self._settings = settings
        self._checked = self._ready = False
        self._held: int | None = None

    def check(self) -> None:
        """Look whether a ledger may be here, unless that was done before.

        Raises:
            LogUnavailable: the folder lies on a network file system.
            SettingsError: it is a file.
        """
        if self._checked:
            return
        try:
            if self._folder.is_file():
                raise SettingsError(_is_file(self._folder))
            if self._settings.network_folder == "refuse":
                check_local(self._folder)
            if self._folder.is_dir():
                self._hold()
        except OSError as error:
            msg = f"cannot use the ledger's folder {self._folder}: {error.strerror}"
            raise LogUnavailable(msg) from error
        self._checked = True

    def make(self) -> None:
        """Make the folder if it is not there, and keep hold of it.

        Raises:
            LogMissing: it was moved while this process had it open.
            LogUnavailable: it cannot be made.
            SettingsError: it is a file, or holds an MLflow file store and no ledger.
        """
        self.check()
        if self._ready and self._held is not None and self._stands():
            return
        try:
            if not self._folder.exists():
                self._check_not_moved()
                self._folder.mkdir(parents=True, exist_ok=True)
                share(self._folder)
            self._hold()
            self._check_no_file_store()
        except OSError as error:
            msg = f"cannot make or use the ledger's folder {self._folder}: {error.strerror}"
            raise LogUnavailable(msg) from error
        self._ready = True

    def _hold(self) -> None:
        self._let_go()
        self._held = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the folder; the next use looks at it again."""
        self._let_go()
        self._checked = self._ready = False

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
        self._held = None

    def _stands(self) -> bool:
        assert self._held is not None
        try:
            return os.path.samestat(os.fstat(self._held), os.stat(self._folder))  # noqa: PTH116  # at every write: pathlib takes thrice as long
        except FileNotFoundError:
            return False

    def _check_not_moved(self) -> None:
        if self._held is None or os.fstat(self._held).st_nlink == 0:
            return  # it was removed, not moved: a new one may begin
        try:
            there = Path(os.readlink(f"/proc/self/fd/{self._held}"))  # noqa: PTH115  # a link of the kernel's, no path
        except OSError:
            there = None
        where = f"to {there}" if there else "away"
        uri = uri_of(there) if there else "its new place"
        msg = (
            f"{self._folder} was moved {where} while it was in use; nothing is lost: set "
            f"MLFLOW_TRACKING_URI to {uri} and start again"
        )
        raise LogMissing(msg)

    def _check_no_file_store(self) -> None:
        """A ledger would lie among runs that it does not know."""
        if (self._folder / "log.sqlite").exists():
            return
        if any(self._folder.glob("*/meta.yaml")):
            msg = (
                f"{self._folder} holds an MLflow file store (it has */meta.yaml), which a ledger "
                "does not read; name another folder, or file:// to go on with that store"
            )
            raise SettingsError(msg)


def resolved(folder: Path) -> Path:
    """The folder without symbolic links; it may not be there yet.

    Raises:
        SettingsError: the links go in a circle.
    """
    try:
        return folder.resolve()
    except (OSError, RuntimeError) as error:
        msg = f"{folder} leads nowhere: {error}"
        raise SettingsError(msg) from error


def _is_file(path: Path) -> str:
    what = "a file"
    try:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                what = "a SQLite file"
    except OSError:
        pass
    return (
        f"{path} is {what}, and a ledger is a folder: name a folder, as in ledger:./store, or "
        f"sqlite:///{path} for MLflow's own store in that file"
    )
