"""Packed metric columns: every value comes back, and broken columns are told."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.schemas import (
    MAX_FLOAT,
    DecodeError,
    MetricModel,
    Point,
    RunDataLoggedContent,
    decode,
    encode,
    metric_columns,
    normalised,
    points,
)
from mlflow_ledger.schemas.runs import RunDataLogged

longs = st.integers(-(2**63), 2**63 - 1)
models = st.none() | st.builds(
    MetricModel,
    model_id=st.sampled_from(["a", "b", "c"]),
    dataset_name=st.none() | st.sampled_from(["d", "e"]),
)
logged = st.lists(
    st.builds(
        Point,
        key=st.sampled_from(["loss", "ключ", ""]) | st.text(st.characters(codec="utf-8")),
        value=st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324]),
        timestamp_ms=longs,
        step=longs,
        model=models,
    ),
    max_size=30,
)


def bits(point: Point) -> tuple[object, ...]:
    """A point by which NaN equals NaN and zero differs from minus zero."""
    return point.key, struct.pack("<d", point.value), *point[2:]


@given(logged)
def test_points_come_back_in_their_order(given_points: list[Point]) -> None:
    event = RunDataLogged(
        run_id="r", content=RunDataLoggedContent.model_validate(metric_columns(given_points))
    )
    encoded = encode(event)
    read = decode("RunDataLogged", encoded.head, encoded.content)
    assert isinstance(read, RunDataLogged)
    assert read.content is not None
    expected = [bits(p._replace(value=normalised(p.value))) for p in given_points]
    assert [bits(p) for p in points(read.content)] == expected


@given(st.floats())
def test_every_engine_can_hold_a_normalised_value(value: float) -> None:
    kept = normalised(value)
    assert not math.isinf(kept)
    assert not (kept == 0 and math.copysign(1, kept) < 0)
    assert math.isnan(kept) == math.isnan(value)
    assert normalised(kept) == kept or math.isnan(kept)
    if math.isfinite(value):
        assert kept == value


def test_infinities_are_clipped_as_in_mlflow() -> None:
    assert normalised(math.inf) == MAX_FLOAT
    assert normalised(-math.inf) == -MAX_FLOAT


def test_no_points_take_no_columns() -> None:
    assert metric_columns([]) == {}
    assert list(points(RunDataLoggedContent())) == []


ONE = metric_columns([Point("loss", 1.0, 2, 3, MetricModel(model_id="m"))])


@pytest.mark.parametrize(
    "broken",
    [
        {"metric_value": b""},
        {"metric_key": b""},
        {"metric_step": bytes(16)},
        {"metric_timestamp": bytes(7)},
        {"metric_key": struct.pack("<I", 1)},
        {"metric_key": b"\0"},
        {"metric_model": struct.pack("<I", 2)},
        {"metric_model": bytes(8)},
        {"metric_keys": []},
    ],
    ids=lambda b: f"{next(iter(b))}-{len(next(iter(b.values())))}",
)
def test_broken_columns_are_told(broken: dict[str, object]) -> None:
    content = RunDataLoggedContent.model_validate({**ONE, **broken})
    with pytest.raises(DecodeError):
        list(points(content))
