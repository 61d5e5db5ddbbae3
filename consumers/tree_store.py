"""Where a tree's tiles and checkpoints are kept: files below one prefix of the blob store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore

from mlflow_ledger.bus import is_shared, share
from mlflow_ledger.schemas import ArtifactError

from .blob_place import explained, opened
from .checkpoint import unchecked
from .note import NoteInvalid
from .tiles import Tile

__all__ = ["TreeStore"]

_NEWEST = "checkpoint"
_SIZE = re.compile(r"checkpoints/(0|[1-9][0-9]*)")
_FILES_AT_ONCE = 8


class TreeStore:
    """The files of one tree, at ``trees/<ledger id>[/<topic>/<partition>]/``.

    Tiles and the checkpoints in ``checkpoints/`` are written once. ``checkpoint`` is a copy of
    the newest of those, where other programs look for it.
    """

    def __init__(self, place: Path | str, origin: str) -> None:
        """Keep them at a folder, or an object store's URL; nothing is asked of it yet."""
        self._place = place
        self.prefix = f"trees/{origin.partition('/')[2]}"
        self._opened: ObjectStore | None = None
        self._made: dict[str, bool] = {}

    def __str__(self) -> str:
        """Where it is, for messages."""
        return f"{self._place}/{self.prefix}"

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where there is none.

        Raises:
            ArtifactError: the store does not answer.
        """
        if isinstance(self._place, Path):
            try:
                return self._path(name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise self._failed("read", error) from None
        try:
            return bytes(obstore.get(self._store, f"{self.prefix}/{name}").bytes())
        except (NotFoundError, FileNotFoundError):
            return None
        except (BaseError, OSError) as error:
            raise self._failed("read", error) from None

    def note(self, name: str) -> str | None:
        """The text of a checkpoint, None where there is none; what is no text comes garbled."""
        data = self.read(name)
        return None if data is None else data.decode("utf-8", "replace")

    def newest(self) -> str | None:
        """The newest checkpoint as it stands there, whoever has signed it; None where none is."""
        note = self.note(_NEWEST)
        try:
            if note is not None:
                unchecked(note)
                return note
        except NoteInvalid:
            pass
        kept = self.checkpoints()
        return self.note(f"checkpoints/{kept[-1]}") if kept else note

    def checkpoints(self) -> list[int]:
        """The sizes of which a checkpoint was kept, the smallest first."""
        found = (_SIZE.fullmatch(name) for name in self.names("checkpoints"))
        return sorted(int(match.group(1)) for match in found if match)

    def keep(self, size: int, note: str) -> None:
        """Keep a checkpoint; one of that size that is there already stays."""
        self.write([(f"checkpoints/{size}", note.encode())])
        with self._failures("write"):
            self._make_folders(_NEWEST)
            obstore.put(self._store, f"{self.prefix}/{_NEWEST}", note.encode())
            self._share(_NEWEST)

    def write(self, files: Iterable[tuple[str, bytes]]) -> list[str]:
        """Write files where there are none; the names of those where another one stands.

        Raises:
            ArtifactError: the store does not take them.
        """
        wanted = list(files)
        with self._failures("write"):
            if isinstance(self._place, Path):
                there = [name for name, data in wanted if not self._create(name, data)]
            else:
                with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
                    made = pool.map(lambda file: self._create(*file), wanted)
                    there = [file[0] for file, new in zip(wanted, made, strict=True) if not new]
        others = dict(wanted)
        return [name for name in there if self.read(name) != others[name]]

    def replace(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Write files in the place of those that are there."""
        with self._failures("write"):
            for name, data in files:
                obstore.put(self._store, f"{self.prefix}/{name}", data)

    def names(self, below: str) -> list[str]:
        """The names of all files below a folder of the tree."""
        prefix = f"{self.prefix}/{below}"
        if isinstance(self._place, Path) and not (self._place / prefix).is_dir():
            return []
        with self._failures("list"):
            return [
                str(meta["path"]).removeprefix(f"{self.prefix}/")
                for batch in obstore.list(self._store, prefix=prefix)
                for meta in batch
            ]

    def remove_partial(self, full: Tile) -> None:
        """Remove the partial tiles of one that is full now."""
        with self._failures("remove a partial tile from"):
            for name in self.names(f"{full.name}.p"):
                obstore.delete(self._store, f"{self.prefix}/{name}")

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            if isinstance(self._place, Path):
                self._make_folder(self._place)
            self._opened = opened(self._place)
        return self._opened

    def _create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there; whether it was not."""
        self._make_folders(name)
        try:
            if isinstance(self._place, Path) and name.startswith("tile/"):
                _write_tile(f"{self._place}/{self.prefix}/{name}", data)
            else:
                obstore.put(self._store, f"{self.prefix}/{name}", data, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        if self._made.get(name.rpartition("/")[0]):
            self._share(name)
        return True

    def _path(self, name: str) -> Path:
        assert isinstance(self._place, Path)
        return self._place / self.prefix / name

    def _share(self, name: str) -> None:
        if isinstance(self._place, Path):
            share(self._path(name))

    def _make_folders(self, name: str) -> None:
        """Make the folders of a file, for whoever may write to the place.

        Whether files in it need to be shared is looked up with that, and not for each tile.
        """
        folder = name.rpartition("/")[0]
        if isinstance(self._place, Path) and folder not in self._made:
            path = self._path(name).parent
            self._make_folder(path)
            self._made[folder] = is_shared(path)

    @staticmethod
    def _make_folder(folder: Path) -> None:
        missing = [folder, *folder.parents]
        for made in reversed([path for path in missing if not path.is_dir()]):
            made.mkdir(exist_ok=True)
            share(made)

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """The store's errors as ours; what it says may hold secrets, and is no cause of ours."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self._failed(what, error) from None

    def _failed(self, what: str, error: Exception) -> ArtifactError:
        return ArtifactError(f"cannot {what} the tree in {self}: {explained(error)}")


def _write_tile(path: str, data: bytes) -> None:
    """Write a tile where there is none; in a quarter of the time that obstore takes.

    Of a process that is killed half of one may be left. No checkpoint names it: that comes later.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
