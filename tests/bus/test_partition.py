"""Partitions are those that Kafka's Java client would choose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.bus import murmur2, partition_of

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""What Kafka's own UtilsTest expects of Utils.murmur2."""


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_murmur2_is_kafkas(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.text(), st.integers(1, 100))
def test_every_key_has_one_partition(key: str, count: int) -> None:
    partition = partition_of(key, count)
    assert 0 <= partition < count
    assert partition == partition_of(key, count)
    assert partition_of(key, 1) == 0


def test_the_sign_bit_is_dropped_as_in_java() -> None:
    assert partition_of("21", 8) == (-973932308 & 0x7FFFFFFF) % 8


def test_keys_spread_over_partitions() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[partition_of(f"{number:032x}", 8)] += 1
    assert min(counts) > 800
    assert max(counts) < 1200
