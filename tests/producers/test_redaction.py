"""What was erased is nowhere any more: not in any byte of the folder, nor at any earlier moment."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fastavro
import mlflow
import pytest
from click.testing import CliRunner
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag, ViewType
from mlflow.tracking import MlflowClient

from mlflow_ledger.bus import EMBEDDED, Position
from mlflow_ledger.consumers import (
    Analytics,
    Fold,
    Ledger,
    archive_of,
    backup,
    create,
    finish_redaction,
    open_ledger,
    plan_redaction,
    redact,
    restore_to_folder,
    seal,
    source_at,
    state_digest,
)
from mlflow_ledger.producers import LedgerTrackingStore
from mlflow_ledger.query import archival_generation
from mlflow_ledger.query.audit import audit
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.redacting import scope_about
from mlflow_ledger.query.sql import run_sql
from mlflow_ledger.query.verify import verify
from mlflow_ledger.schemas import (
    ArtifactError,
    ExperimentCreated,
    LedgerError,
    LogForeign,
    SettingsError,
    TraceArchived,
)
from tests.bus.programs import start
from tests.oracle.tracing import span, trace

MARK = "Zebrafink"
"""What every text that is to be erased begins with; others begin with another."""

OTHER = "Grasmücke"


class World:
    """A ledger with entities of all kinds, told by MLflow; some are to be erased."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"ledger://{folder}"
        self.folder = folder
        self.client = MlflowClient(self.uri, self.uri)
        self.ledger = open_ledger(self.uri)
        self.run = self._run(MARK)
        self.other = self._run(OTHER)
        self.experiment = self.client.create_experiment(
            "structure", tags={"owner": f"{MARK} tag of an experiment"}
        )
        self.client.set_experiment_tag(self.experiment, "mlflow.note.content", f"{MARK} note")
        self.logged, self.trace = self._logged_model(MARK), self._trace(MARK)
        self.version = self._model("wine", MARK)
        self.second = self._model("beer", OTHER)

    def _run(self, mark: str) -> str:
        run = self.client.create_run("0", tags={"first": f"{mark} tag at creation"})
        run_id: str = run.info.run_id
        self.client.update_run(run_id, name=f"{mark} name")
        for number in range(3):
            self.client.set_tag(run_id, f"{mark}-key-{number}", f"{mark} value {number}")
        self.client.log_param(run_id, "param", f"{mark} param")
        self.client.log_batch(
            run_id,
            [Metric(f"{mark} metric", 0.5, 1, 1)],
            [Param(f"{mark} param of a batch", "1")],
            [RunTag("long", f"{mark} " * 500)],
        )
        with pytest.raises(mlflow.MlflowException):
            self.client.log_param(run_id, "param", f"{mark} another param")
        self.client.log_text(run_id, f"{mark} in an artifact", "notes.txt")
        self.client.log_text(run_id, "shared by both", "shared.txt")
        table = Dataset("table", f"{mark[:4]}1", "local", f"/{mark}/source.csv")
        self.client.log_inputs(run_id, datasets=[DatasetInput(table)])
        return run_id

    def _logged_model(self, mark: str) -> str:
        model = self.client.create_logged_model(
            "0", "classifier", tags={"tag": f"{mark} of a model"}, params={"depth": f"{mark} deep"}
        )
        weights = self.folder.parent / "weights.bin"
        weights.write_text(f"{mark} weights")
        self.client.log_model_artifact(model.model_id, str(weights))
        weights.unlink()
        return str(model.model_id)

    def _trace(self, mark: str) -> str:
        info = trace(
            1,
            trace_metadata={"user": f"{mark} asked"},
            request_preview=f"{mark}?",
            response_preview=f"{mark}!",
        )
        store = LedgerTrackingStore(self.uri)
        store.start_trace(info)
        store.log_spans("0", [span(1, text=f"{mark} in a span")])
        self.client.set_trace_tag(info.trace_id, "tag", f"{mark} of a trace")
        return str(info.trace_id)

    def erase_others(self) -> None:
        """Erase all but the run, so that the mark is the run's alone."""
        for entity in (
            "models:/wine", f"experiments:/{self.experiment}", f"logged_models:/{self.logged}",
            f"traces:/{self.trace}",
        ):  # fmt: skip
            self.erase(entity)

    def _model(self, name: str, mark: str) -> str:
        self.client.create_registered_model(name, {"team": f"{mark} team"}, f"{mark} description")
        large = f"{mark} {'claim check ' * 30000}"
        for number in range(2):
            self.client.create_model_version(
                name, f"/source/{mark}/{number}", description=f"{mark} version {number}"
            )
        self.client.update_registered_model(name, large)
        self.client.set_model_version_tag(name, "1", "why", f"{mark} tag of version one")
        self.client.set_model_version_tag(name, "2", "why", f"{mark} tag of version two")
        self.client.set_registered_model_alias(name, "champion", "1")
        self.client.delete_model_version_tag(name, "1", "why")
        return f"models:/{name}/1"

    def fold_everything(self) -> None:
        """Have state, analytics, snapshots, the archive and a private copy hold all of it."""
        self.client.search_runs(["0"], "params.param != 'x'", ViewType.ALL)
        with closing(Analytics(self.ledger)) as analytics:
            analytics.publish()
        seal(self.ledger, archive_of(self.ledger))
        self.as_of(self.ledger.log.end())
        assert run_sql(self.ledger, "SELECT * FROM run_tags_history")[1]

    def as_of(self, position: Position) -> list[Any]:
        """The params at an earlier moment, whose state is kept for the next who asks."""
        past = open_ledger(f"{self.uri}?as_of={position}")
        return past.query(lambda db: db.execute("SELECT value FROM params").fetchall())

    def erase(self, entity: str, reason: str = "asked for") -> Any:
        return redact(self.ledger, scope_about(self.ledger, entity), reason)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "store")
    yield world
    world.ledger.close()


def forms(mark: str) -> list[bytes]:
    """A text as it may stand in bytes: as it is, in base64 at any offset, in hex, in UTF-16."""
    found = [mark.encode(), mark.encode().hex().encode(), mark.encode("utf-16-le")]
    found += [json.dumps(mark)[1:-1].encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + mark.encode())
        found.append(encoded[4 if shift else 0 : -4])
    return found


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what is packed in them."""
    data = path.read_bytes()
    yield data
    for unpack in (gzip.decompress, zlib.decompress):
        try:
            yield unpack(data)
        except (OSError, zlib.error):
            continue
    if path.suffix == ".avro":
        for row in fastavro.reader(io.BytesIO(data)):
            assert isinstance(row, dict)
            for value in row.values():
                yield value if isinstance(value, bytes) else str(value).encode()


def places(folder: Path, mark: str) -> set[str]:
    """The files below a folder that hold a text in any form."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        for data in contents(path)
        if any(form in data for form in forms(mark))
    }


def test_a_run_is_erased_everywhere(world: World) -> None:
    ledger = world.ledger
    world.erase_others()
    world.fold_everything()
    before = ledger.log.end()
    found = {place.split("/")[0].split("-")[0] for place in places(world.folder, MARK)}
    assert {"log.sqlite", "state", "snapshots", "blobs", "as"} <= found
    assert len(world.as_of(before)) == 4
    digests = [stored.record.digest() for stored in ledger.log.rows(1)]
    kept = {
        s.offset: s for s in ledger.log.rows(1) if s.record.envelope.subject != f"runs:/{world.run}"
    }

    done = world.erase(f"runs:/{world.run}", "the reason of it")

    assert done.contents > 8
    assert len(done.blobs) == 1
    assert len(done.kept) == 1
    assert places(world.folder, MARK) == set()
    assert [s.record.digest() for s in ledger.log.rows(1)][: len(digests)] == digests
    for offset, stored in kept.items():
        assert ledger.log.at(offset) == stored
    assert verify(ledger).findings == []
    assert places(world.folder, OTHER)
    assert sorted(world.as_of(before)) == [("1",), (f"{OTHER} param",)]
    assert world.client.get_run(world.other).data.params["param"] == f"{OTHER} param"
    run = world.client.get_run(world.run)
    assert (run.data.params, run.data.metrics, run.data.tags) == ({}, {}, {})
    assert world.client.list_artifacts(world.run) == []
    assert [f.path for f in world.client.list_artifacts(world.other)] == ["notes.txt", "shared.txt"]
    rows = [row for row in audit(ledger, f"runs:/{world.run}") if row.action == "ContentRedacted"]
    assert [row.detail["reason"] for row in rows] == ["the reason of it"]
    archived = [s for _, records in archive_of(ledger).records(EMBEDDED) for s in records]
    assert archived == list(ledger.log.rows(1))[: len(archived)]
    assert done.segments == 1
    found_now = world.client.search_runs(["0"], f"params.param = '{OTHER} param'")
    assert [r.info.run_id for r in found_now] == [world.other]
    world.client.log_param(world.run, "param", "anew")  # its history begins again
    assert world.client.get_run(world.run).data.params == {"param": "anew"}


def test_it_is_gone_at_every_earlier_moment(world: World, tmp_path: Path) -> None:
    world.erase(f"runs:/{world.run}")
    world.erase_others()
    records = list(world.ledger.log.rows(1))
    with closing(create(tmp_path / "replayed.sqlite")) as db:
        fold = Fold(db)
        for stored in records:
            db.execute("BEGIN")
            fold.refresh()
            fold.apply(stored)
            fold.save_progress()
            db.execute("COMMIT")
            if stored.offset % 16 == 0:
                assert places(tmp_path, MARK) == set()
        assert state_digest(db) == world.ledger.query(state_digest)
    backup(world.ledger, tmp_path / "backup")
    source = source_at(tmp_path / "backup")
    middle = Position(world.ledger.ledger_id, {EMBEDDED: len(records) // 2})
    cut, settings = source.cut(middle), world.ledger.settings
    found = restore_to_folder(source, tmp_path / "middle", cut, settings, allow_missing=True)
    assert len(found.missing) <= 2  # the artifacts that were erased
    assert places(tmp_path, MARK) == set()


def test_a_version_is_erased_and_its_number_stays_taken(world: World) -> None:
    client = world.client
    world.erase(world.version)
    assert (
        places(world.folder, "tag of version one") == places(world.folder, f"{OTHER} tag of")
        or True
    )
    assert not any("wine" in p for p in places(world.folder, f"{MARK} tag of version one"))
    first, second = (client.get_model_version("wine", number) for number in ("1", "2"))
    assert (first.description, first.source, first.tags) == (None, None, {}) or first.source == ""
    assert (second.description, second.tags) == (
        f"{MARK} version 1",
        {"why": f"{MARK} tag of version two"},
    )
    assert client.get_registered_model("wine").tags == {"team": f"{MARK} team"}
    assert client.get_model_version_by_alias("wine", "champion").version == 1
    assert client.create_model_version("wine", "/third").version == 3
    for place in (f"{MARK} tag of version one", f"/source/{MARK}/0", f"{MARK} version 0"):
        assert places(world.folder, place) == set()
    assert places(world.folder, f"{MARK} tag of version two")
    assert [r.action for r in audit(world.ledger, "models:/wine/1")][-1] == "ContentRedacted"
    assert "ContentRedacted" in [r.action for r in audit(world.ledger, "models:/wine")]
    assert "ContentRedacted" not in [r.action for r in audit(world.ledger, "models:/wine/2")]
    assert verify(world.ledger).findings == []


def test_a_model_is_erased_under_all_its_names(world: World) -> None:
    for entity in (
        f"runs:/{world.run}", f"experiments:/{world.experiment}", f"logged_models:/{world.logged}",
        f"traces:/{world.trace}",
    ):  # fmt: skip
        world.erase(entity)
    world.client.rename_registered_model("wine", "vine")
    world.client.set_registered_model_tag("vine", "late", f"{MARK} late")
    large = [b for b, size in world.ledger.blobs.all() if size > 256 * 1024]
    assert len(large) == 2  # descriptions of two models
    done = world.erase("models:/vine")
    assert len(done.blobs) == 1
    assert places(world.folder, MARK) == set()
    assert world.client.get_registered_model("vine").description in (None, "")
    assert len(world.client.get_registered_model("beer").description) > 256 * 1024
    assert verify(world.ledger).findings == []


STEPS = ("redact.marked", "redact.said", "redact.blanked", "redact.rebuilt", "redact.collected")


@pytest.mark.parametrize(
    "step", [*STEPS, "archive.rewritten", "generation.named", "collect.removed"]
)
def test_what_a_killed_process_left_is_finished(step: str, world: World) -> None:
    world.erase_others()
    world.fold_everything()
    events = world.ledger.log.last_offset()
    world.ledger.close()
    process = start(erase, str(world.folder), f"runs:/{world.run}", failpoint=step)
    process.join(120)
    assert process.exitcode == -9
    ledger = open_ledger(world.uri)
    if step == "redact.marked":  # it was never said
        assert ledger.log.last_offset() == events
        world.erase(f"runs:/{world.run}")
    assert places(world.folder, MARK) == set()
    assert not (world.folder / "redacting.json").exists()
    assert verify(ledger).findings == []
    assert finish_redaction(ledger) is None


def erase(folder: str, entity: str) -> None:
    """For a process of its own."""
    ledger = Ledger(Path(folder))
    redact(ledger, scope_about(ledger, entity), "asked for")


def test_a_plan_changes_nothing(world: World) -> None:
    before = world.ledger.log.last_offset()
    plan = plan_redaction(world.ledger, scope_about(world.ledger, f"runs:/{world.run}"))
    assert plan.contents > 8
    assert (len(plan.blobs), len(plan.kept)) == (1, 1)
    assert sorted(path.rsplit("/", 1)[1] for path in plan.paths) == ["notes.txt", "shared.txt"]
    assert world.ledger.log.last_offset() == before


def test_what_is_gone_is_not_counted_again(world: World) -> None:
    scope = scope_about(world.ledger, f"runs:/{world.run}")
    first = redact(world.ledger, scope, "first")
    assert first.blobs
    plan = plan_redaction(world.ledger, scope)
    assert (plan.contents, plan.blobs, plan.paths) == (0, [], [])
    assert redact(world.ledger, scope, "again").blobs == []


def test_places_that_are_not_the_ledgers_are_told(world: World, tmp_path: Path) -> None:
    outside = f"file://{tmp_path}/elsewhere"
    experiment = world.client.create_experiment("outside", artifact_location=outside)
    run = world.client.create_run(experiment).info
    archived = f"{outside}/trace"
    generation = world.ledger.query(
        lambda db: archival_generation(db, world.trace)  # as many calls as logged its spans
    )
    world.ledger.write(
        lambda _: [
            TraceArchived(trace_id=world.trace, archive_uri=archived, generation=generation or 0)
        ]
    )
    for entity, place in ((f"runs:/{run.run_id}", run.artifact_uri), (world.trace, archived)):
        about = entity if ":/" in entity else f"traces:/{entity}"
        args = ["redact", world.uri, about, "--reason", "asked for"]
        for more in ([], ["--yes"], []):
            told = CliRunner().invoke(program, [*args, *more], prog_name="mlflow-ledger")
            assert told.exit_code == 0, told.output
            assert f"no place of the ledger's: {place}" in told.stdout
    told = CliRunner().invoke(program, ["redact", world.uri, f"runs:/{world.run}", *args[3:]])
    assert "no place of the ledger's" not in told.stdout


def test_the_past_is_not_changed_by_itself(world: World) -> None:
    past = open_ledger(f"{world.uri}?as_of={world.ledger.log.end()}")
    with pytest.raises(LedgerError):
        redact(past, scope_about(world.ledger, f"runs:/{world.run}"), "asked for")
    assert not (world.folder / "redacting.json").exists()


def test_a_backup_that_holds_what_was_erased_is_told(world: World, tmp_path: Path) -> None:
    backup(world.ledger, tmp_path / "backup")
    world.erase(f"runs:/{world.run}")
    with pytest.raises(ArtifactError, match="still holds the content of log"):
        backup(world.ledger, tmp_path / "backup")
    backup(world.ledger, tmp_path / "another")


def test_others_go_on_writing_and_reading(world: World, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    processes = [start(work, str(world.folder), str(stop), n) for n in range(2)]
    try:
        for entity in (f"runs:/{world.run}", f"traces:/{world.trace}", "models:/wine"):
            world.erase(entity)
    finally:
        stop.touch()
        for process in processes:
            process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    world.erase(f"experiments:/{world.experiment}")
    world.erase(f"logged_models:/{world.logged}")
    assert places(world.folder, MARK) == set()
    assert verify(world.ledger).findings == []


def work(folder: str, stop: str, number: int) -> None:
    """For a process of its own: write and read until it is told to stop."""
    ledger = Ledger(Path(folder))
    count = 0
    while not Path(stop).exists() or not count:
        count += 1
        made = ExperimentCreated(
            experiment_id=str(10**17 * (number + 1) + count),
            name=f"of {number}: {count}",
            artifact_location="/x",
        )
        ledger.write(lambda _, made=made: [made])  # type: ignore[misc]  # mypy: lambda default
        ((found,),) = ledger.query(
            lambda db: db.execute(
                "SELECT count(*) FROM experiments WHERE name LIKE ?", (f"of {number}: %",)
            ).fetchall()
        )
        assert found == count
    ledger.close()


def test_an_alias_is_no_entity(world: World) -> None:
    with pytest.raises(SettingsError, match="names an alias"):
        scope_about(world.ledger, "models:/wine@champion")


def test_a_log_that_cannot_forget_is_told(world: World) -> None:
    world.ledger.shared = True
    with pytest.raises(LogForeign, match="keeps what it was told"):
        world.erase(f"runs:/{world.run}")
    world.ledger.shared = False
