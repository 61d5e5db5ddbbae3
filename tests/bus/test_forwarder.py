"""The forwarder: all that was spooled reaches the log, in order, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import (
    FileLock,
    Forwarder,
    Log,
    MemoryLog,
    Outgoing,
    Spool,
    SqliteLog,
    Stored,
    forwarder,
)
from mlflow_ledger.schemas import LogDamaged, LogUnavailable

from .faults import LEDGER_ID, FaultyLog
from .programs import ROOT, in_child, start, wait_for
from .records import SOURCE, many

URI = "ledger+kafka://host:9092/team"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool.sqlite")
    yield made
    made.close()


@pytest.fixture
def log() -> FaultyLog:
    return FaultyLog()


@pytest.fixture
def sender(spool: Spool, log: FaultyLog) -> Iterator[Forwarder]:
    made = Forwarder(spool, log, URI, first_delay_s=0.001, most_delay_s=0.01)
    yield made
    log.open.set()
    made.close(0)


def say(sender: Forwarder, records: list[Outgoing]) -> None:
    sender.spool.append(records)
    sender.notify()


def ids(stored: Iterable[Stored], source: str = SOURCE) -> list[int]:
    """The ids of a source in the order in which they came first: as the fold sees them."""
    found = (s.record.envelope.id for s in stored if s.record.envelope.source == source)
    return list(dict.fromkeys(found))


def all_of(log: Log) -> list[Stored]:
    return list(log.read(log.start()))


def until(holds: Callable[[], bool]) -> None:
    """Wait for another thread or process; the test's own time limit ends it."""
    while not holds():
        os.sched_yield()


def test_what_is_spooled_is_sent_in_order_and_forgotten(
    sender: Forwarder, spool: Spool, log: FaultyLog
) -> None:
    for first in range(1, 2001, 40):
        say(sender, many(40, first=first))
    assert sender.drain(60) == 0
    assert [s.record.envelope.id for s in all_of(log)] == list(range(1, 2001))
    assert [s.record for s in all_of(log)] == [o.record for o in many(2000)]
    assert spool.depth().events == 0
    assert sender.status() == (spool.depth(), 0, None, None)


def test_much_goes_in_large_batches(sender: Forwarder, log: FaultyLog) -> None:
    sender.spool.append(many(1700))
    sender.notify()
    assert sender.drain(60) == 0
    assert log.sizes == [500, 500, 500, 200]


def test_no_thread_before_something_is_spooled(sender: Forwarder, spool: Spool) -> None:
    before = threading.active_count()
    assert sender.drain(0) == 0
    assert sender.close(0) == 0
    assert threading.active_count() == before
    assert not spool.path.exists()


def test_no_wake_up_is_lost(
    sender: Forwarder, log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads spool single records, each waits until its own is there: nobody else wakes it."""
    monkeypatch.setattr(forwarder, "_IDLE_S", 3600)
    came = threading.Condition()
    append = log.append

    def telling(records: list[Outgoing]) -> list[Stored]:
        stored = append(records)
        with came:
            seen.update((o.record.envelope.source, o.record.envelope.id) for o in records)
            came.notify_all()
        return stored

    seen: set[tuple[str, int]] = set()
    monkeypatch.setattr(log, "append", telling)
    missed: list[str] = []

    def work(source: str) -> None:
        for number in range(1, 41):
            say(sender, many(1, source, number))
            with came:
                if not came.wait_for(lambda: (source, number) in seen, timeout=60):  # noqa: B023  # called at once
                    missed.append(f"{source} {number}")
                    return

    threads = [threading.Thread(target=work, args=(f"{n}/runs/0",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []
    assert len(all_of(log)) == 16 * 40


def test_an_outage_costs_nothing_and_is_told_once(
    sender: Forwarder, spool: Spool, log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    say(sender, many(3))
    assert sender.drain(60) == 0
    log.away = LogUnavailable("nobody there")
    for number in range(4, 54):
        say(sender, many(1, first=number))
    until(lambda: len(log.sizes) > 8)  # it has been asked again and again
    assert sender.drain(0.01) == 50
    status = sender.status()
    assert status.error == "nobody there"
    assert status.away_since_ms is not None
    assert status.away_since_ms <= time.time_ns() // 1_000_000
    assert status.depth.events == 50
    log.away = None
    assert sender.drain(60) == 0
    assert sender.status() == (spool.depth(), 0, None, None)
    assert [s.record.envelope.id for s in all_of(log)] == list(range(1, 54))
    told = [r.message for r in caplog.records]
    assert len(told) == 2
    assert told[0].startswith(f"cannot send to {URI}: nobody there. Events wait in {spool.path}")
    assert "answers again" in told[1]
    log.away = LogUnavailable("again")
    say(sender, many(1, first=54))
    until(lambda: sender.status().error is not None)
    assert "again" in caplog.records[-1].message  # of each outage


def test_back_off_is_bounded_and_not_cut_short_by_what_is_spooled(
    spool: Spool, log: FaultyLog
) -> None:
    log.away = LogUnavailable("nobody there")
    patient = Forwarder(spool, log, URI, first_delay_s=3600, most_delay_s=3600)
    say(patient, many(1))
    until(lambda: bool(log.sizes))
    for number in range(2, 200):
        say(patient, many(1, first=number))
    assert patient.drain(0.05) == 199
    assert log.sizes == [1]
    assert patient.close(0) == 199
    delays = Forwarder(spool, log, URI)
    waited = [delays._is_away(LogUnavailable()) for _ in range(12)]
    assert all(0.05 <= wait <= 0.1 for wait in waited[:1])
    assert all(2.5 <= wait <= 5.0 for wait in waited[6:])
    assert len(set(waited)) == 12


def test_a_delivery_that_was_not_heard_of_is_made_again(sender: Forwarder, log: FaultyLog) -> None:
    log.unheard = 3
    say(sender, many(30))
    assert sender.drain(60) == 0
    assert [s.record.envelope.id for s in all_of(log)] == list(range(1, 31)) * 4
    assert ids(all_of(log)) == list(range(1, 31))


@pytest.mark.parametrize("poison", [{1}, {600}, {7, 8, 250, 1200}, {1199, 1200}, set(range(1, 12))])
def test_what_the_log_refuses_is_put_aside_and_the_rest_goes_on(
    sender: Forwarder,
    spool: Spool,
    log: FaultyLog,
    caplog: pytest.LogCaptureFixture,
    poison: set[int],
) -> None:
    log.refuses = lambda outgoing: outgoing.record.envelope.id in poison
    say(sender, many(1200))
    assert sender.drain(60) == 0
    assert [s.record.envelope.id for s in all_of(log)] == [
        n for n in range(1, 1201) if n not in poison
    ]
    refused = spool.refused()
    assert [(r.number, r.outgoing) for r in refused] == [
        (n, many(1, first=n)[0]) for n in sorted(poison)
    ]
    assert {r.error for r in refused} == {"RecordRefused: not that one"}
    assert sender.status().refused == len(poison)
    until(lambda: len(caplog.records) == len(poison))  # the last is told once it is put aside
    told = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert (
        f"does not take the RunTagDeleted about runs:/r (not that one). It is kept in {spool.path}"
        in told[0]
    )
    log.refuses = lambda _: False
    assert spool.retry_refused() == len(poison)
    sender.notify()
    assert sender.drain(60) == 0
    assert sorted(ids(all_of(log))) == list(range(1, 1201))
    assert spool.refused() == []


def test_an_error_that_nobody_foresaw_is_told_and_nothing_is_dropped(
    sender: Forwarder, spool: Spool, log: FaultyLog
) -> None:
    log.away = ZeroDivisionError("a defect")
    say(sender, many(3))
    until(lambda: sender.status().error == "ZeroDivisionError: a defect")
    log.away = None
    assert sender.drain(60) == 0
    assert ids(all_of(log)) == [1, 2, 3]
    assert spool.refused() == []


def test_a_damaged_spool_is_told_and_left(
    sender: Forwarder, spool: Spool, log: FaultyLog, capsys: pytest.CaptureFixture[str]
) -> None:
    log.away = LogUnavailable("nobody there")
    say(sender, many(3))
    spool.close()
    spool.path.write_bytes(b"garbage" * 1000)
    with pytest.raises(LogDamaged, match="move it away"):
        sender.drain(60)
    assert sender.close(60) == -1
    assert str(spool.path) in capsys.readouterr().err
    assert spool.path.read_bytes() == b"garbage" * 1000


def test_a_log_that_does_not_answer_blocks_nobody(
    sender: Forwarder,
    spool: Spool,
    log: FaultyLog,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log.open.clear()
    say(sender, many(1))
    assert log.asked.wait(60)
    for number in range(2, 300):  # the thread is inside the log all the while
        say(sender, many(1, first=number))
    assert sender.close(0.02) == 299
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mlflow-ledger: 299 events of this process were not sent to {URI}.")
    assert f"Nothing is lost: they wait in {spool.path}, where 299 events wait since 20" in line
    assert line.endswith(f"mlflow-ledger forward {URI}")
    assert caplog.records[-1].message == line.removeprefix("mlflow-ledger: ")
    log.open.set()
    until(lambda: len(all_of(log)) > 0)  # the thread ends with what it was doing
    say(sender, many(1, first=300))  # and it can be used again
    assert sender.drain(60) == 0
    assert ids(all_of(log)) == list(range(1, 301))


def test_where_no_thread_can_be_started_any_more_draining_sends(
    sender: Forwarder, log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    log.unheard = 1
    say(sender, many(30))
    assert log.sizes == []
    assert sender.close(60) == 0
    assert ids(all_of(log)) == list(range(1, 31))


def test_the_thread_keeps_no_process_from_ending(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mlflow_ledger.bus import Forwarder, Spool\n"
        "from tests.bus.faults import FaultyLog\n"
        "from tests.bus.records import many\n"
        "log = FaultyLog(); log.open.clear()\n"
        "sender = Forwarder(Spool(Path(sys.argv[1])), log, 'URI')\n"
        "sender.spool.append(many(7)); sender.notify(); log.asked.wait()\n"
        "print(sender.close(0.01))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path / "spool"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "7\n")
    (line,) = done.stderr.splitlines()  # once, though no logging is set up
    assert "7 events of this process were not sent" in line


def test_forks_do_not_wait_for_the_log_and_children_send_on_their_own(
    spool: Spool, tmp_path: Path
) -> None:
    SqliteLog.create(tmp_path / "log.sqlite", LEDGER_ID)
    behind = SqliteLog(tmp_path / "log.sqlite")
    log = FaultyLog(behind)
    sender = Forwarder(spool, log, URI)
    log.open.clear()
    say(sender, many(20, "parent/runs/0"))
    assert log.asked.wait(60)

    def child() -> None:
        log.open = threading.Event()
        log.open.set()
        assert sender._thread is None
        assert sender.drain(0) == 0  # what waits is its parent's
        say(sender, many(20, "child/runs/0"))
        assert sender.drain(0.2) == 20  # its parent has the turn
        assert sender.close(0) == 20

    wait_for(in_child(child))
    assert not FileLock(sender._turn.path).try_acquire()  # the child's end freed nothing
    log.open.set()
    assert sender.drain(60) == 0
    say(sender, many(1, "parent/runs/0", 21))
    assert sender.drain(60) == 0  # and what the child left went before that
    assert ids(all_of(behind), "parent/runs/0") == list(range(1, 22))
    assert ids(all_of(behind), "child/runs/0") == list(range(1, 21))
    sender.close(0)
    behind.close()


def open_log(folder: Path) -> SqliteLog:
    return SqliteLog(folder / "log.sqlite")


def spool_and_forward(folder: Path, name: str, count: int) -> None:
    """Spool records one by one, noting each once it is acknowledged; send all the while."""
    sender = Forwarder(Spool(folder / "spool.sqlite"), open_log(folder), URI, most_records=7)
    notes = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(1, count + 1):
        say(sender, many(1, f"{name}/runs/0", number))
        os.write(notes, f"{name}/runs/0 {number}\n".encode())
    assert sender.close(100) == 0


def spool_and_hang(folder: Path) -> None:
    """Spool records, and hang in the midst of sending them."""
    log = FaultyLog(open_log(folder))
    log.open.clear()
    sender = Forwarder(Spool(folder / "spool.sqlite"), log, URI)
    say(sender, many(100, "victim/runs/0"))
    log.asked.wait()
    (folder / "hangs").touch()
    sender.drain(100)


def finish(folder: Path) -> dict[str, list[int]]:
    """What stands in the log once somebody has sent the rest: ids of each source, first comings."""
    log = open_log(folder)
    spool = Spool(folder / "spool.sqlite")
    assert Forwarder(spool, log, URI).run(60) == 0
    assert spool.refused() == []
    spool.close()
    stored = all_of(log)
    log.close()
    sources = {s.record.envelope.source for s in stored}
    return {source: ids(stored, source) for source in sources}


def acknowledged(folder: Path) -> dict[str, int]:
    """The last id of each source whose append had returned."""
    found: dict[str, int] = {}
    for line in (folder / "notes").read_text("utf-8").splitlines():
        source, number = line.split()
        found[source] = int(number)
    return found


@pytest.mark.parametrize("step", ["forward.sent", "forward.forgotten"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_process_killed_while_it_forwards(step: str, count: int, tmp_path: Path) -> None:
    SqliteLog.create(tmp_path / "log.sqlite", LEDGER_ID)
    process = start(spool_and_forward, tmp_path, "p", 10**6, failpoint=f"{step}:{count}")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = open_log(tmp_path).last_offset()
    assert before > 0
    first = Spool(tmp_path / "spool.sqlite").first()
    assert (first is not None and first <= before) == (step == "forward.sent")
    last = acknowledged(tmp_path)["p/runs/0"]
    (found,) = finish(tmp_path).values()
    assert found == list(range(1, len(found) + 1))
    assert len(found) in (last, last + 1)


def test_who_waits_goes_on_when_the_one_that_sends_is_killed(tmp_path: Path) -> None:
    SqliteLog.create(tmp_path / "log.sqlite", LEDGER_ID)
    victim = start(spool_and_hang, tmp_path)
    log, spool = open_log(tmp_path), Spool(tmp_path / "spool.sqlite")
    until((tmp_path / "hangs").exists)
    sender = Forwarder(spool, log, URI)
    say(sender, many(20))
    assert sender.drain(0.1) == 20
    victim.kill()
    victim.join()
    assert sender.drain(60) == 0
    assert ids(all_of(log)) == list(range(1, 21))
    sender.close(0)
    spool.close()
    log.close()
    assert finish(tmp_path)["victim/runs/0"] == list(range(1, 101))


def test_processes_spool_and_forward_and_are_killed_at_random(tmp_path: Path) -> None:
    SqliteLog.create(tmp_path / "log.sqlite", LEDGER_ID)
    (tmp_path / "notes").touch()
    numbers = itertools.count()
    victims = {f"v{next(numbers)}": None for _ in range(4)}
    running = {name: start(spool_and_forward, tmp_path, name, 10**6) for name in victims}
    others = [start(spool_and_forward, tmp_path, f"o{n}", 300) for n in range(4)]
    for kill, name in enumerate(list(running)):
        wanted = 40 * (kill + 1)
        until(lambda: acknowledged(tmp_path).get(f"{name}/runs/0", 0) >= wanted)  # noqa: B023  # called at once
        running[name].kill()
        running[name].join()
    for process in others:
        process.join()
        assert process.exitcode == 0
    noted, found = acknowledged(tmp_path), finish(tmp_path)
    assert found.keys() == noted.keys()
    for source, last in noted.items():
        assert found[source] == list(range(1, len(found[source]) + 1))
        assert len(found[source]) - last in ((0, 1) if source.startswith("v") else (0,))


def test_run_sends_what_the_dead_have_left_and_tells_how_far_it_is(
    spool: Spool, log: FaultyLog
) -> None:
    spool.append(many(1700))
    told: list[int] = []
    sender = Forwarder(spool, log, URI)
    assert sender.run(60, told.append) == 0
    assert told == [1200, 700, 200, 0]
    assert sender._thread is None
    assert ids(all_of(log)) == list(range(1, 1701))


def test_run_gives_up_when_nothing_moves(spool: Spool, log: FaultyLog) -> None:
    spool.append(many(5))
    sender = Forwarder(spool, log, URI, first_delay_s=0.001, most_delay_s=0.001)
    log.away = LogUnavailable("nobody there")
    assert sender.run(0.05) == 5
    assert len(log.sizes) > 3
    log.away = None
    other = FileLock(sender._turn.path)
    assert other.try_acquire()  # another process is at it, and does not get on
    assert sender.run(0.05) == 5
    other.release()
    other.close()
    assert sender.run(60) == 0


def test_a_closed_target_is_an_outage(spool: Spool) -> None:
    target = MemoryLog(LEDGER_ID)
    target.close()
    spool.append(many(2))
    sender = Forwarder(spool, target, URI, first_delay_s=0.001)
    assert sender.run(0.01) == 2
    assert sender.status().error == f"log {LEDGER_ID} is closed"
