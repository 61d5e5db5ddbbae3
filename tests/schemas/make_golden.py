"""Add golden files: ``python -m tests.schemas.make_golden``.

For each of today's schemas whose fingerprint has no golden yet, its bytes are kept together with
what they mean and with the digest under a fixed envelope. Nothing that is there is ever changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mlflow_ledger.schemas import Event, Record, avro_schema, encode, fingerprint

from .samples import FULL, NONCE, bare, envelope_of

GOLDEN = Path(__file__).with_name("golden")


def plain(value: Any) -> Any:
    """A model's dump as JSON can hold it: bytes become ``{"hex": …}``."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def unplain(value: Any) -> Any:
    """The dump that :func:`plain` was given."""
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: unplain(item) for key, item in value.items()}
    return [unplain(item) for item in value] if isinstance(value, list) else value


def case(event: Event) -> dict[str, Any]:
    """One event: its bytes, what they mean, their digest."""
    encoded = encode(event, NONCE)
    envelope = envelope_of(event)
    return {
        "head": encoded.head.hex(),
        "content": None if encoded.content is None else encoded.content.hex(),
        "event": plain(event.model_dump()),
        "subject": event.subject,
        "key": event.key,
        "topic": event.topic,
        "digest": Record(envelope, encoded.head, encoded.content).digest().hex(),
    }


def path_of(event: type[Event]) -> Path:
    """Where the golden of today's schema of a type stands."""
    return GOLDEN / f"{event.__name__}.{fingerprint(avro_schema(event)).hex()}.json"


def make() -> list[Path]:
    """Write the goldens that are missing; returns them."""
    added = []
    for event in FULL:
        path = path_of(type(event))
        if not path.exists():
            cases = {"full": case(event), "bare": case(bare(event))}
            path.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", "utf-8")
            added.append(path)
    return added


if __name__ == "__main__":
    for golden in make():
        sys.stdout.write(f"added {golden.name}\n")
