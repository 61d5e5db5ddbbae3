"""The spool: what was appended is there, as it was, in order, until it is forgotten; or it says."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mlflow_ledger.bus import Outgoing, Spool
from mlflow_ledger.schemas import LogDamaged, LogForeign, LogUnavailable, Record
from tests.schemas.test_envelope import envelopes, texts

from .programs import in_child, start, wait_for
from .records import many

PAGE = 4096

on_their_way = st.builds(
    Outgoing,
    partition=st.tuples(st.sampled_from(["catalog", "runs", "traces"]), st.integers(0, 99)),
    record=st.builds(
        Record,
        envelope=envelopes,
        head=st.binary(max_size=40),
        content=st.none() | st.binary(),
        content_digest=st.none() | st.binary(min_size=32, max_size=32),
    ),
    key=st.none() | texts,
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "deep" / "spool.sqlite")


def large(count: int, size_bytes: int, first: int = 1) -> list[Outgoing]:
    """Records with a content of some size."""
    return [
        outgoing._replace(
            record=Record(
                outgoing.record.envelope, outgoing.record.head, bytes([n % 256]) * size_bytes
            )
        )
        for n, outgoing in enumerate(many(count, first=first))
    ]


def all_of(spool: Spool) -> list[Outgoing]:
    return [waiting.outgoing for waiting in spool.waiting()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(on_their_way, min_size=1, max_size=4))
def test_any_record_comes_back_byte_for_byte(spool: Spool, records: list[Outgoing]) -> None:
    last = spool.append(records)
    assert spool.batch(len(records)) == list(
        zip(range(last - len(records) + 1, last + 1), records, strict=True)
    )
    assert [w.outgoing for w in spool.waiting(last - len(records))] == records
    spool.forget(last)


class Model(RuleBasedStateMachine):
    """A spool and the list of what should wait in it."""

    path: Path

    @initialize()
    def begin(self) -> None:
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()
        self.spool = Spool(self.path, clock=lambda: 7)
        self.last = 0
        self.said = 0
        self.waiting: list[tuple[int, Outgoing]] = []
        self.aside: list[tuple[int, Outgoing]] = []

    @rule(count=st.integers(0, 5))
    def append(self, count: int) -> None:
        records = many(count, first=self.said + 1)
        self.said += count
        self._came(records, self.spool.append(records))

    @rule(count=st.integers(1, 8))
    def forget_a_batch(self, count: int) -> None:
        batch = self.spool.batch(count)
        assert batch == self.waiting[:count]
        if batch:
            self.spool.forget(batch[-1][0])
            del self.waiting[:count]

    @rule(back=st.integers(0, 3))
    def forget_what_is_gone(self, back: int) -> None:
        first = self.waiting[0][0] if self.waiting else self.last + 1
        self.spool.forget(first - 1 - back)

    @precondition(lambda self: self.waiting)
    @rule()
    def refuse_the_first(self) -> None:
        number, _ = self.waiting[0]
        self.spool.refuse(number, "no")
        self.aside.append(self.waiting.pop(0))

    @rule()
    def refuse_another(self) -> None:
        self.spool.refuse(self.last + 1, "no")
        if len(self.waiting) > 1:
            self.spool.refuse(self.waiting[1][0], "no")

    @rule()
    def retry(self) -> None:
        records = [outgoing for _, outgoing in self.aside]
        self.aside.clear()
        assert self.spool.retry_refused() == len(records)
        self._came(records, self.last + len(records))

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool = Spool(self.path, clock=lambda: 7)

    def _came(self, records: list[Outgoing], last: int) -> None:
        assert last == self.last + len(records)  # one after the other, none a second time
        self.waiting += zip(range(self.last + 1, last + 1), records, strict=True)
        self.last = last

    @invariant()
    def it_is_the_list(self) -> None:
        assert [(w.number, w.outgoing) for w in self.spool.waiting()] == self.waiting
        assert [(r.number, r.outgoing) for r in self.spool.refused()] == self.aside
        depth = self.spool.depth()
        assert depth.events == len(self.waiting)
        assert depth.oldest_ms == (7 if self.waiting else None)
        assert (depth.size_bytes > 0) == bool(self.waiting)
        assert self.spool.first() == (self.waiting[0][0] if self.waiting else None)

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()


def test_it_does_what_a_list_does(tmp_path: Path) -> None:
    model = type("Model", (Model,), {"path": tmp_path / "spool.sqlite"})
    run_state_machine_as_test(
        model, settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )


def test_numbers_never_repeat(spool: Spool) -> None:
    assert spool.append(many(3)) == 3
    spool.forget(3)
    spool.close()
    again = Spool(spool.path)
    assert again.depth().events == 0
    assert again.append(many(2, first=4)) == 5
    again.close()


def test_the_size_is_that_of_what_waits(spool: Spool) -> None:
    spool.append(large(4, 1000))
    four = spool.depth().size_bytes
    spool.forget(2)
    assert spool.depth().size_bytes * 2 == four > 4000
    spool.close()


def test_nothing_is_made_before_it_is_needed(spool: Spool) -> None:
    assert spool.batch(5) == []
    assert list(spool.waiting()) == []
    assert spool.refused() == []
    assert (spool.depth().events, spool.first(), spool.own(9), spool.count_refused()) == (
        0,
        None,
        0,
        0,
    )
    spool.close()
    assert not spool.path.parent.exists()


def test_a_batch_of_large_records_is_short_but_never_empty(spool: Spool) -> None:
    spool.append(large(5, 400_000))
    assert len(spool.batch(500, 1_000_000)) == 2
    assert len(spool.batch(500, 10)) == 1
    assert len(list(spool.waiting())) == 5
    spool.close()


def test_a_full_spool_says_so_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", 64 * PAGE)
    kept = 0

    def fill() -> None:
        nonlocal kept
        while kept < 1000:
            spool.append(large(3, 3000, first=kept + 1))
            kept += 3

    with pytest.raises(LogUnavailable, match="mlflow-ledger forward") as raised:
        fill()
    assert f"{kept} events wait" in str(raised.value)
    assert "Nothing of this call was kept" in str(raised.value)
    assert 10 < kept < 100
    assert spool.path.stat().st_size <= 64 * PAGE
    assert all_of(spool) == [o for n in range(0, kept, 3) for o in large(3, 3000, first=n + 1)]
    spool.forget(kept // 2)  # what was sent makes room
    number = spool.append(large(3, 3000))
    assert number == kept + 3
    spool.refuse(kept // 2 + 1, "no")  # also where there is none, what is refused is kept
    spool.close()


def test_processes_append_at_once(spool: Spool) -> None:
    processes = [start(append_marked, spool.path, f"p{n}/runs/0", 150) for n in range(8)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    ids: dict[str, list[int]] = {}
    for number, outgoing in enumerate(all_of(spool), start=1):
        assert spool.first() == 1
        ids.setdefault(outgoing.record.envelope.source, []).append(outgoing.record.envelope.id)
        assert number <= 1200
    assert ids == {f"p{n}/runs/0": list(range(1, 151)) for n in range(8)}
    assert spool.depth().events == 1200
    spool.close()


def append_marked(path: Path, source: str, count: int) -> None:
    spool = Spool(path)
    for number in range(1, count + 1):
        spool.append(many(1, source, number))
    assert spool.own(spool.own_last) == count
    spool.close()


def test_threads_append_read_and_forget_at_once(spool: Spool) -> None:
    taken: list[Outgoing] = []
    appending = [
        threading.Thread(
            target=lambda n=n: [spool.append(many(2, f"{n}/runs/0", 1 + 2 * k)) for k in range(60)]
        )
        for n in range(4)
    ]
    for thread in appending:
        thread.start()
    while len(taken) < 480:
        batch = spool.batch(50)
        taken += [outgoing for _, outgoing in batch]
        if batch:
            spool.forget(batch[-1][0])
    for thread in appending:
        thread.join()
    for n in range(4):
        ids = [o.record.envelope.id for o in taken if o.record.envelope.source == f"{n}/runs/0"]
        assert ids == list(range(1, 121))
    assert spool.depth().events == 0
    spool.close()


@pytest.mark.parametrize(("step", "kept"), [("spool.written", 2), ("spool.committed", 3)])
def test_a_process_killed_while_it_appends(step: str, kept: int, spool: Spool) -> None:
    process = start(append_marked, spool.path, "p/runs/0", 5, failpoint=f"{step}:3")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert all_of(spool) == many(kept, "p/runs/0")
    assert spool.append(many(1)) == kept + 1
    spool.close()


def test_a_child_goes_on_with_a_spool_of_its_own(spool: Spool) -> None:
    spool.append(many(2, "parent/runs/0"))
    assert spool.own(9) == 2

    def child() -> None:
        assert spool.own_last == 0
        assert spool.own(9) == 0
        assert spool.depth().events >= 2  # the parent goes on meanwhile
        for number in range(1, 51):
            spool.append(many(1, "child/runs/0", number))
        assert spool.own(spool.own_last) == 50

    born = in_child(child)
    for number in range(3, 53):
        spool.append(many(1, "parent/runs/0", number))
    wait_for(born)
    assert spool.own(200) == 52
    assert spool.depth().events == 102
    spool.close()


def test_a_spool_that_is_removed_is_told_and_made_anew(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(many(2))
    assert spool.depth().events == 2
    spool.path.unlink()  # but not what stands beside it
    assert spool.depth().events == 0
    assert spool.append(many(1, first=3)) == 1
    assert "was removed or replaced" in caplog.text
    assert all_of(spool) == many(1, first=3)
    spool.close()


@pytest.mark.parametrize(
    ("setup", "error", "words"),
    [
        ("PRAGMA user_version = 99", LogForeign, "upgrade this one"),
        ("PRAGMA user_version = 0", LogForeign, "no spool"),
        ("DROP TABLE refused", LogForeign, "no spool"),
        ("UPDATE waiting SET head = x'00'", LogDamaged, "event 1 cannot be read"),
        ("UPDATE waiting SET head = 'text'", LogDamaged, "event 1 cannot be read"),
        ("UPDATE waiting SET said = '['", LogDamaged, "event 1 cannot be read"),
        ("UPDATE waiting SET content = NULL", LogDamaged, "event 1 cannot be read"),
        ("UPDATE waiting SET said = CAST(x'ff' AS TEXT)", LogDamaged, "not in the log yet"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_told(
    spool: Spool, setup: str, error: type[Exception], words: str
) -> None:
    spool.append(large(1, 10))
    spool.close()
    with sqlite3.connect(spool.path) as db:
        db.execute(setup)
    db.close()
    for _ in range(2):
        with pytest.raises(error, match=words) as raised:
            spool.batch(1)
        assert str(spool.path) in str(raised.value)
    spool.close()


@pytest.mark.parametrize("kept", [0, 50, 100, 5000])
def test_a_truncated_file_is_told_and_left_alone(spool: Spool, kept: int) -> None:
    spool.append(large(20, 3000))
    spool.close()
    spool.path.write_bytes(spool.path.read_bytes()[:kept])
    for ask in (lambda: list(spool.waiting()), lambda: spool.append(large(9, 3000))):
        with pytest.raises(LogDamaged, match="move it away") as raised:
            ask()
        assert str(spool.path) in str(raised.value)
    assert spool.path.stat().st_size == kept
    spool.close()


def test_whoever_may_write_to_the_folder_may_spool(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    before = os.umask(0o077)
    try:
        spool = Spool(tmp_path / "deep" / "spool.sqlite")
        spool.append(many(1))
        for file in spool.path.parent.iterdir():
            assert file.stat().st_mode & 0o060 == 0o060, file
        assert stat.S_IMODE(spool.path.parent.stat().st_mode) & 0o2070 == 0o2070
        spool.close()
    finally:
        os.umask(before)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool.sqlite")
    with pytest.raises(LogUnavailable, match="cannot make the folder"):
        spool.append(many(1))
    assert spool.depth().events == 0


def test_each_setting_of_durability_is_one_of_sqlite(tmp_path: Path) -> None:
    found: list[Any] = []
    for synchronous in ("normal", "full"):
        spool = Spool(tmp_path / synchronous / "spool", synchronous=synchronous)  # type: ignore[arg-type]
        spool.append(many(1))
        assert spool._connection is not None
        found += spool._connection.execute("PRAGMA synchronous").fetchone()
        spool.close()
    assert found == [1, 2]
