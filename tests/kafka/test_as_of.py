"""A ledger in Kafka as of a moment: equal on all hosts, and never changed by what comes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import with_as_of
from mlflow_ledger.consumers import AsOfLedger, KafkaLedger, open_ledger, state_digest
from mlflow_ledger.query.audit import audit
from mlflow_ledger.query.changes import changes
from mlflow_ledger.query.history import history
from mlflow_ledger.query.sql import run_sql
from mlflow_ledger.schemas import (
    ExperimentCreated,
    ExperimentTagSet,
    ExperimentTagSetContent,
    PastReadOnly,
    RunCreated,
    SettingsError,
)

from .hosts import on_hosts
from .servers import servers


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[KafkaLedger]]:
    with on_hosts(servers(), tmp_path) as hosts:
        yield hosts


def experiment(number: int) -> ExperimentCreated:
    return ExperimentCreated(experiment_id=str(number), name=f"e{number}", artifact_location="x")


def run(run_id: str) -> RunCreated:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def tag(value: str) -> ExperimentTagSet:
    content = ExperimentTagSetContent(value=value)
    return ExperimentTagSet(experiment_id="1", tag="team", content=content)


def runs(db: sqlite3.Connection) -> list[str]:
    return sorted(run_id for (run_id,) in db.execute("SELECT run_id FROM runs"))


def test_both_hosts_see_the_same_past(two: list[KafkaLedger]) -> None:
    one, other = two
    one.write(lambda _: [experiment(1)])
    for number in range(6):
        one.write(lambda _, n=number: [run(f"r{n}")])  # type: ignore[misc]
    one.write(lambda _: [tag("red")])
    moment = one.catch_up()
    digest = one.query(state_digest)
    other.write(lambda _: [run("later")])
    other.write(lambda _: [tag("blue")])
    other.write(lambda _: [experiment(2)])
    for ledger in (one, other):
        ledger.catch_up()
        past = AsOfLedger(ledger, str(moment))
        assert past.query(state_digest) == digest
        assert past.query(runs) == [f"r{n}" for n in range(6)]
        assert "later" not in {row.entity.removeprefix("runs:/") for row in audit(past)}
        assert run_sql(past, "SELECT value FROM experiment_tags_history WHERE key = 'team'") == (
            ["value"],
            [("red",)],
        )
        with pytest.raises(PastReadOnly):
            past.write(lambda _: [run("x")])
        found = {change.entity: change.change for change in changes(ledger, str(moment))}
        assert found == {
            "experiments:/1": "changed",
            "experiments:/2": "created",
            "runs:/later": "created",
        }
        told = [r.value for r in history(ledger, "experiments:/1") if r.field == "tags.team"]
        assert told == ["red", "blue"]
        past.close()
    (row,) = [row for row in audit(one) if row.entity == "runs:/later"]
    before = AsOfLedger(one, row.position)  # the place of one event, in one partition
    assert before.query(runs) == [f"r{n}" for n in range(6)]
    assert before.query(lambda db: db.execute("SELECT count(*) FROM experiments").fetchone()) == (
        2,
    )
    with pytest.raises(SettingsError, match="has not come yet"):
        AsOfLedger(one, f"v1~{one.ledger_id}~c1000~r1").query(runs)
    with pytest.raises(SettingsError, match="name a time"):
        AsOfLedger(one, f"v1~{one.ledger_id}~3").query(runs)


def test_a_client_without_a_replica_is_told_where_to_ask(
    two: list[KafkaLedger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path / "thin"))
    uri = f"{two[0]._replica.place}?query=http://127.0.0.1:1"
    with pytest.raises(SettingsError, match="on the host of that service"):
        open_ledger(with_as_of(uri, "2026-03-03T12:00:00Z"))
