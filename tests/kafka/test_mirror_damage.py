"""A host's copy of the topics is only a copy: where it is damaged, the topics are copied again."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_ledger.bus import MirrorDamaged
from mlflow_ledger.consumers import FOLD_VERSION, KafkaLedger
from mlflow_ledger.schemas import RunCreated

from .hosts import digests, host, on_hosts
from .servers import servers

pytestmark = pytest.mark.brokers


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[KafkaLedger]:
    with on_hosts(servers(), tmp_path, 1) as (made,):
        made.write(lambda _: [run(f"r{number}") for number in range(200)])
        yield made


def run(run_id: str) -> RunCreated:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def count(ledger: KafkaLedger) -> int:
    found: int = ledger.query(lambda db: db.execute("SELECT count(*) FROM runs").fetchone()[0])
    return found


def garble(path: Path, start: int = 0) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(0).randbytes(size - start))


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbled": garble,
    "garbled inside": lambda path: garble(path, 4096),
    "truncated": lambda path: os.truncate(path, 20_000),
    "no database": lambda path: path.write_text("hello", "utf-8"),
    "a table gone": lambda path: execute(path, "DROP TABLE mirrored"),
    "an event gone": lambda path: execute(path, "DELETE FROM events WHERE seq = 7"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_mirror_is_copied_again(
    ledger: KafkaLedger, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = digests(ledger)
    place, path = ledger.kafka.place, ledger.log.path
    ledger.close()
    DAMAGE[damage](path)
    if damage == "an event gone":  # nobody reads it again before the state is folded anew
        (path.parent / f"CURRENT-{FOLD_VERSION}").unlink()
    with closing(host(place, tmp_path / "host-0")) as again:
        again.write(lambda _: [run("behind")])
        assert count(again) == 201
        again.write(lambda _: [run("more")])
        with closing(host(place, tmp_path / "other")) as other:
            assert digests(again) == digests(other) != there
        assert len(list(again.log.rows(1))) == again.log.last_offset()
    if damage != "missing":
        assert "copied again" in caplog.text
        assert path.with_name("log.sqlite.damaged").exists()


def test_who_has_the_mirror_open_goes_on_with_the_new_one(
    ledger: KafkaLedger, tmp_path: Path
) -> None:
    with closing(KafkaLedger(ledger._replica, ledger.settings)) as second:
        assert count(second) == 200
        second.write(lambda _: [run("second")])
        count(ledger)
        execute(ledger.log.path, "DELETE FROM origins; DROP TABLE mirrored")
        assert count(second) == 201  # mends it
        ledger.write(lambda _: [run("first")])
        assert count(ledger) == count(second) == 202
        with closing(host(ledger.kafka.place, tmp_path / "other")) as other:
            assert digests(ledger) == digests(second) == digests(other)
        for opened in (ledger, second):
            last = opened.log.last_offset()
            assert [opened.log.origin(n)[0][0] for n in range(1, last + 1)].count("runs") == 202


def test_rebuild_copies_again_what_only_an_audit_has_met(ledger: KafkaLedger) -> None:
    assert count(ledger) == 200
    execute(ledger.log.path, "UPDATE events SET head = NULL WHERE seq = 0")
    execute(ledger.log.path, "DELETE FROM events WHERE seq = 9")
    with pytest.raises(MirrorDamaged, match=r"only this host's copy.*mlflow-ledger rebuild"):
        list(ledger.log.read(ledger.log.start()))
    ledger.rebuild()
    assert len(list(ledger.log.read(ledger.log.start()))) == ledger.log.last_offset() == 201
    assert count(ledger) == 200
