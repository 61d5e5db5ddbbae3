"""Replicas that were begun at any time, and killed at any moment, come to the same state."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_ledger.bus import KafkaLog, KafkaSettings
from mlflow_ledger.consumers import KafkaLedger
from tests.consumers.histories import History

from .hosts import PARTITIONS, digests, host, on_hosts
from .servers import servers
from .writers import Notes, copying, fork_while_copying, marks, opened, start, writing

pytestmark = pytest.mark.brokers

WITHIN_S = 120
STEPS = (
    "mirror.written", "mirror.taken", "catchup.begun", "fold.begun", "fold.written",
    "catchup.folded", "generation.built", "generation.named",
)  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaLedger]:
    """A ledger of a random history, and a host that has folded it as it came."""
    with on_hosts(servers(), tmp_path_factory.mktemp("replicas"), 1) as (made,):
        records = History(7).records(600)
        log = KafkaLog(made.kafka.place, KafkaSettings(partitions=PARTITIONS), made.ledger_id)
        with closing(log):
            for first in range(0, len(records), 100):
                log.append(
                    [
                        said._replace(partition=(topic, number % made.log.partitions()[topic]))
                        for said in records[first : first + 100]
                        for topic, number in [said.partition]
                    ]
                )
                made.catch_up()
        yield made


def ended(process: object, exitcode: int) -> None:
    process.join(WITHIN_S)  # type: ignore[attr-defined]
    assert process.exitcode == exitcode  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(ledger: KafkaLedger, tmp_path: Path, step: str) -> None:
    place = ledger.kafka.place
    arguments = (",".join(place.servers), place.name, tmp_path)
    ended(start(copying, *arguments, dies_at=step), -signal.SIGKILL)
    with closing(host(place, tmp_path)) as again:
        assert digests(again) == digests(ledger)


def test_killed_while_a_damaged_mirror_is_begun_anew(ledger: KafkaLedger, tmp_path: Path) -> None:
    place = ledger.kafka.place
    arguments = (",".join(place.servers), place.name, tmp_path)
    ended(start(copying, *arguments), 0)
    (path,) = tmp_path.rglob("log.sqlite")
    path.write_bytes(b"garbage" * 1000)
    ended(start(copying, *arguments, dies_at="mirror.moved"), -signal.SIGKILL)
    assert not path.exists()
    with closing(host(place, tmp_path)) as again:
        assert digests(again) == digests(ledger)


@pytest.mark.timeout(300)
def test_killed_again_and_again_while_others_write(tmp_path: Path) -> None:
    randomness = random.Random()
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        place = ledger.kafka.place
        where = ",".join(place.servers), place.name
        writers = [
            start(writing, *where, tmp_path / "host-0", delivery, tmp_path, delivery)
            for delivery in ("ack", "spool")
        ]
        kills, deadline = 0, time.monotonic() + WITHIN_S
        try:
            while kills < 8 or len(Notes.of(tmp_path).returned) < 60:
                assert time.monotonic() < deadline
                copier = start(copying, *where, tmp_path / "killed")
                copier.join(randomness.uniform(0, 0.4))  # this is the random moment
                copier.kill()
                copier.join()
                kills += copier.exitcode == -signal.SIGKILL
            (tmp_path / "stop").touch()
            for writer in writers:
                ended(writer, 0)
        finally:
            for writer in writers:
                writer.kill()
        assert ledger.forwarder.run(30.0) == 0
        with (
            closing(host(place, tmp_path / "killed")) as killed,
            closing(host(place, tmp_path / "late")) as late,
        ):
            assert digests(killed) == digests(late) == digests(ledger)
            notes = Notes.of(tmp_path)
            for found in map(marks, (killed, late, ledger)):
                assert notes.returned - found.keys() == set()
                assert set(found.values()) == {1}


def test_a_process_that_forks_while_a_thread_copies(ledger: KafkaLedger, tmp_path: Path) -> None:
    place = ledger.kafka.place
    process = start(fork_while_copying, ",".join(place.servers), place.name, tmp_path)
    ended(process, 0)
    with closing(host(place, tmp_path)) as again:
        assert digests(again) == digests(ledger)


def test_a_ledger_that_is_opened_twice(ledger: KafkaLedger, tmp_path: Path) -> None:
    place = ledger.kafka.place
    where = ",".join(place.servers), place.name
    with (
        closing(opened(*where, tmp_path, "ack", timeout_s=30.0)) as first,
        closing(opened(*where, tmp_path, "ack", timeout_s=30.0)) as second,
    ):
        assert first.folder == second.folder
        assert first.log.path == second.log.path
        assert digests(first) == digests(second) == digests(ledger)
