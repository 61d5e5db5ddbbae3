"""A version's story as a bundle that others check without us."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

from mlflow_ledger.schemas import LedgerError, format_time, released_schemas

from .detail import full
from .environment import EnvironmentFile
from .picture import dot, svg
from .plainly import plainly
from .prove import proof_of
from .statement import statement_of
from .story import Story
from .story_rows import StoryRow
from .verdicts import Judged

__all__ = ["Bundled", "NotWritten", "bundle"]

FORMAT = "mlflow-ledger-bundle-v1"

Told = Callable[[str, int, int], None]

_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16
_PIECE = 1 << 20
_TELL_EVERY = 100
_MARKER_BYTES = 2
_HEADER_BYTES = 10


class NotWritten(LedgerError):
    """A bundle could not be written."""


class Bundled(NamedTuple):
    """What was written; ``digest`` is that of SHA256SUMS, and so of all of it.

    ``unproved`` says why there is no proof in it, where there is none.
    """

    path: Path
    digest: str
    files: int
    events: int
    unproved: str | None


def bundle(story: Story, target: Path, told: Told | None = None) -> Bundled:
    """Write the bundle of a story to a zip file; the same story gives the same bytes.

    ``told`` hears what is done, how far, and of how much.

    Raises:
        NotWritten: the file cannot be written.
    """
    try:
        with TemporaryDirectory(prefix="mlflow-ledger-bundle-") as folder:
            making = _Making(story, Path(folder), told or (lambda *_: None))
            making.make()
            return making.zipped(target)
    except OSError as error:
        msg = f"cannot write the bundle {target}: {error.strerror or error}"
        raise NotWritten(msg) from error


class _Making:
    """The files of one bundle, in a folder of their own until they are put together."""

    def __init__(self, story: Story, folder: Path, told: Told) -> None:
        self._story = story
        self._folder = folder
        self._told = told
        self._schemas: set[bytes] = set()
        self._events = 0
        self._environment: list[dict[str, Any]] = []
        self._unproved: str | None = None

    def make(self) -> None:
        """Write every file."""
        found = self._story.lineage
        with self._new("records.jsonl") as records, self._new("events.jsonl") as events:
            for entry in self._story.judged():
                self._event(entry, records, events)
                self._tell("writing events", self._events)
        self._rows()
        self._document("lineage.json", plainly(found))
        self._text("lineage.svg", svg(found.graph, f"Lineage of {found.uri}"))
        self._text("lineage.dot", dot(found.graph))
        for fingerprint in sorted(self._schemas):
            schema = released_schemas().get(fingerprint)
            if schema is not None:
                self._document(f"schemas/{schema['name']}.{fingerprint.hex()}.avsc", schema)
        for file in found.environment:
            self._environment_file(file)
        self._proof()
        told = {name: self._digest(name) for name in ("events.jsonl", "story.json")}
        ledger_id = self._story.ledger.ledger_id
        self._document("provenance.intoto.json", statement_of(found, ledger_id, told))
        readme = _of_package("bundle_readme.md").format(uri=found.uri, ledger_id=ledger_id)
        self._text("README.md", readme)
        self._text("check.py", _of_package("bundle_check.py"))
        self._document("manifest.json", self._manifest())
        sums = (f"{self._digest(name)}  {name}\n" for name in self._names())
        self._text("SHA256SUMS", "".join(sums))

    def zipped(self, target: Path) -> Bundled:
        """Put the files together, sorted, uncompressed, each with the same time and rights."""
        names = self._names()
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
                for number, name in enumerate(names, 1):
                    self._told("packing files", number, len(names))
                    info = zipfile.ZipInfo(name, _TIME)
                    info.create_system, info.external_attr = 3, _MODE
                    path = self._folder / name
                    info.file_size = path.stat().st_size
                    with path.open("rb") as file, archive.open(info, "w") as member:
                        while piece := file.read(_PIECE):
                            member.write(piece)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        return Bundled(target, self._digest("SHA256SUMS"), len(names), self._events, self._unproved)

    def _tell(self, what: str, done: int) -> None:
        of = len(self._story.places)
        if done % _TELL_EVERY == 0 or done == of:
            self._told(what, done, of)

    def _event(self, entry: Judged, records: IO[bytes], events: IO[bytes]) -> None:
        stored, event, verdict = entry
        record = stored.record
        log = self._story.ledger.log
        topic, partition = log.stream(stored)
        position = log.place(stored)
        offset = int(position.rsplit("~", 1)[1].lstrip("crta").rsplit(".", 1)[-1])
        content, digest = record.content, record.content_digest
        if record.envelope.keyid is not None:  # nobody but us could read it, and its key may go
            content, digest = None, record.inner_digest()
        raw = {
            "position": position, "topic": topic, "partition": partition, "offset": offset,
            "header": _base64(record.envelope.canonical()), "head": _base64(record.head),
            "content": None if content is None else _base64(content),
            "content_digest": None if digest is None else digest.hex(),
            "digest": record.digest().hex(),
        }  # fmt: skip
        document = {
            "position": position, "appended": format_time(stored.append_ms),
            **record.envelope.attributes(), "digest": raw["digest"], "verdict": verdict.kind,
            "code": verdict.code, "message": verdict.message,
            "redacted": record.redacted,
            "data": None if event is None else plainly(full(event)),
        }  # fmt: skip
        records.write(_line(raw))
        events.write(_line(document))
        self._schemas.add(record.head[_MARKER_BYTES:_HEADER_BYTES])
        self._events += 1

    def _rows(self) -> None:
        """The story as JSON and as text, row by row."""
        story = self._story
        said = {"version": story.lineage.uri, "ledger": story.ledger.ledger_id}
        with self._new("story.json") as document, self._new("story.txt") as text:
            opening = json.dumps(said | {"position": story.position}, ensure_ascii=False)
            document.write(f'{opening[:-1]}, "rows": ['.encode())
            done = 0
            for number, row in enumerate(story.rows()):
                done += row.events
                self._tell("telling the story, events", done)
                document.write((b",\n" if number else b"\n") + _line(plainly(row))[:-1])
                text.write(_sentence(row).encode("utf-8", "backslashreplace"))
            document.write(b"\n]}\n")

    def _proof(self) -> None:
        """The proof of the version by the newest signed checkpoint, if there is one."""
        story = self._story
        try:
            found = story.lineage
            proof = proof_of(story.ledger, found.uri, workspace=found.version.workspace)
        except LedgerError as error:
            self._unproved = str(error)
        else:
            self._document("proofs/version.json", proof.as_json())
            self._text("proofs/proof_check.py", _of_package("proof_check.py"))

    def _environment_file(self, file: EnvironmentFile) -> None:
        name = None
        if file.text is not None:
            data = b"".join(self._story.ledger.carrier.read(file.digest, 0))
            name = f"environment/{file.model_id}/{file.path.rsplit('/', 1)[-1]}"
            with self._new(name) as target:
                target.write(data)
        said = {"path": file.path, "digest": file.digest, "file": name, "note": file.note}
        self._environment.append(said)

    def _manifest(self) -> dict[str, Any]:
        story = self._story
        return {
            "format": FORMAT,
            "version": story.lineage.uri,
            "version_uid": story.lineage.version.uid,
            "ledger": story.ledger.ledger_id,
            "position": story.position,
            "events": self._events,
            "artifacts": [asdict(artifact) for artifact in story.lineage.artifacts],
            "environment": self._environment,
            "files": {
                name: {
                    "sha256": self._digest(name),
                    "size_bytes": (self._folder / name).stat().st_size,
                }
                for name in self._names()
            },
        }

    def _names(self) -> list[str]:
        there = (path for path in self._folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._folder).as_posix() for path in there)

    def _new(self, name: str) -> IO[bytes]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")

    def _text(self, name: str, text: str) -> None:
        with self._new(name) as file:
            file.write(text.encode("utf-8", "backslashreplace"))

    def _document(self, name: str, value: Any) -> None:
        with self._new(name) as file:
            file.write(_line(value, indent=2))

    def _digest(self, name: str) -> str:
        with (self._folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _of_package(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _line(value: Any, indent: int | None = None) -> bytes:
    """A value as JSON; half of a character pair, which is no UTF-8, as an escape."""
    try:
        return f"{json.dumps(value, ensure_ascii=False, indent=indent)}\n".encode()
    except UnicodeEncodeError:
        return f"{json.dumps(value, indent=indent)}\n".encode()


def _sentence(row: StoryRow) -> str:
    """One row as a line of text."""
    times = f" ({row.events} events)" if row.events > 1 else ""
    said = json.dumps(plainly(row.detail), ensure_ascii=False, sort_keys=False)
    why = "" if row.verdict == "accepted" else f" {row.verdict}: {row.message}"
    parts = (row.time, row.chapter, f"{row.actor} ({row.actorkind})", row.action, row.entity)
    shown = "  ".join(parts) + times + why + ("" if said == "{}" else f"  {said}")
    return "".join(c if c.isprintable() else "�" for c in shown) + "\n"
