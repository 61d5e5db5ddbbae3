"""Bytes of events: any Avro reader reads them, and garbage is told from events."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.schemas import (
    DecodeError,
    LoggedModelParamsLogged,
    RunDataLogged,
    RunDeleted,
    decode,
    encode,
    event_types,
    wire_value,
)

from .samples import FULL, NONCE, bare, redacted

AVSC = Path(__file__).parents[2] / "schemas" / "avsc"
EVENTS = [pytest.param(event, id=type(event).__name__) for event in FULL]
WITH_CONTENT = [p for p, event in zip(EVENTS, FULL, strict=True) if event.content is not None]


def foreign_read(name: str, value: bytes) -> dict[str, Any]:
    """What a reader sees that has nothing of ours but the checked-in schema."""
    schema = fastavro.parse_schema(json.loads((AVSC / f"{name}.avsc").read_text("utf-8")))
    stream = io.BytesIO(value[10:])
    read: Any = fastavro.schemaless_reader(stream, schema, None)
    assert not stream.read()
    return dict(read)


@pytest.mark.parametrize("event", EVENTS)
def test_a_plain_avro_reader_reads_every_type(event: Any) -> None:
    has_content = type(event).content_type is not None
    expected = event.model_dump(exclude={"content"})
    read = foreign_read(type(event).__name__, wire_value(encode(event, NONCE), has_content))
    content = read.pop("content", None)
    assert read == expected
    if has_content:
        assert content == {"nonce": NONCE, **event.content.model_dump()}


@pytest.mark.parametrize("event", WITH_CONTENT)
def test_a_plain_avro_reader_reads_what_is_redacted_or_sealed(event: Any) -> None:
    encoded = encode(event, NONCE)
    gone = foreign_read(
        type(event).__name__, wire_value(encoded._replace(content=None), schema_has_content=True)
    )
    assert gone["content"] is None
    sealed = foreign_read(
        type(event).__name__, wire_value(encoded, schema_has_content=True, sealed=True)
    )
    assert sealed["content"] == encoded.content


@pytest.mark.parametrize("event", EVENTS)
def test_events_come_back_with_and_without_their_content(event: Any) -> None:
    name = type(event).__name__
    for said in (event, redacted(event), bare(event)):
        encoded = encode(said)
        assert decode(name, encoded.head, encoded.content) == said
    assert decode(name, encode(event).head) == redacted(event)


def test_a_content_gets_a_fresh_nonce() -> None:
    event = next(e for e in FULL if isinstance(e, LoggedModelParamsLogged))
    first, second = encode(event).content, encode(event).content
    assert first is not None
    assert second is not None
    assert first[:16] != second[:16]
    assert first[16:] == second[16:]


@given(st.sampled_from(sorted(event_types())), st.binary(max_size=64), st.none() | st.binary())
def test_garbage_is_no_event(name: str, head: bytes, content: bytes | None) -> None:
    with pytest.raises(DecodeError):
        decode(name, head, content)


@given(st.data())
def test_garbled_events_are_read_or_refused_but_nothing_else(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(FULL))
    encoded = encode(event, NONCE)
    head = data.draw(garbled(encoded.head, keep=10))
    content = None if encoded.content is None else data.draw(garbled(encoded.content, keep=0))
    try:
        read = decode(type(event).__name__, head, content)
    except DecodeError:
        return
    assert type(read) is type(event)
    assert read == event or (head, content) != tuple(encoded)


@st.composite
def garbled(draw: st.DrawFn, original: bytes, keep: int) -> bytes:
    """Bytes with some overwritten, cut out or put in, behind the first ``keep``."""
    start = draw(st.integers(keep, len(original)))
    length = draw(st.integers(0, 12))
    return original[:start] + draw(st.binary(max_size=12)) + original[start + length :]


def test_an_unknown_type_or_schema_names_the_way_out() -> None:
    head = encode(RunDeleted(run_id="r")).head
    with pytest.raises(DecodeError, match="newer mlflow-ledger may have written it"):
        decode("RunTeleported", head)
    with pytest.raises(DecodeError, match="upgrade"):
        decode("RunDeleted", head[:2] + bytes(8) + head[10:])
    with pytest.raises(DecodeError, match="not known"):
        decode("RunRestored", head)


def test_bytes_behind_an_event_are_noticed() -> None:
    encoded = encode(next(e for e in FULL if isinstance(e, RunDataLogged)))
    assert encoded.content is not None
    with pytest.raises(DecodeError, match="left over"):
        decode("RunDataLogged", encoded.head + b"\0", encoded.content)
    with pytest.raises(DecodeError, match="left over"):
        decode("RunDataLogged", encoded.head, encoded.content + b"\0")


def test_a_content_for_a_type_without_one_is_noticed() -> None:
    encoded = encode(RunDeleted(run_id="r"))
    with pytest.raises(DecodeError, match="no content"):
        decode("RunDeleted", encoded.head, NONCE + b"surplus")
