"""Positions: a vector and a text, one for the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.bus import EMBEDDED, TOPICS, Position, record_at
from mlflow_ledger.schemas import SettingsError

ledgers = st.text("0123456789abcdef", min_size=1, max_size=16)
offsets = st.integers(0, 10**18 - 1)
vectors = st.dictionaries(st.tuples(st.sampled_from(TOPICS), st.integers(0, 12)), offsets)
positions = st.builds(Position, ledgers, vectors) | st.builds(
    lambda ledger, offset: Position(ledger, {EMBEDDED: offset}), ledgers, offsets
)


@given(positions)
def test_a_position_comes_back_from_its_text(position: Position) -> None:
    assert Position.parse(str(position)) == position
    assert str(Position.parse(str(position))) == str(position)


def test_the_text_is_the_documented_one() -> None:
    assert str(Position("ab", {EMBEDDED: 120})) == "v1~ab~120"
    vector = {("catalog", 0): 120, ("runs", 0): 5, ("runs", 1): 7, ("runs", 3): 3, ("traces", 0): 4}
    assert str(Position("ab", vector)) == "v1~ab~c120~r5.7.0.3~t4"
    assert Position.parse("v1~ab~c120~r5.7.0.3~t4~a0.0") == Position("ab", vector)


def test_what_is_absent_stands_at_its_beginning() -> None:
    assert Position("ab") == Position("ab", {EMBEDDED: 0}) == Position("ab", {("runs", 3): 0})
    assert Position("ab", {("runs", 3): 1}).offset(("runs", 2)) == 0


@given(positions, st.sampled_from(TOPICS), st.integers(0, 3), st.integers(0, 10**6))
def test_reading_on_covers_what_was_read(
    position: Position, topic: str, number: int, offset: int
) -> None:
    start = max(offset, position.offset((topic, number)))
    further = position.advanced((topic, number), start)
    assert further.offset((topic, number)) == start + 1
    assert further.covers(position)
    assert not position.covers(further)
    assert position.covers(position)


def test_no_position_covers_another_ledgers() -> None:
    assert not Position("ab", {EMBEDDED: 9}).covers(Position("cd", {EMBEDDED: 1}))


@pytest.mark.parametrize(
    "text",
    [
        "", "v1", "v1~ab", "v1~ab~", "v2~ab~5", "v1~~5", "v1~ab~-5", "v1~ab~c-5", "v1~ab~c", "120",
        "v1~ab~5~6", "v1~ab~c1~c2", "v1~ab~x5", "v1~ab~c1~", "v1~ab~r1..2", "v1~ab~1_0", "v1~ab~²",
        "v1~ab~ 5", "v1~ab~5~c1", "v1~ab~c1~5", "v1~ab~9999999999999999999",
    ],
)  # fmt: skip
def test_other_text_is_no_position(text: str) -> None:
    with pytest.raises(SettingsError, match="one looks like v1~<ledger id>~120"):
        Position.parse(text)


@given(st.text("v12~abcrt.-0 ²"))
def test_garbage_is_refused_or_read_as_it_stands(text: str) -> None:
    try:
        position = Position.parse(text)
    except SettingsError:
        return
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("v1~ab~c0", (("catalog", 0), 0)),
        ("v1~ab~r0.0.0", (("runs", 2), 0)),
        ("v1~ab~r0.7", (("runs", 1), 7)),
        ("v1~ab~r1.7", None),
        ("v1~ab~c1~r7", None),
        ("v1~ab~7", None),
    ],
)
def test_a_position_may_name_one_record(text: str, named: object) -> None:
    assert record_at(text) == named
