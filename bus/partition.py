"""Which partition a key belongs to. We compute it, because clients disagree on their default."""

from __future__ import annotations

__all__ = ["murmur2", "partition_of"]

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (``org.apache.kafka.common.utils.Utils.murmur2``) as an unsigned 32-bit."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    for start in range(0, length - length % 4, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    tail = data[length - length % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: str, count: int) -> int:
    """The partition of a key among ``count``, as Kafka's Java client would choose it."""
    if count == 1:
        return 0
    return (murmur2(key.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF) % count
