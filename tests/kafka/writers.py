"""Processes that write to a ledger and follow it while tests end brokers, or them."""

from __future__ import annotations

import faulthandler
import os
import signal
import sqlite3
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

from mlflow_ledger.bus import (
    KafkaSettings,
    Position,
    Settings,
    Stored,
    failpoint,
    forkable,
    kafka_place,
)
from mlflow_ledger.consumers import KafkaLedger, find_replica
from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    KeyValue,
    LogUnavailable,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    decode,
)
from tests.bus.programs import FORKSERVER

from .hosts import PARTITIONS

__all__ = ["Notes", "copying", "fork_while_copying", "marks", "opened", "start", "writing"]

_PATIENCE_S = 400
_TIMEOUT_S = 4.0
_CATALOG_EVERY = 10
_PACE_S = 0.02
_FORK_S = 60


class Notes(NamedTuple):
    """What a writer has noted of its calls, each by its mark."""

    tried: set[str]
    returned: set[str]

    @classmethod
    def of(cls, folder: Path) -> Notes:
        """Of all writers that note in a folder."""
        tried: set[str] = set()
        returned: set[str] = set()
        for path in folder.glob("notes-*"):
            for line in path.read_text("utf-8").splitlines():
                kind, _, mark = line.partition(" ")
                {"try": tried, "done": returned}[kind].add(mark)
        return cls(tried, returned)


def opened(
    servers: str, name: str, home: Path, delivery: str, *, timeout_s: float = _TIMEOUT_S
) -> KafkaLedger:
    """The ledger as a host sees it, with little patience for brokers that are away."""
    kafka = KafkaSettings(partitions=PARTITIONS, timeout_s=timeout_s)
    haste = "1" if timeout_s == _TIMEOUT_S else str(timeout_s)
    settings = Settings.read(delivery=delivery, home=str(home), read_wait_s=haste, drain_s="0.5")
    place = kafka_place(f"ledger+kafka://{servers}/{name}")
    return KafkaLedger(find_replica(place, home, kafka), settings, kafka)


def start(work: Callable[..., None], *arguments: object, dies_at: str = "") -> ForkServerProcess:
    """Run a function of this module in a process of its own, to be killed at a failpoint."""
    process = FORKSERVER.Process(target=_work, args=(work, arguments, dies_at))
    process.start()
    return process


def _work(work: Callable[..., None], arguments: tuple[object, ...], dies_at: str) -> None:
    signal.alarm(_PATIENCE_S)
    if dies_at:
        failpoint._WANTED = dies_at
    work(*arguments)


def writing(servers: str, name: str, home: Path, delivery: str, folder: Path, writer: str) -> None:
    """Write until the file ``stop`` is there; every call is noted before and, if it returns, after.

    Whatever a call raises but that the log is away ends the process.
    """
    ledger = opened(servers, name, home, delivery)
    with (folder / f"notes-{writer}").open("ab", buffering=0) as notes:
        number, run_id = 0, ""
        while not (folder / "stop").exists():
            number += 1
            time.sleep(_PACE_S)  # what is said while nothing goes wrong shows little
            mark = f"{writer}-{number}"
            os.write(notes.fileno(), f"try {mark}\n".encode())
            try:
                if number % _CATALOG_EVERY == 1:
                    run_id = ""
                    _create(ledger, mark)
                    run_id = mark
                elif number % _CATALOG_EVERY == 0:
                    _name(ledger, mark)
                elif run_id:
                    _tag(ledger, run_id, mark)
                else:
                    continue
            except LogUnavailable:
                continue
            os.write(notes.fileno(), f"done {mark}\n".encode())
    ledger.close()


def _create(ledger: KafkaLedger, mark: str) -> None:
    run = RunCreated(run_id=mark, experiment_id="0", artifact_uri="x")
    ledger.write(lambda _: [run])


def _name(ledger: KafkaLedger, mark: str) -> None:
    """Something that needs a verdict."""
    number = str(zlib.crc32(mark.encode()) + 1)
    created = ExperimentCreated(experiment_id=number, name=mark, artifact_location="x")
    ledger.write(lambda _: [created])


def _tag(ledger: KafkaLedger, run_id: str, mark: str) -> None:
    """Log to a run of this process, which it must see whether or not the brokers are there."""
    tags = [KeyValue(key=mark, value="1")]
    logged = RunDataLogged(run_id=run_id, content=RunDataLoggedContent(tags=tags))

    def decide(db: sqlite3.Connection) -> list[Event]:
        found = db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        assert found is not None, f"{run_id} was acknowledged, and is not there for {mark}"
        return [logged]

    ledger.write(decide)


def copying(servers: str, name: str, home: Path) -> None:
    """Copy and fold a ledger."""
    ledger = opened(servers, name, home, "ack", timeout_s=30.0)
    ledger.catch_up()
    ledger.close()


class _Beginning:
    """Is told that a fork begins, before anything stands still."""

    fork_order = -1

    def __init__(self) -> None:
        self.begun = threading.Event()
        forkable(self)

    def before_fork(self) -> None:
        self.begun.set()

    def after_fork_in_parent(self) -> None:
        pass

    def after_fork_in_child(self) -> None:
        pass


def fork_while_copying(servers: str, name: str, home: Path) -> None:
    """Fork while a thread holds what it has read from the brokers, and is about to copy it."""
    faulthandler.dump_traceback_later(_FORK_S, exit=True)
    ledger = opened(servers, name, home, "ack", timeout_s=30.0)
    beginning, read = _Beginning(), threading.Event()
    batches = ledger._reading.batches

    def held(*position: Position) -> Iterator[tuple[list[Stored], Position]]:
        for batch in batches(*position):
            read.set()
            assert beginning.begun.wait(_FORK_S)
            yield batch

    ledger._reading.batches = held  # type: ignore[method-assign]
    copier = threading.Thread(target=ledger.catch_up)
    copier.start()
    assert read.wait(_FORK_S)
    child = os.fork()
    if child == 0:
        ledger._reading.batches = batches  # type: ignore[method-assign]
        ledger.catch_up()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    copier.join()
    ledger.close()


def marks(ledger: KafkaLedger) -> Counter[str]:
    """How often what writers have marked stands in a replica, each identity counted once."""
    return Counter(_marks(ledger))


def _marks(ledger: KafkaLedger) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for _, _, record in ((s.partition, s.offset, s.record) for s in ledger.log.rows(1)):
        envelope = record.envelope
        if (envelope.source, envelope.id) in seen:
            continue
        seen.add((envelope.source, envelope.id))
        if envelope.type == "Unreadable":
            continue
        event = decode(envelope.type, record.head, record.content)
        if isinstance(event, RunCreated):
            yield event.run_id
        elif isinstance(event, ExperimentCreated) and event.experiment_id != "0":
            yield event.name
        elif isinstance(event, RunDataLogged) and event.content is not None:
            yield from (tag.key for tag in event.content.tags)
