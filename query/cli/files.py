"""Files that a command reads or writes for its user; what fails is told with the path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_ledger.schemas import SettingsError

__all__ = ["create_file", "read_file", "read_text", "write_file"]


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file; ``what`` says what it should be.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot read {what} {str(path)!r}: {error.strerror}; name a file that can be read"
        raise _settings_error(msg) from error


def read_text(path: Path, what: str) -> str:
    """The text of a file; what is no UTF-8 comes garbled.

    Raises:
        SettingsError: it cannot be read.
    """
    return read_file(path, what).decode("utf-8", "replace")


def write_file(path: Path, text: str, what: str) -> None:
    """Write a text to a file, in the place of one that is there.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise _not_written(path, what, error) from error


def create_file(path: Path, text: str, mode: int, what: str) -> None:
    """Write a text to a file that is not there yet; nothing is overwritten.

    Raises:
        SettingsError: it is there, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
    except FileExistsError as error:
        msg = f"{str(path)!r} is there already, and is not overwritten; name another file"
        raise _settings_error(msg) from error
    except OSError as error:
        raise _not_written(path, what, error) from error


def _not_written(path: Path, what: str, error: OSError) -> SettingsError:
    return _settings_error(
        f"cannot write {what} {str(path)!r}: {error.strerror}; name a file in a folder that is "
        "there and can be written to"
    )


def _settings_error(message: str) -> SettingsError:
    from mlflow_ledger.schemas import SettingsError  # help is shown without it

    return SettingsError(message)
