"""``mlflow-ledger spool`` and ``forward``: what they print and send, and with which status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlflow_ledger.bus import Log, Spool
from mlflow_ledger.query import spooling
from mlflow_ledger.query.cli import program
from mlflow_ledger.schemas import LogUnavailable, RunDeleted
from tests.bus.faults import FaultyLog
from tests.bus.records import many, outgoing

URI = "ledger+kafka://host:9092/team"


class Kept(FaultyLog):
    """A log that a test looks at after a command has closed it."""

    def close(self) -> None:
        """Stay open."""


@pytest.fixture
def log() -> Kept:
    return Kept()


@pytest.fixture
def spool(tmp_path: Path, log: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    def spool_of(uri: str, patience_s: float | None = None) -> tuple[Spool, Log]:
        assert uri == URI
        assert patience_s in (None, 0.01, 30)
        return Spool(tmp_path / "spool.sqlite"), log

    monkeypatch.setattr(spooling, "spool_of", spool_of)
    made = Spool(tmp_path / "spool.sqlite", clock=lambda: 1_700_000_000_000)
    yield made
    made.close()


def run(*args: str) -> Result:
    return CliRunner().invoke(program, args, prog_name="mlflow-ledger")


def test_an_empty_spool(spool: Spool) -> None:
    done = run("spool", URI)
    assert (done.exit_code, done.stdout) == (0, f"{spool.path}: 0 events wait, 0 B\n")
    assert run("forward", URI).stdout == "0 events sent, 0 wait\n"
    assert not spool.path.exists()


def test_what_waits_by_types(spool: Spool) -> None:
    spool.append([*many(3), outgoing(4, event=RunDeleted(run_id="r"))])
    done = run("spool", URI)
    first, _, *table = done.stdout.splitlines()
    assert first.startswith(f"{spool.path}: 4 events wait, ")
    assert first.endswith("the oldest since 2023-11-14T22:13:20.000Z")
    assert [line.split()[:2] for line in table] == [
        ["event", "type"], ["RunDeleted", "1"], ["RunTagDeleted", "3"],
    ]  # fmt: skip
    found = json.loads(run("spool", URI, "--json").stdout)
    assert found["events"] == 4
    assert found["size_bytes"] == spool.depth().size_bytes
    assert [row["events"] for row in found["waiting"]] == [1, 3]
    assert found["refused"] == []


def test_forward_sends_it(spool: Spool, log: Kept) -> None:
    spool.append(many(700))
    done = run("forward", URI)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "700 events sent, 0 wait\n", "")
    assert [s.record for s in log.read(log.start())] == [o.record for o in many(700)]
    assert spool.depth().events == 0


def test_forward_says_what_is_left(spool: Spool, log: Kept) -> None:
    spool.append(many(7))
    log.away = LogUnavailable("nobody there")
    done = run("forward", URI, "--patience-s", "0.01")
    assert (done.exit_code, done.stdout) == (1, "0 events sent, 7 wait\n")
    assert done.stderr.endswith("Error: nobody there\n")
    done = run("forward", URI, "--patience-s", "0.01", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "sent": 0, "left": 7, "refused": 0, "error": "nobody there",
    }  # fmt: skip


def test_what_was_refused_is_shown_and_sent_once_more_when_asked(spool: Spool, log: Kept) -> None:
    spool.append(many(5))
    log.refuses = lambda outgoing: outgoing.record.envelope.id == 3
    done = run("forward", URI)
    assert done.exit_code == 1
    assert done.stdout.startswith("4 events sent, 0 wait\n1 were not taken")
    shown = run("spool", URI).stdout
    assert "1 events were not taken by the log" in shown
    assert "RecordRefused: not that one" in shown
    (row,) = json.loads(run("spool", URI, "--json").stdout)["refused"]
    assert (row["type"], row["entity"]) == ("RunTagDeleted", "runs:/r")
    log.refuses = lambda _: False
    assert run("forward", URI).stdout == "0 events sent, 0 wait\n"
    assert run("forward", URI, "--refused").stdout == "1 events sent, 0 wait\n"
    assert [s.record.envelope.id for s in log.read(log.start())] == [1, 2, 4, 5, 3]


@pytest.mark.parametrize("command", ["spool", "forward"])
def test_a_ledger_in_a_folder_has_no_spool(command: str, tmp_path: Path) -> None:
    done = run(command, f"ledger:{tmp_path}/store")
    assert done.exit_code == 1
    assert "only ledgers in Kafka have one" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert run(command, "ledger+kafka://host/team").exit_code == 2
