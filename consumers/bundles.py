"""Bundles in the blob store: whoever follows a ledger publishes them, new hosts begin with one."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore

from mlflow_ledger.bus import MirrorLog, reach, share
from mlflow_ledger.schemas import ArtifactError

from .blob_place import explained, opened
from .bundle import Bundle, Packed, pack
from .fold import FOLD_VERSION
from .redaction_scope import CATALOG
from .replica import Replica

if TYPE_CHECKING:
    from .snapshots import Snapshot

__all__ = ["Bundles"]

_log = logging.getLogger(__name__)

_KEPT = 2
_PIECE_BYTES = 1024 * 1024
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
_UNDER_WAY = timedelta(minutes=10)
_STRAY_FOR = timedelta(hours=6)
"""Files that no manifest names are another's upload under way, or after this time nobody's."""


class Bundles:
    """The bundles of one ledger on one cluster, for one version of the fold.

    They stand at ``snapshots/<ledger id>/<fold version>/``: first the files, under names that
    nobody else uses, at last the manifest, which is only written where there is none of that
    position. So a bundle is whole or is not there, and of several publishers one comes first.
    """

    def __init__(self, place: Path | str, replica: Replica) -> None:
        """Keep them at a folder, or an object store's URL; nothing is asked of it yet."""
        self._place = place
        self._replica = replica
        self._prefix = f"snapshots/{replica.ledger_id}/{FOLD_VERSION}"
        self._opened: ObjectStore | None = None

    def __str__(self) -> str:
        """Where they are, for messages."""
        return f"{self._place}/{self._prefix}"

    def newest(self) -> Bundle | None:
        """The newest bundle that is of just these topics; others are named, and left out.

        Raises:
            ArtifactError: the store does not answer.
        """
        for key in reversed(self._manifests()):
            bundle = self._read(key)
            if bundle is not None and self._fits(bundle):
                return bundle
        return None

    def publish(self, mirror: MirrorLog, snapshot: Snapshot) -> Bundle | None:
        """Publish a mirror with a snapshot folded from it; None where another came first.

        The mirror may go on meanwhile: what is published is a copy at one moment, which holds all
        that the snapshot has folded.

        Raises:
            ArtifactError: the store does not take it; nothing of it is left, or it is never used.
        """
        self._make_folders()
        with tempfile.TemporaryDirectory(prefix="mlflow-ledger-bundle-") as name:
            folder = Path(name)
            position, events = mirror.copy_to(folder / "log.sqlite")
            sources = {
                "log.sqlite": folder / "log.sqlite",
                "state.sqlite": snapshot.state,
                "analytics.duckdb": snapshot.analytics,
            }
            files = self._upload(sources, folder)
            reach("bundle.uploaded")
            bundle = Bundle(
                ledger_id=self._replica.ledger_id,
                facts=self._replica.facts(),
                fold_version=FOLD_VERSION,
                duckdb_version=snapshot.duckdb_version,
                position=str(position),
                events=events,
                seq=snapshot.seq,
                offset=snapshot.offset,
                digest=snapshot.digest,
                files=files,
            )
        try:
            with self._failures("write a snapshot to"):
                obstore.put(self._store, self._key(bundle), bundle.encoded(), mode="create")
        except FileExistsError:
            self._remove(file.key for file in files.values())
            return None
        self._share_all()
        self.retire()
        return bundle

    def fetch(self, file: Packed, target: Path) -> Iterator[int]:
        """Write a file of a bundle to ``target``, as it is in the store; gives its growing size.

        Raises:
            ArtifactError: it is not there (any more), is longer than the bundle says, or the store
                does not answer.
        """
        size_bytes = 0
        with self._failures("read a snapshot from"), target.open("wb") as out:
            for piece in obstore.get(self._store, file.key).stream(_PIECE_BYTES):
                size_bytes += out.write(piece)
                yield size_bytes
                if size_bytes > file.packed_bytes:
                    msg = f"{file.key} in {self._place} is longer than its bundle says"
                    raise ArtifactError(msg)

    def retire(self) -> None:
        """Remove all but the newest two, and what broken-off uploads have left."""
        manifests = self._manifests()
        old, kept = manifests[:-_KEPT], manifests[-_KEPT:]
        gone, found = [self._read(key) for key in old], [self._read(key) for key in kept]
        self._remove(old)
        self._remove(file.key for bundle in gone if bundle for file in bundle.files.values())
        if not all(found):
            return  # files of a manifest that cannot be read just now would seem to be nobody's
        named = {file.key for bundle in found if bundle for file in bundle.files.values()}
        limit = datetime.now(UTC) - _STRAY_FOR
        files = self._files() if old else []
        self._remove(key for key, changed in files if key not in named and changed < limit)

    def remove_before(self, place: int) -> None:
        """Remove every bundle that was made before the event at this offset of the catalog.

        Those of other versions of the fold too, and what a publisher has left that was killed.

        Raises:
            ArtifactError: the store does not answer.
        """
        root = f"snapshots/{self._replica.ledger_id}"
        found = self._all(root)
        manifests = [key for key, _ in found if key.endswith(".json")]
        bundles = {key: self._read(key) for key in manifests}
        old = [k for k, b in bundles.items() if b is None or not b.covers(CATALOG, place)]
        self._remove(old)
        named = {
            file.key
            for key, bundle in bundles.items()
            if bundle is not None and key not in old
            for file in bundle.files.values()
        }
        limit = datetime.now(UTC) - _UNDER_WAY
        of_old = {f.key for k in old if (b := bundles[k]) for f in b.files.values()}
        self._remove(
            key
            for key, changed in found
            if key in of_old or (key not in named and key not in manifests and changed < limit)
        )
        if any(key in of_old or key in old for key, _ in self._all(root)):
            msg = f"snapshots that hold what was erased cannot be removed from {self._place}"
            raise ArtifactError(msg)

    def remove(self, bundle: Bundle) -> None:
        """Remove one bundle."""
        self._remove([self._key(bundle), *(file.key for file in bundle.files.values())])

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = opened(self._place)
        return self._opened

    def _key(self, bundle: Bundle) -> str:
        return f"{self._prefix}/{bundle.name}.json"

    def _upload(self, sources: dict[str, Path], folder: Path) -> dict[str, Packed]:
        upload = uuid.uuid4().hex
        files = {}
        for name, path in sources.items():
            packed = folder / f"{name}.zst"
            try:
                said = pack(path, packed, f"{self._prefix}/{upload}/{name}.zst")
            except FileNotFoundError as error:
                msg = f"{path} has just been replaced by another process; publish again"
                raise ArtifactError(msg) from error
            with self._failures("write a snapshot to"):
                obstore.put(
                    self._store, said.key, packed,
                    chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE,
                )  # fmt: skip
            packed.unlink()
            files[name] = said
        return files

    def _manifests(self) -> list[str]:
        return sorted(key for key, _ in self._all() if self._is_manifest(key))

    def _files(self) -> list[tuple[str, datetime]]:
        return [(key, changed) for key, changed in self._all() if not self._is_manifest(key)]

    def _is_manifest(self, key: str) -> bool:
        return key.endswith(".json") and key.count("/") == self._prefix.count("/") + 1

    def _all(self, prefix: str | None = None) -> list[tuple[str, datetime]]:
        prefix = prefix or self._prefix
        if isinstance(self._place, Path) and not (self._place / prefix).is_dir():
            return []
        with self._failures("list the snapshots in"):
            return [
                (str(meta["path"]), meta["last_modified"])
                for batch in obstore.list(self._store, prefix=prefix)
                for meta in batch
            ]

    def _read(self, key: str) -> Bundle | None:
        try:
            with self._failures("read a snapshot from"):
                data = bytes(obstore.get(self._store, key).bytes())
            bundle = Bundle.parse(data)
        except (ArtifactError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("the snapshot %s in %s is left out: %s", key, self._place, error)
            return None
        return bundle

    def _fits(self, bundle: Bundle) -> bool:
        wanted = (self._replica.ledger_id, self._replica.facts(), FOLD_VERSION)
        if (bundle.ledger_id, bundle.facts, bundle.fold_version) == wanted:
            return True
        _log.warning("the snapshot %s in %s is of other topics; left out", bundle.name, self)
        return False

    def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                with self._failures("remove an old snapshot from"):
                    obstore.delete(self._store, key)
            except ArtifactError as error:
                _log.warning("%s", error)

    def _make_folders(self) -> None:
        """Make the folders, for whoever may write to the place."""
        if isinstance(self._place, Path):
            folder = self._place
            for name in ("", *self._prefix.split("/")):
                folder = folder / name
                if not folder.is_dir():
                    folder.mkdir(parents=True, exist_ok=True)
                    share(folder)

    def _share_all(self) -> None:
        if isinstance(self._place, Path):
            for path in (self._place / self._prefix).rglob("*"):
                share(path)

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """The store's errors as ours; what it says may hold secrets, and is no cause of ours."""
        try:
            yield
        except AlreadyExistsError:
            raise FileExistsError from None
        except (NotFoundError, FileNotFoundError):
            msg = f"cannot {what} {self._place}: it is not there; another may have removed it"
            raise ArtifactError(msg) from None
        except (BaseError, OSError) as error:
            msg = f"cannot {what} {self._place}: {explained(error)}"
            raise ArtifactError(msg) from None
