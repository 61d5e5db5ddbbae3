"""Trees over the topics: every host computes the same, and finds where its copy is another."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Checkpoint, SigningKey, Trees, newest_notes
from mlflow_ledger.query.check import check
from mlflow_ledger.query.proof import Proof
from mlflow_ledger.query.prove import proof_of
from mlflow_ledger.query.verify import Report, verify
from mlflow_ledger.schemas import (
    ModelVersionCreated,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RunCreated,
)
from tests.consumers import rfc6962

from .homes import at, consume, history, new_uri, say
from .hosts import host, new_place, on_hosts
from .servers import drop, servers

pytestmark = pytest.mark.brokers

MODEL = {"model_uid": "u", "name": "wine"}


def begun(folder: Path) -> str:
    """The URI of a ledger that has just begun."""
    uri = new_uri()
    with closing(at(uri, folder / "beginning")) as ledger:
        ledger.write(lambda _: [run("r")])
    return uri


def told(report: Report) -> list[tuple[str, str, str]]:
    """What is said of trees and copies; random histories hold conflicts and holes of their own."""
    return [
        (f.part, f.place, f.message)
        for f in report.findings
        if f.part == "trees" or "signed" in f.message or "topic" in f.message or "time" in f.message
    ]


def test_two_hosts_compute_the_same_trees(tmp_path: Path) -> None:
    """Each has copied the partitions in another order, and one goes on where the other signed."""
    key = SigningKey.new()
    uri = new_uri()
    records = history(7, 300)
    homes = [tmp_path / "a", tmp_path / "b"]
    with closing(at(uri, homes[0], tmp_path / "blobs-a")) as first:
        first.write(lambda _: [run("r")])
        say(uri, records[:150])
        first.catch_up()
        Trees(first, key).publish()
        say(uri, records[150:])
        first.catch_up()
        made = {c.origin: c for c in Trees(first, key).publish()}
        with closing(at(uri, homes[1], tmp_path / "blobs-b")) as second:
            second.catch_up()
            whole = {c.origin: c for c in Trees(second, key).publish()}
            for origin, checkpoint in made.items():
                assert (whole[origin].size, whole[origin].root) == (
                    checkpoint.size,
                    checkpoint.root,
                )
            assert set(made) <= set(whole)
            held = newest_notes(second)
            for ledger in (first, second):
                report = verify(ledger, keys=[key.public], held=held)
                assert told(report) == []
                assert report.position == str(ledger.log.position())


def test_a_copy_that_differs_from_the_topic_is_named(tmp_path: Path) -> None:
    key = SigningKey.new()
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        ledger.write(lambda _: [run(f"r{number}") for number in range(20)])
        ledger.catch_up()
        Trees(ledger, key).publish()
        assert told(verify(ledger, keys=[key.public])) == []
        ((seq, topic, number, offset),) = [
            (stored.offset, *partition, there)
            for stored in ledger.log.rows(12, 1)
            for partition, there in [ledger.log.origin(stored.offset)]
        ]
        with closing(sqlite3.connect(ledger.log.path, isolation_level=None)) as db:
            db.execute("UPDATE events SET append_ms = append_ms + 1 WHERE seq >= ?", (seq,))
        found = told(verify(ledger, keys=[key.public]))
        place = f"{topic}-{number} at offset {offset}"
        assert ("log", place, "is another one in the topic than in this host's copy of it") in found
        assert any(
            part == "log" and where == place and "was given another time" in message
            for part, where, message in found
        )


def run(run_id: str) -> RunCreated:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def test_a_proof_spans_the_trees_of_several_topics(tmp_path: Path) -> None:
    key, place = SigningKey.new(), new_place(servers())
    file = tmp_path / "signing.pem"
    file.write_text(key.pem())
    version = {**MODEL, "version_uid": "v1"}
    with closing(host(place, tmp_path / "home", blobs=tmp_path / "blobs")) as ledger:
        ledger.settings = ledger.settings.model_copy(update={"signing_key": file})
        ledger.write(lambda _: [run("r1")])
        ledger.write(lambda _: [RegisteredModelCreated(**MODEL)])
        ledger.write(lambda _: [ModelVersionCreated(**version, run_id="r1")])
        ledger.write(lambda _: [RegisteredModelAliasSet(**version, version=1, alias="champion")])
        ledger.catch_up()
        proof = proof_of(ledger, "models:/wine@champion")
        assert len(proof.checkpoints) == 2
        found = check(Proof.parse(json.dumps(proof.as_json())), [key.public])
        assert found.problems == []
        stored = next(ledger.log.rows(1))
        assert check(proof_of(ledger, ledger.log.place(stored)), [key.public]).holds
    drop(place)


def test_the_service_signs(tmp_path: Path) -> None:
    key = SigningKey.new()
    file = tmp_path / "signing.pem"
    file.write_text(key.pem())
    uri = begun(tmp_path)
    say(uri, history(3, 100))
    environment = {
        "MLFLOW_LEDGER_SIGNING_KEY": str(file),
        "MLFLOW_LEDGER_BLOBS": f"file://{tmp_path / 'blobs'}",
    }
    process = consume(uri, tmp_path / "home", "--once", **environment)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    with closing(at(uri, tmp_path / "home", tmp_path / "blobs")) as ledger:
        ledger.catch_up()
        signed = [Checkpoint.opened(note, [key.public]) for note in newest_notes(ledger).values()]
        assert sum(made.size for made in signed) == ledger.log.last_offset()
        assert told(verify(ledger, keys=[key.public])) == []


def test_the_second_implementation_agrees_on_a_partition(tmp_path: Path) -> None:
    uri = begun(tmp_path)
    say(uri, history(5, 60))
    with closing(at(uri, tmp_path / "home", tmp_path / "blobs")) as ledger:
        ledger.catch_up()
        made = {c.origin: c for c in Trees(ledger, SigningKey.new()).publish()}
        leaves: dict[str, list[bytes]] = {}
        for stored in ledger.originals():
            topic, number = stored.partition
            name = f"mlflow-ledger/{ledger.ledger_id}/{topic}/{number}"
            data = stored.record.digest() + stored.append_ms.to_bytes(8, "big")
            leaves.setdefault(name, []).append(data)
        assert {name: rfc6962.mth(data) for name, data in leaves.items()} == {
            name: checkpoint.root for name, checkpoint in made.items()
        }
