"""Small objects under names of their own, in a folder or an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore

from mlflow_ledger.bus import share
from mlflow_ledger.schemas import ArtifactError, BlobMissing

from .blob_place import explained, opened

__all__ = ["ObjectPlace"]


class ObjectPlace:
    """Objects at a place, each put there whole; nothing is asked of the place before it is needed.

    What a store's own error says may hold secrets: it is never the cause of one of ours.
    """

    def __init__(self, place: Path | str) -> None:
        """Keep them in a folder (a path, made when needed) or at an object store's URL."""
        self.place = place
        self._opened: ObjectStore | None = None

    def __str__(self) -> str:
        """The place, for messages."""
        return str(self.place)

    def put(self, key: str, data: bytes, *, create: bool = False) -> bool:
        """Keep an object; with ``create`` only where there is none: whether it was written.

        Raises:
            ArtifactError: the store does not take it.
        """
        self._make_folders(key)
        try:
            with self._failures("write", key):
                obstore.put(self._store, key, data, mode="create" if create else "overwrite")
        except FileExistsError:
            return False
        if isinstance(self.place, Path):
            share(self.place / key)
        return True

    def get(self, key: str) -> bytes:
        """An object's bytes.

        Raises:
            BlobMissing: it is not there.
            ArtifactError: it cannot be read.
        """
        with self._failures("read", key):
            self._check_there(key)
            return bytes(obstore.get(self._store, key).bytes())

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            with self._failures("remove", key):
                self._check_there(key)
                obstore.delete(self._store, key)
        except BlobMissing:
            return

    def keys(self, prefix: str) -> list[str]:
        """The names of all objects below a prefix, in order."""
        if isinstance(self.place, Path) and not (self.place / prefix).is_dir():
            return []
        with self._failures("list", prefix):
            return sorted(
                str(meta["path"])
                for batch in obstore.list(self._store, prefix=prefix)
                for meta in batch
            )

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = opened(self.place)
        return self._opened

    def _check_there(self, key: str) -> None:
        """Where there is no folder yet nothing is there: to look is no reason to make it."""
        if isinstance(self.place, Path) and not (self.place / key).is_file():
            raise FileNotFoundError(key)

    def _make_folders(self, key: str) -> None:
        """Make the folders of an object, for whoever may write to the place."""
        if not isinstance(self.place, Path):
            return
        try:
            folders = [self.place / parent for parent in PurePosixPath(key).parents]
            for folder in reversed(folders):
                if not folder.is_dir():
                    folder.mkdir(parents=True, exist_ok=True)
                    share(folder)
        except OSError as error:
            msg = f"cannot write {key} to {self}: {explained(error)}"
            raise ArtifactError(msg) from None

    @contextmanager
    def _failures(self, what: str, key: str) -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError:
            raise FileExistsError(key) from None
        except (NotFoundError, FileNotFoundError):
            msg = f"{key} is not in {self}"
            raise BlobMissing(msg) from None
        except (BaseError, OSError) as error:
            msg = f"cannot {what} {key} in {self}: {explained(error)}"
            raise ArtifactError(msg) from None
