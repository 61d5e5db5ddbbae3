"""Bytes over the bus: sent in chunks, found by every reader, delivered to the blob store."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_ledger.bus import Settings
from mlflow_ledger.consumers import (
    CHUNK_BYTES,
    Blobs,
    Delivery,
    Ledger,
    carried,
    collect,
    digest_of,
    plan_collection,
)
from mlflow_ledger.consumers.chunks import chunk_count, cut
from mlflow_ledger.query.verify import verify
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactError,
    ArtifactLogged,
    BlobChunkLogged,
    BlobChunkLoggedContent,
    BlobMissing,
)
from tests.bus.programs import start

SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 7)


def opened(folder: Path, *, wait_s: float = 0, **more: object) -> Ledger:
    """A ledger as several hosts share it, each with a blob folder of its own."""
    ledger = Ledger(folder, Settings(read_wait_s=wait_s, **more))  # type: ignore[arg-type]
    ledger.shared = True
    return ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = opened(tmp_path / "store")
    yield ledger
    ledger.close()


def data_of(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


def events(ledger: Ledger) -> Counter[str]:
    """How many events of each type there are, but for the ledger's first."""
    found = Counter(stored.record.envelope.type for stored in ledger.log.rows(1))
    del found["LedgerCreated"]
    return found


def name(ledger: Ledger, digest: str, size_bytes: int, path: str = "p", ns: int = 1) -> None:
    event = ArtifactLogged(
        digest=digest, path=path, size_bytes=size_bytes, owner="runs:/r", written_ns=ns
    )
    ledger.write(lambda _: [event])


def chunks(data: bytes) -> list[BlobChunkLogged]:
    digest, size_bytes = digest_of([data])
    return list(cut(digest, size_bytes, chunk_count(size_bytes), BytesIO(data)))


def garbled(chunk: BlobChunkLogged) -> BlobChunkLogged:
    assert chunk.content is not None
    content = BlobChunkLoggedContent(data=bytes(len(chunk.content.data)))
    return chunk.model_copy(update={"content": content})


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), count=st.integers(1, 20))
def test_chunks_put_together_are_the_blob(data: bytes, count: int) -> None:
    count = min(count, max(1, len(data)))
    digest, size_bytes = digest_of([data])
    pieces = [c.content.data for c in cut(digest, size_bytes, count, BytesIO(data)) if c.content]
    assert len(pieces) == count
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize("size_bytes", SIZES)
def test_bytes_of_any_size_are_read_delivered_and_read_again(
    ledger: Ledger, tmp_path: Path, size_bytes: int
) -> None:
    data, local, there = data_of(size_bytes), tmp_path / "local", tmp_path / "there" / "copy"
    local.write_bytes(data)
    digest, said_bytes = ledger.carrier.put_file(local)
    assert (digest, said_bytes) == digest_of([data])
    assert events(ledger) == {"BlobChunkLogged": chunk_count(size_bytes)}
    assert list(ledger.blobs.all()) == []
    ledger.carrier.download(digest, there)
    assert there.read_bytes() == data
    delivery = Delivery(ledger)
    assert delivery.backlog()[:2] == (1, size_bytes)
    assert delivery.round() == ([digest], {})
    assert delivery.backlog() == (0, 0, None)
    assert ledger.blobs.get(digest) == ledger.carrier.get(digest) == data


def test_an_embedded_ledger_has_no_bus(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    digest, _ = ledger.carrier.put(b"abc")
    assert not ledger.exists()
    assert ledger.blobs.get(digest) == ledger.carrier.get(digest) == b"abc"


def test_the_same_bytes_travel_once(ledger: Ledger) -> None:
    data = data_of(3 * CHUNK_BYTES)
    for path in "abc":
        name(ledger, *ledger.carrier.put(data), path=path)
        assert events(ledger)["BlobChunkLogged"] == 3
    Delivery(ledger).round()
    name(ledger, *ledger.carrier.put(data), path="d")
    assert events(ledger) == {"BlobChunkLogged": 3, "ArtifactLogged": 4, "BlobStored": 1}


def test_chunks_that_come_again_change_nothing(ledger: Ledger) -> None:
    data = data_of(3 * CHUNK_BYTES)
    some = chunks(data)
    ledger.write(lambda _: [some[2], some[0], some[2], some[1], *some])
    assert ledger.carrier.get(some[0].digest) == data


def test_a_chunk_that_is_lost_is_told(ledger: Ledger) -> None:
    first, _, last = chunks(data_of(3 * CHUNK_BYTES))
    ledger.write(lambda _: [first, last])
    with pytest.raises(BlobMissing, match=f"{first.digest} is still on its way: 2 of 3 chunks"):
        ledger.carrier.get(first.digest)
    assert Delivery(ledger).round() == ([], {})


def test_what_never_came_is_told_with_the_store_that_lacks_it(ledger: Ledger) -> None:
    digest, _ = digest_of([b"abc"])
    with pytest.raises(BlobMissing, match=f"{digest} is not in {ledger.blobs}, and nothing of it"):
        ledger.carrier.get(digest)


def test_a_redacted_chunk_is_told(ledger: Ledger) -> None:
    digest = ledger.carrier.put(b"abc")[0]
    with ledger.log.lock:
        ledger.log.connection().execute("UPDATE events SET content = NULL WHERE seq = 2")
    with pytest.raises(BlobMissing, match=r"has 0 with their bytes.*`mlflow-ledger consume`"):
        ledger.carrier.get(digest)


def test_a_garbled_chunk_is_refused_and_mended_by_logging_again(ledger: Ledger) -> None:
    data = data_of(3 * CHUNK_BYTES)
    first, middle, last = chunks(data)
    ledger.write(lambda _: [first, garbled(middle), last])
    now = [0.0]
    delivery = Delivery(ledger, lambda: now[0])
    with pytest.raises(ArtifactError, match="hold other bytes; log the file again"):
        ledger.carrier.get(first.digest)
    assert list(delivery.round().failed) == [first.digest]
    assert delivery.round() == ([], {})  # not at once
    assert list(ledger.blobs.all()) == []
    assert ledger.carrier.put(data)[0] == first.digest
    assert ledger.carrier.get(first.digest) == data
    now[0] += 1
    assert delivery.round() == ([first.digest], {})


def test_a_garbled_chunk_of_a_writer_that_died_is_found_when_another_goes_on(
    ledger: Ledger,
) -> None:
    data = data_of(3 * CHUNK_BYTES)
    first, *_ = chunks(data)
    ledger.write(lambda _: [garbled(first)])
    digest, _ = ledger.carrier.put(data)
    assert ledger.carrier.get(digest) == data


def test_a_good_chunk_is_not_spoilt_by_a_later_one(ledger: Ledger) -> None:
    data = data_of(2 * CHUNK_BYTES)
    digest, _ = ledger.carrier.put(data)
    ledger.write(lambda _: [garbled(chunks(data)[1])])
    assert ledger.carrier.get(digest) == data


def test_another_cut_goes_on_where_the_first_writer_has_stopped(ledger: Ledger) -> None:
    """A later version may cut otherwise: what was begun is finished as it was begun."""
    data = data_of(1000)
    some = list(cut(*digest_of([data]), 7, BytesIO(data)))
    ledger.write(lambda _: some[:3])
    assert ledger.carrier.get(ledger.carrier.put(data)[0]) == data
    assert events(ledger) == {"BlobChunkLogged": 7}


def test_a_wrong_announcement_is_told(ledger: Ledger) -> None:
    chunk = chunks(b"abc")[0].model_copy(update={"size_bytes": 4})
    ledger.write(lambda _: [chunk])
    with pytest.raises(ArtifactError, match="announced on the bus with 4 bytes, and has 3"):
        ledger.carrier.put(b"abc")


def test_a_reader_that_overtakes_the_writer_waits(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "store", wait_s=60)
    data = data_of(3 * CHUNK_BYTES)
    first, *rest = chunks(data)
    ledger.write(lambda _: [first])
    waiting, query = threading.Event(), ledger.query

    def noticed(ask):  # type: ignore[no-untyped-def]  # stands for a method with type variables
        answer = query(ask)
        waiting.set()
        return answer

    ledger.query = noticed  # type: ignore[method-assign]
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(ledger.carrier.get(first.digest)))
    reader.start()
    assert waiting.wait(60)
    assert found == []
    ledger.write(lambda _: rest)
    reader.join()
    assert found == [data]
    ledger.close()


def test_what_is_too_large_for_the_bus_needs_a_store_of_all_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(tmp_path / "store", bus_bytes=10)
    ledger.carrier.put(b"0123456789")
    with pytest.raises(ArtifactError, match=r"is a folder of this host.*MLFLOW_LEDGER_BLOBS"):
        ledger.carrier.put(b"0123456789.")
    monkeypatch.setattr("mlflow_ledger.consumers.carrier.check_shared", lambda _: None)
    digest, _ = ledger.carrier.put(b"0123456789.")
    assert events(ledger) == {"BlobChunkLogged": 1}
    assert ledger.carrier.get(digest) == b"0123456789."
    ledger.close()


def test_a_store_that_has_lost_it_is_made_up_for_by_the_log(ledger: Ledger) -> None:
    digest, _ = ledger.carrier.put(b"abc")
    Delivery(ledger).round()
    ledger.blobs.delete(digest)
    assert ledger.carrier.get(digest) == b"abc"


def test_each_store_is_delivered_to(ledger: Ledger, tmp_path: Path) -> None:
    digest, _ = ledger.carrier.put(b"abc")
    Delivery(ledger).round()
    ledger.blobs = Blobs(tmp_path / "other")
    assert Delivery(ledger).round() == ([digest], {})
    assert ledger.blobs.get(digest) == b"abc"
    assert events(ledger)["BlobStored"] == 2


def test_consumers_side_by_side_say_each_thing_once(ledger: Ledger) -> None:
    digests = {ledger.carrier.put(b"%d" % number)[0] for number in range(20)}
    threads = [threading.Thread(target=Delivery(ledger).round) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {digest for digest, _ in ledger.blobs.all()} == digests
    assert events(ledger) == {"BlobChunkLogged": 20, "BlobStored": 20}


def test_a_store_that_fails_ends_the_round(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(3):
        ledger.carrier.put(b"%d" % number)
    (tmp_path / "file").write_bytes(b"")
    ledger.blobs, now = Blobs(tmp_path / "file"), [0.0]
    delivery = Delivery(ledger, lambda: now[0])
    assert [len(part) for part in delivery.round()] == [0, 1]
    assert delivery.backlog().blobs == 3
    (tmp_path / "file").unlink()
    now[0] += 1
    assert len(delivery.round(limit=2).stored) == 2
    assert len(delivery.round().stored) == 1


def test_collected_blobs_come_back_from_the_log(ledger: Ledger) -> None:
    digest, size_bytes = ledger.carrier.put(b"abc")
    name(ledger, digest, size_bytes)
    Delivery(ledger).round()
    gone = ArtifactDeleted(digest=digest, path="p", owner="runs:/r", written_ns=2)
    ledger.write(lambda _: [gone])
    done = collect(ledger, plan_collection(ledger, 2**62, 0))
    assert done.remove == [(digest, 3)]
    assert list(ledger.blobs.all()) == []
    assert Delivery(ledger).round() == ([], {})
    name(ledger, *ledger.carrier.put(b"abc"), ns=3)
    assert ledger.carrier.get(digest) == b"abc"
    assert Delivery(ledger).round() == ([digest], {})
    assert events(ledger)["BlobChunkLogged"] == 1
    assert ledger.blobs.get(digest) == b"abc"


def test_verify_reads_what_is_in_the_log_only(ledger: Ledger) -> None:
    name(ledger, *ledger.carrier.put(b"abc"))
    report = verify(ledger)
    assert (report.findings, report.artifacts, report.artifact_bytes) == ([], 1, 3)
    missing = digest_of([b"never sent"])
    name(ledger, *missing, path="q")
    (finding,) = verify(ledger).findings
    assert (finding.part, finding.place) == ("artifacts", "q")


def put(folder: Path, size_bytes: int) -> None:
    ledger = opened(folder)
    name(ledger, *ledger.carrier.put(data_of(size_bytes)))


def deliver(folder: Path) -> None:
    Delivery(opened(folder)).round()


@pytest.mark.parametrize("step", ["carry.written", "carry.sent"])
def test_a_writer_killed_before_the_manifest_leaves_nothing_to_be_seen(
    ledger: Ledger, step: str
) -> None:
    size_bytes = 9 * CHUNK_BYTES
    process = start(put, ledger.folder, size_bytes, failpoint=step)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert "ArtifactLogged" not in events(ledger)
    digest, _ = digest_of([data_of(size_bytes)])
    known = ledger.query(lambda db: carried(db, digest))
    assert known is not None
    assert known.there == (8 if step == "carry.written" else 9)
    put(ledger.folder, size_bytes)
    assert ledger.carrier.get(digest) == data_of(size_bytes)
    assert events(ledger) == {"BlobChunkLogged": 9, "ArtifactLogged": 1}


def test_a_consumer_killed_before_it_could_say_so(ledger: Ledger) -> None:
    digest, _ = ledger.carrier.put(b"abc")
    process = start(deliver, ledger.folder, failpoint="deliver.written")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert ledger.blobs.get(digest) == b"abc"
    assert Delivery(ledger).backlog().blobs == 1
    assert Delivery(ledger).round() == ([digest], {})


def test_a_file_that_changes_meanwhile_is_not_logged(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"before")
    monkeypatch.setattr(
        "mlflow_ledger.consumers.carrier.file_pieces", lambda _: iter([b"after"])
    )
    with pytest.raises(ArtifactError, match="changed while it was being logged"):
        ledger.carrier.put_file(local)
