"""States of earlier snapshots, kept as what differs from the next one: for looking back."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from mlflow_ledger.bus import share
from mlflow_ledger.schemas import LogDamaged

from .fold import FOLD_VERSION
from .page_delta import apply_delta, file_digest, write_delta

__all__ = ["OlderState", "OlderStates", "Whole"]

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 4 * 1024 * 1024
_MOST = 200
"""How many are kept: the oldest goes. They lie about a tenth of all events apart."""


class Whole(Protocol):
    """A snapshot whose state is there as it is."""

    @property
    def folder(self) -> Path:
        """Where it is; the name of the folder is its own alone."""

    @property
    def state(self) -> Path:
        """The file."""

    @property
    def seq(self) -> int:
        """How many events it has folded."""

    @property
    def offset(self) -> int:
        """The offset of the last of them."""

    @property
    def digest(self) -> str:
        """The digest of the last of them, in hex."""


@dataclass(frozen=True)
class OlderState:
    """A state that ``seq`` events are folded in, by what differs in the one named ``base``."""

    folder: Path
    seq: int
    offset: int
    digest: str
    base: str
    fold_version: int
    size_bytes: int
    sha256: str

    @property
    def pages(self) -> Path:
        """The pages that differ."""
        return self.folder / "pages.zst"


class OlderStates:
    """The chain of earlier states, each by its difference from the next; the last is a snapshot."""

    def __init__(self, folder: Path) -> None:
        """Keep them in ``folder``, which is made when it is needed."""
        self._folder = folder

    def all(self) -> list[OlderState]:
        """Those of this version of the fold, oldest first."""
        found = []
        for manifest in self._folder.glob("[!.]*/manifest.json"):
            try:
                fields = json.loads(manifest.read_text("utf-8"))
                state = OlderState(folder=manifest.parent, **fields)
            except (OSError, ValueError, TypeError):
                continue
            if state.fold_version == FOLD_VERSION:
                found.append(state)
        return sorted(found, key=lambda state: state.seq)

    def keep(self, earlier: Whole, later: Whole) -> None:
        """Keep a snapshot's state that is about to go, by what differs in a later one."""
        target = self._folder / earlier.folder.name
        unfinished = self._folder / f".{earlier.folder.name}"
        for left in self._folder.glob(".*"):  # by whoever was killed here
            shutil.rmtree(left, ignore_errors=True)
        if not self._folder.is_dir():
            self._folder.mkdir()
            share(self._folder)
        try:
            unfinished.mkdir()
            share(unfinished)
            write_delta(earlier.state, later.state, unfinished / "pages.zst")
            state = OlderState(
                folder=target,
                seq=earlier.seq,
                offset=earlier.offset,
                digest=earlier.digest,
                base=later.folder.name,
                fold_version=FOLD_VERSION,
                size_bytes=earlier.state.stat().st_size,
                sha256=file_digest(unfinished / "pages.zst"),
            )
            fields = {k: v for k, v in asdict(state).items() if k != "folder"}
            (unfinished / "manifest.json").write_text(json.dumps(fields), "utf-8")
            for path in unfinished.iterdir():
                share(path)
            if not target.exists():
                unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        for state in self.all()[:-_MOST]:
            shutil.rmtree(state.folder, ignore_errors=True)

    def restore(
        self, target: Path, wholes: Sequence[Whole], fits: Callable[[Whole | OlderState], bool]
    ) -> Whole | OlderState | None:
        """Write the state with most events that ``fits`` to ``target``; None where there is none.

        One that turns out to be damaged, or whose successors are, is removed with a warning.
        """
        candidates: list[Whole | OlderState] = [*wholes, *self.all()]
        for found in sorted(
            candidates, key=lambda c: (c.seq, isinstance(c, OlderState)), reverse=True
        ):
            if not fits(found):
                continue
            try:
                self._write(found, {whole.folder.name: whole for whole in wholes}, target)
            except (OSError, LogDamaged) as error:
                target.unlink(missing_ok=True)
                if isinstance(error, OSError) and target.parent.is_dir() and found.folder.is_dir():
                    raise
                _log.warning("the state of event %s is left out: %s", found.offset, error)
                if isinstance(found, OlderState):
                    shutil.rmtree(found.folder, ignore_errors=True)
            else:
                return found
        return None

    def _write(self, found: Whole | OlderState, wholes: dict[str, Whole], target: Path) -> None:
        chain: list[OlderState] = []
        by_name = {state.folder.name: state for state in self.all()}
        while isinstance(found, OlderState):
            chain.append(found)
            base = found.base
            following = wholes.get(base) or by_name.get(base)
            if following is None or len(chain) > _MOST:
                msg = f"{base}, from which it differs, is not there"
                raise LogDamaged(msg)
            found = following
        if not chain:
            shutil.copyfile(found.state, target)
            return
        most_bytes = chain[0].size_bytes
        _copy_beginning(found.state, target, most_bytes)
        with target.open("r+b") as file:
            for state in reversed(chain):
                if file_digest(state.pages) != state.sha256:
                    msg = f"{state.pages} is damaged"
                    raise LogDamaged(msg)
                apply_delta(state.pages, file, most_bytes)


def _copy_beginning(path: Path, target: Path, most_bytes: int) -> None:
    with path.open("rb") as file, target.open("wb") as out:
        while most_bytes > 0 and (block := file.read(min(_BLOCK_BYTES, most_bytes))):
            out.write(block)
            most_bytes -= len(block)
