"""Nothing changes on its way between a client and a query service."""

from __future__ import annotations

import json
import math
import sqlite3
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.bus import ChangedMeanwhile
from mlflow_ledger.consumers import FOLD_VERSION
from mlflow_ledger.consumers.wire import (
    check_versions,
    dump,
    error_from,
    error_in,
    event_from,
    event_in,
    load,
)
from mlflow_ledger.schemas import (
    DecodeError,
    Event,
    LogForeign,
    LogUnavailable,
    Reason,
    Refused,
    encode,
)
from tests.schemas.samples import FULL, NONCE, bare

SURROGATES = st.text(st.characters(exclude_categories=[]))
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(),
    st.floats(),
    SURROGATES,
    st.binary(),
)
ROWS = st.lists(st.lists(VALUES))


def same(one: object, other: object) -> bool:
    """Equal in type and value, floats bit by bit but for NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(ROWS)
def test_rows_come_as_they_went(rows: list[list[object]]) -> None:
    assert same(load(dump(rows)), rows)


@given(ROWS)
def test_what_travels_is_json_as_anybody_reads_it(rows: list[list[object]]) -> None:
    def not_json(name: str) -> None:
        raise AssertionError(name)

    json.loads(dump(rows).decode("ascii"), parse_constant=not_json)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"$bytes":"?"}', b"[" * 100_000])
def test_garbage_is_told(data: bytes) -> None:
    with pytest.raises(DecodeError):
        load(data)


@pytest.mark.parametrize(
    "error",
    [
        LogUnavailable("away"),
        ChangedMeanwhile("gone"),
        sqlite3.OperationalError("too many SQL variables"),
        OverflowError("Python int too large to convert to SQLite INTEGER"),
        Refused(Reason.EXISTS, "there is one"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_as_itself(error: Exception) -> None:
    came = error_from(load(dump(error_in(error))))
    assert type(came) is type(error)
    assert str(came) == str(error)
    if isinstance(error, Refused):
        assert isinstance(came, Refused)
        assert came.reason is error.reason


@pytest.mark.parametrize("event", FULL, ids=lambda event: type(event).__name__)
def test_every_event_comes_as_it_went(event: Event) -> None:
    for one in (event, bare(event)):
        again = event_from(load(dump(event_in(one))))
        assert encode(again, NONCE) == encode(one, NONCE)  # NaN differs from itself


def test_other_versions_are_named_with_the_way_out() -> None:
    with pytest.raises(
        LogForeign, match=rf"fold version 999, here .*fold version {FOLD_VERSION}: .*Install"
    ):
        check_versions(1, 999, "at http://host:8080")
