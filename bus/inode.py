"""Which file stands at a path."""

from __future__ import annotations

import os

from mlflow_ledger.schemas import LogUnavailable

__all__ = ["inode_of"]


def inode_of(path: str) -> int:
    """The number of the file that now stands at a path, 0 where there is none.

    It is asked at every read and write, and takes a text: of a path it takes thrice as long.

    Raises:
        LogUnavailable: it cannot be known.
    """
    try:
        return os.stat(path).st_ino  # noqa: PTH116  # as said above
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise LogUnavailable(msg) from error
