"""The envelope and the digest over it: one form in bytes, which nothing changes unseen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.schemas import Envelope, Record, format_time, parse_time

from .samples import ENVELOPE, HOSTILE

END_OF_9999_MS = 253_402_300_799_999
texts = st.text() | st.sampled_from(["", HOSTILE, "\ud800", "\x00\x1f\x7f", "\\", "/\"'"])
optional = st.none() | texts
times = st.integers(0, END_OF_9999_MS)
envelopes = st.builds(
    Envelope,
    source=texts,
    id=st.integers(1, 2**63 - 1),
    type=texts,
    time_ms=times,
    subject=texts,
    actor=texts,
    actorkind=texts,
    host=texts,
    client=texts,
    rules=st.integers(1, 2**31),
    workspace=texts,
    correlationid=optional,
    keyid=optional,
    originsource=optional,
    originid=optional,
)
records = st.builds(
    Record, envelope=envelopes, head=st.binary(max_size=40), content=st.none() | st.binary()
)


@given(envelopes)
def test_canonical_form_is_sorted_json_of_the_attributes(envelope: Envelope) -> None:
    plain = json.dumps(
        envelope.attributes(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert envelope.canonical() == plain.encode("utf-8", "surrogatepass")


@given(envelopes)
def test_attributes_are_cloudevents_names_and_texts(envelope: Envelope) -> None:
    attributes = envelope.attributes()
    assert attributes["specversion"] == "1.0"
    assert all(name.isalnum() and name.islower() for name in attributes)
    assert all(isinstance(value, str) for value in attributes.values())
    fields = {n: getattr(envelope, n) for n in Envelope._fields if n not in ("id", "rules")}
    fields["time"] = format_time(fields.pop("time_ms"))
    expected = {name: value for name, value in fields.items() if value is not None}
    assert attributes == {
        **expected, "specversion": "1.0", "id": str(envelope.id), "rules": str(envelope.rules)
    }  # fmt: skip


@given(envelopes, envelopes)
def test_envelopes_that_differ_have_other_bytes(one: Envelope, other: Envelope) -> None:
    assert (one.canonical() == other.canonical()) == (one == other)


@given(records)
def test_a_redacted_record_keeps_its_digest(record: Record) -> None:
    inner = sha256(record.content or b"").digest()
    assert Record(record.envelope, record.head, None, inner).digest() == record.digest()


@given(records, st.data())
def test_any_changed_byte_changes_the_digest(record: Record, data: st.DataObject) -> None:
    content = record.content or b""
    at = data.draw(st.integers(0, len(record.head) + len(content)))
    flip = data.draw(st.integers(1, 255))
    body = bytearray(record.head + content + b"\0")  # the last one: a byte is added
    body[at] ^= flip
    if at < len(record.head):
        changed = Record(record.envelope, bytes(body[: len(record.head)]), record.content)
    else:
        added = 1 if at == len(record.head) + len(content) else 0
        end = len(body) - 1 + added
        changed = Record(record.envelope, record.head, bytes(body[len(record.head) : end]))
    assert changed.digest() != record.digest()


@pytest.mark.parametrize("name", Envelope._fields)
def test_every_attribute_is_covered_by_the_digest(name: str) -> None:
    value = getattr(ENVELOPE, name)
    other: Any = value + 1 if isinstance(value, int) else f"{value}x"
    changed = ENVELOPE._replace(**{name: other})
    assert Record(changed, b"head").digest() != Record(ENVELOPE, b"head").digest()


def test_bytes_cannot_move_between_structure_and_content() -> None:
    assert Record(ENVELOPE, b"ab", b"c").digest() != Record(ENVELOPE, b"a", b"bc").digest()


@given(times)
def test_times_come_back(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@given(times, st.integers(-23 * 60, 23 * 60))
def test_an_offset_names_the_same_moment(time_ms: int, minutes: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    try:
        local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:  # beyond year 9999 over there
        return
    assert parse_time(local.isoformat()) == time_ms


def test_times_look_like_rfc_3339() -> None:
    assert format_time(0) == "1970-01-01T00:00:00.000Z"
    assert format_time(1_772_539_200_123) == "2026-03-03T12:00:00.123Z"
    assert parse_time("2026-03-03T13:00:00.1234+01:00") == 1_772_539_200_123


@pytest.mark.parametrize("text", ["2026-03-03T12:00:00", "2026-03-03", "20260303T120000"])
def test_a_time_without_offset_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(ValueError, match=r"add Z or an offset such as \+01:00"):
        parse_time(text)


@given(st.text())
def test_other_text_is_no_time(text: str) -> None:
    try:
        assert isinstance(parse_time(text), int)
    except ValueError:
        return
