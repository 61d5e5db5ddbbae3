"""A ledger in Kafka that was created erasable: what was erased is on no host any more."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient
from mlflow.tracking import MlflowClient

from mlflow_ledger.bus import KafkaPlace, Position, Settings, kafka_place
from mlflow_ledger.consumers import (
    Analytics,
    Blobs,
    Delivery,
    KafkaLedger,
    SigningKey,
    archive_of,
    backup,
    begin_ledger,
    by_keys,
    check_can_forget,
    open_ledger,
    plan_redaction,
    redact,
    restore_to_topics,
    seal,
    source_at,
)
from mlflow_ledger.query.audit import audit
from mlflow_ledger.query.check import check
from mlflow_ledger.query.cli.program import program
from mlflow_ledger.query.prove import proof_of
from mlflow_ledger.query.redacting import scope_about
from mlflow_ledger.query.sql import run_sql
from mlflow_ledger.query.verify import verify
from mlflow_ledger.schemas import LogForeign
from tests.bus.programs import start
from tests.producers import test_redaction as embedded
from tests.producers.test_redaction import MARK, OTHER, World
from tests.service.running import threaded

from .homes import come_up, new_uri
from .hosts import KAFKA, digests, host
from .servers import drop
from .topics import messages


class KafkaWorld(World):
    """As the embedded ledger's, told by one host that spools; another only reads."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.place: KafkaPlace = kafka_place(uri)
        self.folder = folder
        self.blobs = folder / "shared"
        self.client = MlflowClient(uri, uri)
        ledger = begin_ledger(uri, erasable=True)
        assert isinstance(ledger, KafkaLedger)
        self.ledger: KafkaLedger = ledger
        self.run = self._run(MARK)
        self.other = self._run(OTHER)

    def tell_more(self) -> None:
        self.experiment = self.client.create_experiment(
            "structure", tags={"owner": f"{MARK} tag of an experiment"}
        )
        self.logged, self.trace = self._logged_model(MARK), self._trace(MARK)
        self.version = self._model("wine", MARK)

    def erase(self, entity: str, reason: str = "asked for") -> Any:
        self.ledger.follow()
        return super().erase(entity, reason)

    def another(self, name: str) -> KafkaLedger:
        """Another host, with all that can be made of the log."""
        ledger = host(self.place, self.folder / name, blobs=self.blobs)
        ledger.catch_up()
        return ledger

    def fill(self, ledger: KafkaLedger) -> None:
        """Have a host make all that can be made of what it has read."""
        ledger.catch_up()
        with closing(Analytics(ledger)) as analytics:
            snapshot = analytics.publish()
        bundles = ledger.bundles()
        assert bundles is not None
        if snapshot is not None:
            bundles.publish(ledger.log, snapshot)
        seal(ledger, archive_of(ledger))
        Delivery(ledger).round()
        assert run_sql(ledger, "SELECT * FROM run_tags_history")[1]

    def params(self, position: Position | None = None) -> list[Any]:
        """The params now, or at an earlier moment, whose state is kept for the next who asks."""
        uri = self.uri if position is None else f"{self.uri}?as_of={position}"
        ledger = open_ledger(uri)
        return ledger.query(lambda db: db.execute("SELECT value FROM params").fetchall())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaWorld]:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path / "told"))
    monkeypatch.setenv("MLFLOW_LEDGER_BLOBS", f"file://{tmp_path / 'shared'}")
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_PARTITIONS", "2")
    world = KafkaWorld(new_uri(), tmp_path)
    yield world
    world.ledger.close()
    drop(world.place)


def places(folder: Path, mark: str) -> set[str]:
    """The files below a folder that hold a text in any form, packed ones included."""
    found = embedded.places(folder, mark)
    for path in folder.rglob("*.zst"):
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            data = stream.read()
        if any(form in data for form in embedded.forms(mark)):
            found.add(str(path.relative_to(folder)))
    return found


def topics_hold(
    place: KafkaPlace,
    text: bytes,
    names: Sequence[str] = ("catalog", "runs", "traces", "artifacts", "keys"),
) -> list[str]:
    """In which topics some bytes stand."""
    return [
        name
        for name in names
        if any(text in (m.value or b"") for m in messages(place, place.topic(name)))
    ]


def keys_of(place: KafkaPlace) -> dict[str, bytes | None]:
    """The last message of each key in the topic of the keys."""
    found = {m.key.decode(): m.value for m in messages(place, place.topic("keys"))}
    return {name: value for name, value in found.items() if not name.startswith("replica/")}


def sealed_with(place: KafkaPlace) -> list[str]:
    """The keys that events name."""
    return [
        dict(message.headers)["ce_keyid"].decode()
        for topic in ("catalog", "runs", "artifacts")
        for message in messages(place, place.topic(topic))
        if "ce_keyid" in dict(message.headers)
    ]


def test_a_run_is_erased_on_every_host(world: KafkaWorld) -> None:
    one, two = world.ledger, world.another("two")
    away = world.another("away")
    for ledger in (one, two, away):
        world.fill(ledger)
    before = one.position()
    assert len(world.params(before)) == 4
    found = {place.split("/")[0] for place in places(world.folder, MARK)}
    assert found == {"told", "two", "away", "shared"}
    assert topics_hold(world.place, MARK.encode()) == []  # it was sealed from the first event on
    assert {*sealed_with(world.place)} <= {*keys_of(world.place)}
    live, log = digests(two), [stored.record.digest() for stored in two.log.rows(1)]
    assert live == digests(away) == digests(one)

    scope = scope_about(one, f"runs:/{world.run}")
    plan = plan_redaction(one, scope)
    assert plan.contents > 8
    done = redact(one, scope, "the reason of it")

    assert done.contents == plan.contents
    assert (len(done.blobs), len(done.kept)) == (1, 1)
    assert {Path(report.folder).parts[-3] for report in done.waiting} == {"two", "away"}
    assert places(world.folder / "told", MARK) == set()
    assert places(world.folder / "shared", MARK) == set()
    assert places(world.folder / "two", MARK)
    two.follow()
    assert places(world.folder / "two", MARK) == set()
    (report,) = [report for report in by_keys(one).reports() if report.behind]
    assert Path(report.folder).parts[-3] == "away"
    away.close()
    back = world.another("away")
    assert places(world.folder, MARK) == set()
    assert [report for report in by_keys(one).reports() if report.behind] == []

    late = world.another("late")  # has never had the keys
    found_digests = {digests(ledger) for ledger in (one, two, back, late)}
    assert len(found_digests) == 1
    assert [s.record.digest() for s in two.log.rows(1)][: len(log)] == log
    assert places(world.folder, OTHER)
    lost = [name for name, value in keys_of(world.place).items() if value is None]
    assert len(lost) == done.keys
    assert verify(one).findings == []
    assert sorted(world.params(before)) == [("1",), (f"{OTHER} param",)]
    run = world.client.get_run(world.run)
    assert (run.data.params, run.data.metrics, run.data.tags) == ({}, {}, {})
    assert world.client.list_artifacts(world.run) == []
    assert [f.path for f in world.client.list_artifacts(world.other)] == ["notes.txt", "shared.txt"]
    rows = [row for row in audit(one, f"runs:/{world.run}") if row.action == "ContentRedacted"]
    assert rows[0].detail["reason"] == "the reason of it"
    for ledger in (two, back, late):
        ledger.close()
    world.client.log_param(world.run, "param", "anew")  # its history begins again
    assert world.client.get_run(world.run).data.params == {"param": "anew"}
    world.client.log_text(world.run, f"{MARK} in an artifact", "notes.txt")
    path = world.client.download_artifacts(world.run, "notes.txt", str(world.folder))
    assert Path(path).read_text("utf-8").startswith(MARK)


@pytest.mark.brokers
def test_what_is_no_run_is_erased(world: KafkaWorld) -> None:
    world.tell_more()
    one, two = world.ledger, world.another("two")
    two.close()
    world.fill(one)
    key = SigningKey.new()
    file = world.folder / "signing.pem"
    file.write_text(key.pem())
    one.settings = one.settings.model_copy(update={"signing_key": file})
    proof = proof_of(one, "models:/wine/1")
    assert MARK.encode() not in json.dumps(proof.as_json()).encode()  # it shows digests only
    world.client.rename_registered_model("wine", "vine")
    world.erase("models:/vine/1")
    for place in (f"{MARK} tag of version one", f"/source/{MARK}/0", f"{MARK} version 0"):
        assert places(world.folder / "told", place) == set()
    second = world.client.get_model_version("vine", "2")
    assert second.description == f"{MARK} version 1"
    assert second.tags == {"why": f"{MARK} tag of version two"}
    assert world.client.get_model_version_by_alias("vine", "champion").version == 1
    for entity in (
        "models:/vine", f"experiments:/{world.experiment}", f"logged_models:/{world.logged}",
        f"traces:/{world.trace}", f"runs:/{world.run}",
    ):  # fmt: skip
        world.erase(entity)
    two = world.another("two")
    assert places(world.folder, MARK) == set()
    assert places(world.folder, OTHER)
    assert digests(one) == digests(two)
    assert check(proof, [key.public]).problems == []
    assert check(proof_of(one, "models:/vine/1"), [key.public]).problems == []
    assert world.client.create_model_version("vine", "/third").version == 3
    assert verify(one).findings == []
    assert [report.behind for report in by_keys(one).reports()] == [0, 0]
    two.close()


@pytest.mark.brokers
@pytest.mark.parametrize(
    "step",
    [
        "redact.marked", "redact.said", "erase.folded", "erase.removed", "erase.forgotten",
        "redact.blanked", "redact.collected", "mirror.written:2",
    ],
)  # fmt: skip
def test_what_a_killed_process_left_is_finished(step: str, world: KafkaWorld) -> None:
    world.fill(world.ledger)
    subject = f"runs:/{world.run}"
    world.ledger.close()
    process = start(erase, world.uri, subject, str(world.folder), failpoint=step)
    process.join(120)
    assert process.exitcode == -9
    rest = subject if step == "redact.marked" else ""  # it was never said
    again = start(erase, world.uri, rest, str(world.folder))
    again.join(120)
    assert again.exitcode == 0
    assert places(world.folder, MARK) == set()
    assert any(value is None for value in keys_of(world.place).values())
    with (
        closing(host(world.place, world.folder / "told", blobs=world.blobs)) as ledger,
        closing(world.another("late")) as late,
    ):
        assert not (ledger.folder / "redacting.json").exists()
        assert verify(ledger).findings == []
        assert digests(late) == digests(ledger)
        assert [report.behind for report in by_keys(late).reports()] == [0, 0]


def erase(uri: str, subject: str, folder: str) -> None:
    """For a process of its own: erase, if there is something to erase."""
    os.environ["MLFLOW_LEDGER_HOME"] = f"{folder}/told"
    os.environ["MLFLOW_LEDGER_BLOBS"] = f"file://{folder}/shared"
    ledger = open_ledger(uri)  # which finishes what is not finished
    ledger.follow()
    if subject:
        redact(ledger, scope_about(ledger, subject), "asked for")
    ledger.close()


@pytest.mark.brokers
@pytest.mark.parametrize(
    "step", ["erase.folded", "erase.removed", "mirror.written", "cold.fetched"]
)
def test_a_host_that_is_killed_erases_when_it_comes_back(step: str, world: KafkaWorld) -> None:
    world.fill(world.ledger)
    uri, home = world.uri, str(world.folder / "two")
    if step != "cold.fetched":
        world.another("two").close()
    world.erase(f"runs:/{world.run}")
    if step == "cold.fetched":
        world.fill(world.ledger)  # a bundle that holds nothing of it
    process = start(come_up, uri, home, str(world.blobs), failpoint=step)
    process.join(60)
    assert process.exitcode == -9
    with closing(world.another("two")) as two:
        assert digests(two) == digests(world.ledger)
    assert places(world.folder, MARK) == set()


@pytest.mark.brokers
def test_a_host_that_was_away_publishes_nothing_of_it(world: KafkaWorld) -> None:
    """It may share a snapshot before it reads of the redaction: that goes when it does."""
    away = world.another("away")
    with closing(Analytics(away)) as analytics:
        snapshot = analytics.publish()
    world.erase(f"runs:/{world.run}")
    bundles = away.bundles()
    assert bundles is not None
    assert snapshot is not None
    assert bundles.publish(away.log, snapshot) is not None
    assert places(world.blobs, f"{MARK} param")
    with closing(world.another("late")) as late:  # begins with that, and reads on
        assert places(world.folder / "late", MARK) == set()
        assert places(world.blobs, MARK) == set()
        away.follow()
        assert digests(away) == digests(late)
    away.close()
    assert places(world.folder, MARK) == set()


def test_commands_tell_who_has_yet_to_erase(world: KafkaWorld) -> None:
    away = world.another("away")
    away.close()
    world.client.set_experiment_tag("0", "note", MARK)
    redacting = ["redact", world.uri, "experiments:/0", "--reason", "r"]
    plan = answer(*redacting)
    assert (plan["done"], plan["contents"]) == (False, 1)
    done = answer(*redacting, "--yes")
    assert (done["contents"], done["keys"]) == (1, 1)
    (waiting,) = done["waiting"]
    assert str(away.folder) == waiting["folder"]
    found = {r["folder"]: r["behind"] for r in answer("redact", world.uri, "--status")["replicas"]}
    assert found == {str(away.folder): 1, str(world.ledger.folder): 0}
    shown = CliRunner().invoke(program, ["redact", world.uri, "--status"])
    assert "1 redactions to erase yet" in shown.output
    said = CliRunner().invoke(program, ["redact", world.uri, "--forget", waiting["replica_id"]])
    assert said.exit_code == 0
    assert len(answer("redact", world.uri, "--status")["replicas"]) == 1
    refused = CliRunner().invoke(program, ["create", world.uri, "--erasable"])
    assert (refused.exit_code, "has begun already" in refused.output) == (1, True)
    mistaken = CliRunner().invoke(program, ["redact", world.uri, "--status", "--yes"])
    assert mistaken.exit_code == 2


def answer(*arguments: str) -> Any:
    """What a command says in JSON."""
    done = CliRunner().invoke(program, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_ledger_that_is_not_erasable_keeps_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_PARTITIONS", "2")
    uri = new_uri()
    created = CliRunner().invoke(program, ["create", uri])
    assert created.exit_code == 0, created.output
    MlflowClient(uri).set_experiment_tag("0", "note", MARK)
    refused = CliRunner().invoke(program, ["redact", uri, "experiments:/0", "--reason", "r"])
    assert (refused.exit_code, "keeps what it was told" in refused.output) == (1, True)
    open_ledger(uri).close()
    place = kafka_place(uri)
    assert topics_hold(place, MARK.encode(), ("catalog", "runs")) == ["catalog"]
    assert list(tmp_path.rglob("keys.sqlite")) == []
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    assert place.topic("keys") not in admin.list_topics()
    admin.close()
    drop(place)


@pytest.mark.brokers
def test_a_client_without_a_replica_seals_too(world: KafkaWorld) -> None:
    with threaded(world.another("service")) as service:
        uri = f"{world.uri}?query={service.url}"
        client = MlflowClient(uri, uri)
        run = client.create_run("0").info.run_id
        client.log_param(run, "p", f"{MARK} thin")
        client.log_text(run, f"{MARK} thin file", "notes.txt")
        assert client.get_run(run).data.params == {"p": f"{MARK} thin"}
        path = client.download_artifacts(run, "notes.txt", str(world.folder))
        assert Path(path).read_text("utf-8") == f"{MARK} thin file"
        Path(path).unlink()
        assert topics_hold(world.place, MARK.encode()) == []
        assert places(world.folder, f"{MARK} thin")
        with pytest.raises(LogForeign, match="through a query service"):
            check_can_forget(open_ledger(uri))
        world.erase(f"runs:/{run}")
        assert client.get_run(run).data.params == {}
        assert places(world.folder, f"{MARK} thin") == set()
        open_ledger(uri).close()


@pytest.mark.brokers
def test_a_backup_takes_the_keys_along(world: KafkaWorld, tmp_path: Path) -> None:
    ledger, target = world.ledger, tmp_path / "backup"
    first = backup(ledger, target).point
    world.erase(f"runs:/{world.run}")
    assert places(target, MARK)  # the artifact that the run had
    for blob in ledger.query(collected):
        Blobs(target).delete(blob)
    newest = backup(ledger, target).point
    assert places(target, MARK) == set()
    for point, to in ((newest, None), (first, Position.parse(first.position))):
        uri = new_uri()
        source = source_at(target)
        settings = Settings(blobs=f"file://{tmp_path / 'other'}")
        done = restore_to_topics(
            source, kafka_place(uri), source.cut(to), settings, KAFKA, allow_missing=True
        )
        assert done.events == point.events
        assert (done.state_digest == point.state_digest) == (to is None)
        with closing(host(kafka_place(uri), tmp_path / uri[-8:])) as restored:
            params = restored.query(lambda db: db.execute("SELECT value FROM params").fetchall())
            assert sorted(params) == [("1",), (f"{OTHER} param",)]
            assert restored.erasable
        drop(kafka_place(uri))


def collected(db: sqlite3.Connection) -> list[str]:
    return [blob for (blob,) in db.execute("SELECT digest FROM blobs WHERE collected_ms > 0")]
