"""Golden files: bytes of every released schema still mean what they meant when they were made."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.schemas import (
    Record,
    avro_schema,
    decode,
    encode,
    event_types,
    fingerprint,
    released_schemas,
)

from . import make_golden
from .samples import FULL, NONCE, envelope_of, redacted

GOLDENS = sorted(make_golden.GOLDEN.glob("*.json"))
CASES = [(path, form) for path in GOLDENS for form in ("full", "bare")]


def load(path: Path, form: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(path.read_text("utf-8"))[form]
    return case


def record_of(path: Path, case: dict[str, Any]) -> Record:
    """The record of a golden, by today's classes and the fixed envelope."""
    head = bytes.fromhex(case["head"])
    content = None if case["content"] is None else bytes.fromhex(case["content"])
    event = decode(path.name.split(".")[0], head, content)
    return Record(envelope_of(event), head, content)


def test_every_event_type_has_a_full_sample() -> None:
    assert {type(event) for event in FULL} == set(event_types().values())
    for event in FULL:
        assert type(event).content_type is None or event.content is not None, event


def test_every_released_schema_has_a_golden_and_every_golden_a_schema() -> None:
    named = {f"{s['name']}.{print_.hex()}" for print_, s in released_schemas().items()}
    assert {path.stem for path in GOLDENS} == named


@pytest.mark.parametrize(("path", "form"), CASES, ids=lambda v: getattr(v, "stem", v))
def test_a_golden_still_means_what_it_meant(path: Path, form: str) -> None:
    case = load(path, form)
    record = record_of(path, case)
    event = decode(record.envelope.type, record.head, record.content)
    # Fields that are newer than the golden have their defaults.
    assert event == type(event).model_validate(make_golden.unplain(case["event"]))
    assert (event.subject, event.key, event.topic) == (
        case["subject"],
        case["key"],
        case["topic"],
    )
    assert record.digest().hex() == case["digest"]


@pytest.mark.parametrize(("path", "form"), CASES, ids=lambda v: getattr(v, "stem", v))
def test_a_golden_reads_without_its_content_and_keeps_its_digest(path: Path, form: str) -> None:
    case = load(path, form)
    whole = record_of(path, case)
    event = decode(whole.envelope.type, whole.head)
    assert event == redacted(decode(whole.envelope.type, whole.head, whole.content))
    without = Record(whole.envelope, whole.head, None, sha256(whole.content or b"").digest())
    assert without.digest().hex() == case["digest"]


@pytest.mark.parametrize("event", FULL, ids=lambda e: type(e).__name__)
def test_todays_bytes_are_the_golden_ones(event: Any) -> None:
    """The encoding itself is stable: nobody's digests change because a library did."""
    golden = load(make_golden.path_of(type(event)), "full")
    encoded = encode(event, NONCE)
    assert encoded.head.hex() == golden["head"]
    assert (encoded.content and encoded.content.hex()) == golden["content"]
    assert encoded.head[:10] == b"\xc3\x01" + fingerprint(avro_schema(type(event)))


def test_the_script_only_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_golden, "GOLDEN", tmp_path)
    assert len(make_golden.make()) == len(event_types())
    kept, missing = sorted(tmp_path.iterdir())[:2]
    kept.write_text("as it was", "utf-8")
    missing.unlink()
    assert make_golden.make() == [missing]
    assert kept.read_text("utf-8") == "as it was"
