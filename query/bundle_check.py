"""Check a bundle that ``mlflow-ledger replay --bundle`` has made: ``python3 check.py [PLACE]``.

It needs Python 3.9 or later and nothing else. PLACE is a folder or a zip, by default the folder of
this file. What does not hold is printed, and the status is 1. See README.md.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["check", "main"]

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n\\]+)")
_HEADER_BYTES = 10
_METRIC_COLUMNS = {"key": "I", "value": "d", "timestamp": "q", "step": "q", "model": "I"}
_UNREADABLE = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, struct.error,
    zipfile.BadZipFile,
)  # fmt: skip


class Bundle:
    """The files of a bundle, in a folder or in a zip."""

    def __init__(self, place: Path) -> None:
        """Open what is at a path."""
        self._folder = place
        self._zip = None if place.is_dir() else zipfile.ZipFile(place)

    def names(self) -> list[str]:
        """All files, by their paths in the bundle."""
        if self._zip is not None:
            return sorted(self._zip.namelist())
        there = (path for path in self._folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._folder).as_posix() for path in there)

    def open(self, name: str) -> IO[bytes]:
        """A file, to be read as bytes."""
        if self._zip is not None:
            return self._zip.open(name)
        return (self._folder / name).open("rb")

    def read(self, name: str) -> bytes:
        """All bytes of a file."""
        with self.open(name) as file:
            return file.read()

    def document(self, name: str) -> Any:
        """A file of JSON."""
        return json.loads(self.read(name).decode("utf-8"))

    def digest(self, name: str) -> str:
        """SHA-256 of a file, in hexadecimal."""
        found = hashlib.sha256()
        with self.open(name) as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                found.update(piece)
        return found.hexdigest()

    def close(self) -> None:
        """Close the zip."""
        if self._zip is not None:
            self._zip.close()


def check(place: Path) -> list[str]:
    """What does not hold, in words; nothing where all does."""
    problems: list[str] = []
    try:
        bundle = Bundle(place)
    except _UNREADABLE as error:
        return [f"{place} cannot be read: {error}"]
    try:
        problems.extend(_of_files(bundle))
        if not problems:
            problems.extend(_of_events(bundle))
            problems.extend(_of_meaning(bundle))
    except _UNREADABLE as error:
        problems.append(f"the bundle cannot be read: {type(error).__name__}: {error}")
    finally:
        bundle.close()
    return problems


def _of_files(bundle: Bundle) -> Iterator[str]:
    """SHA256SUMS names every file with its digest, and manifest.json says the same."""
    text = bundle.read("SHA256SUMS").decode("utf-8")
    if not text.endswith("\n"):
        yield "SHA256SUMS is cut"
    listed: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            yield f"SHA256SUMS has a garbled line: {line!r}"
        else:
            listed[found.group(2)] = found.group(1)
    there = [name for name in bundle.names() if name != "SHA256SUMS"]
    for name in there:
        if name not in listed:
            yield f"{name} is not in SHA256SUMS"
        elif bundle.digest(name) != listed[name]:
            yield f"{name} is not what SHA256SUMS says"
    for name in sorted(set(listed) - set(there)):
        yield f"{name} is missing"
    said = {n: entry["sha256"] for n, entry in bundle.document("manifest.json")["files"].items()}
    if said != {name: digest for name, digest in listed.items() if name != "manifest.json"}:
        yield "manifest.json and SHA256SUMS say different things"


def _of_events(bundle: Bundle) -> Iterator[str]:
    """Every record has the digest that it says, and events.jsonl says what the records say."""
    schemas = {
        name.rsplit(".", 2)[1]: bundle.document(name)
        for name in bundle.names()
        if name.startswith("schemas/")
    }
    count = 0
    places: dict[Any, int] = {}
    with bundle.open("records.jsonl") as records, bundle.open("events.jsonl") as events:
        for line in records:
            count += 1
            record, event = json.loads(line), json.loads(events.readline() or b"null")
            where = record["position"]
            if event is None or event["position"] != where:
                yield f"events.jsonl has no event for the record at {where}"
                return
            for problem in _of_record(record, event, schemas):
                yield f"the event at {where} {problem}"
            partition = (record["topic"], record["partition"])
            if record["offset"] <= places.get(partition, -1):
                yield f"the event at {where} is out of order"
            places[partition] = record["offset"]
        if events.read(1):
            yield "events.jsonl has events without a record"
    if bundle.document("manifest.json")["events"] != count:
        yield f"manifest.json does not say that there are {count} events"


def _of_record(record: Any, event: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """One record: its digest, its header, and what is said of it."""
    header = base64.b64decode(record["header"], validate=True)
    head = base64.b64decode(record["head"], validate=True)
    content = None
    if record["content"] is not None:
        content = base64.b64decode(record["content"], validate=True)
    inner = hashlib.sha256(content or b"").digest()
    if content is None and record["content_digest"] is not None:
        inner = bytes.fromhex(record["content_digest"])
    framed = len(header).to_bytes(4, "big") + header + len(head).to_bytes(4, "big") + head + inner
    digest = hashlib.sha256(framed).hexdigest()
    if not digest == record["digest"] == event["digest"]:
        yield "does not have the digest that it says"
    for name, value in json.loads(header.decode("utf-8", "surrogatepass")).items():
        if event.get(name) != value:
            yield f"is said to have another {name}"
    if event["data"] is not None:
        yield from _of_data(event["data"], head, content, schemas)


def _of_data(
    said: Any, head: bytes, content: bytes | None, schemas: dict[str, Any]
) -> Iterator[str]:
    """What a record says, as its schema reads it, against what events.jsonl says."""
    schema = schemas.get(head[2:_HEADER_BYTES].hex())
    if schema is None or head[:2] != b"\xc3\x01":
        yield "is of a schema that is not in schemas/"
        return
    decoded = _decoded(schema, head, content)
    for name, value in decoded.items():
        if name != "content" and said.get(name) != value:
            yield f"says another {name} than events.jsonl"
    for name, value in _told(decoded.get("content")).items():
        if (said.get("content") or {}).get(name) not in (value, "(encrypted)"):
            yield f"says other {name} than events.jsonl"


def _decoded(schema: Any, head: bytes, content: bytes | None) -> dict[str, Any]:
    """A record as its schema reads it, bytes in hexadecimal."""
    tail = b""
    if any(field["name"] == "content" for field in schema["fields"]):
        tail = b"\x00" if content is None else b"\x02" + content
    stream = io.BytesIO(head[_HEADER_BYTES:] + tail)
    value: dict[str, Any] = _avro(schema, stream, dict(_named(schema)))
    if stream.read(1):
        msg = "bytes are left over behind a record"
        raise ValueError(msg)
    return value


def _told(content: dict[str, Any] | None) -> dict[str, Any]:
    """The content of an event as events.jsonl tells it: metrics as points, no nonce."""
    rest = {name: value for name, value in (content or {}).items() if name != "nonce"}
    if "metric_keys" not in rest:
        return rest
    columns = {}
    for name, code in _METRIC_COLUMNS.items():
        data = bytes.fromhex(rest.pop(f"metric_{name}", ""))
        columns[name] = struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)
    keys, models = rest.pop("metric_keys"), [None, *rest.pop("metric_models", [])]
    rest["metrics"] = [
        {
            "key": keys[key],
            "value": columns["value"][i] if math.isfinite(columns["value"][i]) else "NaN",
            "timestamp_ms": columns["timestamp"][i],
            "step": columns["step"][i],
            "model": models[columns["model"][i] if columns["model"] else 0],
        }
        for i, key in enumerate(columns["key"])
    ]
    return rest


def _avro(schema: Any, stream: IO[bytes], names: dict[str, Any]) -> Any:
    """One value in Avro's binary encoding; ``names`` are the schema's types by their names."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    if not isinstance(kind, str):
        one = kind[_whole(stream)] if isinstance(kind, list) else kind
        return _avro(one, stream, names)
    if kind in _READERS:
        return _READERS[kind](stream)
    if kind == "array":
        return list(_items(schema["items"], stream, names))
    if kind not in ("record", "fixed"):
        return _avro(names[kind.rsplit(".", 1)[-1]], stream, names)
    if kind == "fixed":
        return _exactly(stream, schema["size"]).hex()
    return {field["name"]: _avro(field["type"], stream, names) for field in schema["fields"]}


def _named(schema: Any) -> Iterator[tuple[str, Any]]:
    """The types that a schema defines; a name may be used where none of them was read."""
    if isinstance(schema, dict):
        if schema.get("type") in ("record", "fixed"):
            yield schema["name"], schema
        for value in schema.values():
            yield from _named(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _named(value)


def _items(schema: Any, stream: IO[bytes], names: dict[str, Any]) -> Iterator[Any]:
    """The items of an array, block by block."""
    while (count := _whole(stream)) != 0:
        if count < 0:
            _whole(stream)  # the size of the block
        for _ in range(abs(count)):
            yield _avro(schema, stream, names)


def _whole(stream: IO[bytes]) -> int:
    """A whole number, zigzag and of variable length."""
    number, shift = 0, 0
    while True:
        byte = _exactly(stream, 1)[0]
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (number >> 1) ^ -(number & 1)


def _exactly(stream: IO[bytes], size_bytes: int) -> bytes:
    data = stream.read(size_bytes)
    if size_bytes < 0 or len(data) != size_bytes:
        msg = "a record is cut"
        raise ValueError(msg)
    return data


_READERS: dict[str, Any] = {
    "null": lambda _: None,
    "boolean": lambda stream: _exactly(stream, 1) == b"\x01",
    "int": _whole,
    "long": _whole,
    "float": lambda stream: struct.unpack("<f", _exactly(stream, 4))[0],
    "double": lambda stream: struct.unpack("<d", _exactly(stream, 8))[0],
    "string": lambda stream: _exactly(stream, _whole(stream)).decode("utf-8", "surrogatepass"),
    "bytes": lambda stream: _exactly(stream, _whole(stream)).hex(),
}


def _of_meaning(bundle: Bundle) -> Iterator[str]:
    """Files that the statement and the manifest name were logged; the story is of these events."""
    logged, positions = set(), set()
    with bundle.open("events.jsonl") as events:
        for line in events:
            event = json.loads(line)
            positions.add(event["position"])
            if event["type"] == "ArtifactLogged" and event["verdict"] == "accepted":
                logged.add((event["data"]["path"], event["data"]["digest"]))
    for subject in bundle.document("provenance.intoto.json")["subject"]:
        if (subject["name"], f"sha256:{subject['digest']['sha256']}") not in logged:
            yield f"no event logs {subject['name']}, which provenance.intoto.json names"
    for file in bundle.document("manifest.json")["environment"]:
        if (file["path"], file["digest"]) not in logged:
            yield f"no event logs {file['path']}"
        if file["file"] is not None and f"sha256:{bundle.digest(file['file'])}" != file["digest"]:
            yield f"{file['file']} is not the file that was logged"
    for row in bundle.document("story.json")["rows"]:
        if row["position"] not in positions or row["until"] not in positions:
            yield f"story.json tells of {row['position']}, where no event is"


def main() -> int:
    """Check the bundle that the command line names."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    problems = check(place)
    for problem in problems:
        print(f"DOES NOT HOLD: {problem}")
    if not problems:
        print("all files, digests and events of this bundle hold together")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
