"""Chunks in the state: what is there of a blob, whoever sent it and however often."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_ledger.consumers import Backlog, Carried, carried
from mlflow_ledger.consumers.carried import backlog, undelivered
from mlflow_ledger.schemas import (
    ArtifactLogged,
    BlobChunkLogged,
    BlobChunkLoggedContent,
    BlobCollected,
    BlobCondemned,
    BlobStored,
)

from .folding import Bench, State

DIGEST, OTHER = ("sha256:" + letter * 64 for letter in "ab")
STORE = "s3://bucket/prefix"


def chunk(index: int, count: int = 3, size_bytes: int = 30, digest: str = DIGEST) -> BlobChunkLogged:
    content = BlobChunkLoggedContent(data=b"0123456789")
    return BlobChunkLogged(
        digest=digest, index=index, count=count, size_bytes=size_bytes, content=content
    )


def there(state: State) -> Carried:
    found = carried(state.db, DIGEST)
    assert found is not None
    return found


def test_a_blob_is_complete_with_its_last_chunk() -> None:
    bench = Bench()
    assert carried(bench.db, DIGEST) is None
    for number, index in enumerate((2, 0, 0, 2), start=1):
        bench.accept(chunk(index))
        assert (there(bench).there, there(bench).complete) == (min(number, 2), False)
    assert undelivered(bench.db, STORE) == []
    bench.accept(chunk(1))
    assert (there(bench).there, there(bench).complete) == (3, True)
    assert bench.rows("SELECT * FROM blob_chunks") == []
    before = there(bench)
    bench.accept(chunk(1))
    assert there(bench)._replace(last_no=before.last_no) == before
    bench.close()


def test_it_is_undelivered_until_a_store_has_it() -> None:
    bench = Bench()
    bench.accept(chunk(0, 1, 5), chunk(0, 1, 7, OTHER))
    assert undelivered(bench.db, STORE) == [DIGEST, OTHER]
    assert backlog(bench.db, STORE) == Backlog(2, 12, there(bench).complete_ms)
    bench.accept(BlobStored(digest=DIGEST, store=STORE), BlobStored(digest=DIGEST, store=STORE))
    assert undelivered(bench.db, STORE) == [OTHER]
    assert undelivered(bench.db, "gs://other") == [DIGEST, OTHER]
    bench.accept(BlobStored(digest=OTHER, store=STORE))
    assert backlog(bench.db, STORE) == Backlog(0, 0, None)
    bench.close()


def test_what_is_condemned_is_delivered_when_a_manifest_names_it_again() -> None:
    bench = Bench()
    bench.accept(chunk(0, 1, 5), BlobStored(digest=DIGEST, store=STORE))
    bench.accept(BlobCondemned(digest=DIGEST), BlobCollected(digest=DIGEST))
    assert undelivered(bench.db, STORE) == []
    bench.accept(
        ArtifactLogged(digest=DIGEST, path="p", size_bytes=5, owner="runs:/r", written_ns=1)
    )
    assert undelivered(bench.db, STORE) == [DIGEST]
    bench.close()


def test_what_was_collected_can_be_condemned_again() -> None:
    bench = Bench()
    for _ in range(2):
        bench.accept(BlobCondemned(digest=DIGEST), BlobCollected(digest=DIGEST))
    bench.close()


@settings(max_examples=30, deadline=None)
@given(
    order=st.permutations([*range(4), 1, 3]),
    cuts=st.lists(st.integers(0, 6), max_size=3),
    wrong=st.sampled_from([(0, 5, 40), (4, 4, 40), (-1, 4, 40), (0, 4, 41)]),
)
def test_any_order_gives_the_same_state(
    order: list[int], cuts: list[int], wrong: tuple[int, int, int]
) -> None:
    """Redelivered, folded in batches, with contradictions between: complete, and equal digests."""
    bench, again = Bench(), State()
    bench.accept(chunk(order[0], 4, 40))
    for place, index in enumerate(order[1:], start=1):
        if place in cuts:
            (verdict,) = bench.say(chunk(*wrong))
            assert verdict.kind == "rejected"
        bench.accept(chunk(index, 4, 40))
    assert there(bench).complete
    records = [*bench.log.read(bench.log.start())]
    again.apply(records[:4])
    again.apply(records[4:])
    assert again.digest() == bench.digest()
    bench.close()
    again.close()
