"""A ledger's events as OpenLineage's: valid, complete, delivered at least once and in order."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
from click.testing import CliRunner, Result

from mlflow_ledger.consumers import Ledger, Service
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.emitting import CursorLost, Emitting
from mlflow_ledger.query.emitting_targets import FileTarget, target_at
from mlflow_ledger.query.openlineage_datasets import _place
from mlflow_ledger.schemas import ModelVersionDeleted, RunUpdated, SettingsError

from .family_tree import DISTIL, JUDGE, STUDENT, SWEEP, TEACHER, TRAIN, named, tell
from .openlineage_classes import check

SCHEMA = json.loads((Path(__file__).parent / "openlineage_schema.json").read_text("utf-8"))
SPEC = os.environ.get("MLFLOW_LEDGER_TEST_OPENLINEAGE")


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "store")
    tell(ledger)
    yield ledger
    ledger.close()


def sent(ledger: Ledger, *more: str) -> Result:
    arguments = ["openlineage", f"ledger://{ledger.folder}", *more]
    return CliRunner().invoke(program, arguments, prog_name="mlflow-ledger")


def told(ledger: Ledger, file: Path, *more: str) -> list[dict[str, Any]]:
    result = sent(ledger, "--to", str(file), *more)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in file.read_text().splitlines()]


def valid(events: list[dict[str, Any]]) -> None:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    for event in events:
        jsonschema.Draft202012Validator(SCHEMA, format_checker=checker).validate(event)
        check(event)


def of_run(events: list[dict[str, Any]], run_id: str) -> list[dict[str, Any]]:
    wanted = str(uuid.UUID(run_id))
    return [event for event in events if event.get("run", {}).get("runId") == wanted]


def test_every_event_is_valid(family: Ledger, tmp_path: Path) -> None:
    family.write(lambda _: [ModelVersionDeleted(**named("shop", 1))])
    events = told(family, tmp_path / "events.jsonl")
    valid(events)
    kinds = {event["schemaURL"].rpartition("/")[2] for event in events}
    assert kinds == {"RunEvent", "JobEvent", "DatasetEvent"}
    times = [event["eventTime"] for event in events]
    assert times == sorted(times)


def facets(node: Any) -> Iterator[tuple[str, Any]]:
    """Every facet in an event, by its name."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "facets":
                yield from value.items()
            yield from facets(value)
    elif isinstance(node, list):
        for value in node:
            yield from facets(value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: event.pop("producer"),
        lambda event: event.update(eventTime="yesterday"),
        lambda event: event.update(eventType="STOP"),
        lambda event: event.update(schemaURL="https://openlineage.io/spec/1-0-0/x.json"),
        lambda event: event.update(comment="unheard of"),
        lambda event: event["run"].update(runId="1"),
        lambda event: event["job"].pop("name"),
        lambda event: event["inputs"][0].update(namespace=7),
        lambda event: event["job"]["facets"]["jobType"].pop("integration"),
        lambda event: event["job"]["facets"]["jobType"].pop("_producer"),
        lambda event: event["job"]["facets"]["jobType"].update(speed=7),
        lambda event: event["job"]["facets"]["jobType"].update(_schemaURL="https://x.org/y"),
    ],
)
def test_what_is_not_as_published_is_found(
    family: Ledger, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    events = told(family, tmp_path / "events.jsonl")
    event = next(event for event in of_run(events, SWEEP) if event.get("inputs"))
    check(event)
    spoil(event)
    with pytest.raises((ValueError, KeyError)):
        check(event)


@pytest.mark.skipif(SPEC is None, reason="MLFLOW_LEDGER_TEST_OPENLINEAGE names no folder of specs")
def test_every_event_is_valid_by_the_published_schemas(family: Ledger, tmp_path: Path) -> None:
    import referencing
    import referencing.jsonschema

    assert SPEC is not None
    documents = [json.loads(path.read_text()) for path in Path(SPEC).rglob("*.json")]
    schemas = {d["$id"]: d for d in documents if isinstance(d, dict) and "$id" in d}
    resources = [
        (name, referencing.Resource.from_contents(schema, referencing.jsonschema.DRAFT202012))
        for name, schema in schemas.items()
    ]
    registry: Any = referencing.Registry().with_resources(resources)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER

    def check(schema: Any, value: Any) -> None:
        jsonschema.Draft202012Validator(schema, registry=registry, format_checker=checker).validate(
            value
        )

    events = told(family, tmp_path / "events.jsonl")
    checked = set()
    for event in events:
        check(schemas["https://openlineage.io/spec/2-0-2/OpenLineage.json"], event)
        for name, value in facets(event):
            where = value["_schemaURL"].partition("#")[0]
            if not where.startswith("urn:"):
                check(schemas[where], {name: value})
                checked.add(where)
    assert len(checked) >= 8


def test_a_run_is_told_from_start_to_end(family: Ledger, tmp_path: Path) -> None:
    events = told(family, tmp_path / "events.jsonl")
    train = of_run(events, TRAIN)
    assert [event["eventType"] for event in train] == ["START", "RUNNING", "COMPLETE"]
    assert train[-1]["outputs"][0]["name"] == f"logged_models/{TEACHER}"
    assert train[0]["job"] == train[-1]["job"]
    assert train[0]["job"]["name"] == "cellar"
    parent = train[0]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == str(uuid.UUID(SWEEP))
    assert of_run(events, JUDGE)[-1]["eventType"] == "FAIL"
    reading = of_run(events, DISTIL)[1]
    data, model = reading["inputs"]
    assert (data["namespace"], data["name"]) == ("file", "/data/prompts.csv")
    assert data["facets"]["version"]["datasetVersion"] == "d-prompts"
    assert data["facets"]["schema"]["fields"] == [{"name": "ash", "type": "double"}]
    assert model["name"] == f"logged_models/{TEACHER}"
    assert model["namespace"] == f"mlflow-ledger://{family.ledger_id}"


def test_a_version_is_told_from_its_making_to_its_promotion(family: Ledger, tmp_path: Path) -> None:
    events = told(family, tmp_path / "events.jsonl")
    (job,) = (e for e in events if e.get("job", {}).get("name") == "models/cellar/1/register")
    assert [d["name"] for d in job["inputs"]] == [f"logged_models/{STUDENT}"]
    assert [d["name"] for d in job["outputs"]] == ["models/cellar/1"]
    moves = [e["dataset"] for e in events if "dataset" in e]
    said = [(d["name"], d["facets"]["lifecycleStateChange"]["lifecycleStateChange"]) for d in moves]
    assert said == [
        ("models/cellar/1", "CREATE"),
        ("models/shop/1", "CREATE"),
        ("models/cellar/1", "ALTER"),
        ("models/shop/1", "ALTER"),
    ]
    promoted = moves[2]["facets"]["mlflowLedger_version"]
    assert (promoted["stage"], promoted["actorkind"]) == ("Production", "os")
    assert moves[3]["facets"]["mlflowLedger_version"]["aliases"] == ["live"]


def test_the_next_time_goes_on_where_the_last_one_ended(family: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    first = told(family, file)
    assert told(family, file) == first
    family.write(lambda _: [RunUpdated(run_id=SWEEP, status="KILLED", end_time_ms=5)])
    (new,) = told(family, file)[len(first) :]
    assert new["eventType"] == "ABORT"
    again = told(family, file, "--since", "2020-01-01T00:00:00Z")
    assert len(again) == 2 * (len(first) + 1)


def test_the_lineage_of_an_entity_as_events(family: Ledger) -> None:
    arguments = ["lineage", f"ledger://{family.folder}", "models:/shop/1"]
    result = CliRunner().invoke(program, [*arguments, "--format", "openlineage"])
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.output.splitlines()]
    valid(events)
    names = {event["dataset"]["name"] for event in events if "dataset" in event}
    assert names == {"models/cellar/1", "models/shop/1"}
    assert of_run(events, TRAIN)


class Receiver(BaseHTTPRequestHandler):
    taken: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[set[str | None]] = set()
    refuse_after: ClassVar[int] = 10**9

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.keys.add(self.headers["authorization"])
        refused = len(self.taken) >= type(self).refuse_after
        if not refused:
            self.taken.append(json.loads(body))
        self.send_response(503 if refused else 201)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    Receiver.taken, Receiver.keys, Receiver.refuse_after = [], set(), 10**9
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/lineage"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_end_point_gets_each_event_with_the_key(
    family: Ledger, tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = told(family, tmp_path / "events.jsonl")
    monkeypatch.setenv("MLFLOW_LEDGER_OPENLINEAGE_KEY", "s3cr3t")
    assert sent(family, "--to", endpoint).exit_code == 0
    assert Receiver.taken == expected
    assert Receiver.keys == {"Bearer s3cr3t"}


def test_what_an_end_point_did_not_take_comes_the_next_time(
    family: Ledger, tmp_path: Path, endpoint: str
) -> None:
    expected = told(family, tmp_path / "events.jsonl")
    Receiver.refuse_after = 7
    result = sent(family, "--to", endpoint)
    assert result.exit_code == 1
    assert "did not take" in result.stderr
    assert "503" in result.stderr
    Receiver.refuse_after = 10**9
    assert sent(family, "--to", endpoint).exit_code == 0
    assert Receiver.taken == expected


def test_nobody_there_is_said(family: Ledger) -> None:
    result = sent(family, "--to", "http://127.0.0.1:9/lineage")
    assert result.exit_code == 1
    assert "does not answer" in result.stderr


def test_a_spoilt_cursor_is_said(family: Ledger, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor.json"
    target = FileTarget(tmp_path / "events.jsonl")
    cursor.write_text("{")
    with pytest.raises(CursorLost, match="move it aside"):
        Emitting(family, target, cursor, None)
    cursor.write_text('{"ledger": "other", "offsets": {}}')
    with pytest.raises(SettingsError, match="is of ledger other"):
        Emitting(family, target, cursor, None)
    emitting = Emitting(family, target, tmp_path / "none" / "cursor.json", None)
    with pytest.raises(CursorLost, match="cannot note"):
        emitting.drain()
    target.close()


@pytest.mark.parametrize("text", ["ftp://x/y", "http://user@host/x", "kafka://host/topic"])
def test_what_is_no_target_is_a_mistake(text: str) -> None:
    with pytest.raises(SettingsError):
        target_at(text)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/a/b.csv", ("s3://bucket", "a/b.csv")),
        ("/data/a.csv", ("file", "/data/a.csv")),
        ("https://me:pw@host:8443/x?token=1", ("https://host:8443", "x")),
        ("relative.csv", None),
    ],
)
def test_data_sets_are_named_as_openlineage_does(uri: str, place: tuple[str, str] | None) -> None:
    assert _place(uri) == place


def test_as_a_duty_it_goes_on_and_tries_again(
    family: Ledger, tmp_path: Path, endpoint: str
) -> None:
    expected = told(family, tmp_path / "events.jsonl")
    now = [0.0]
    target = target_at(endpoint)
    service = Service(
        lambda: family,
        lambda ledger: [Emitting(ledger, target, tmp_path / "cursor.json", None)],
        clock=lambda: now[0],
    )
    Receiver.refuse_after = 3
    service.once()
    assert service.status.failures == 1
    assert Receiver.taken == expected[:3]
    Receiver.refuse_after = 10**9
    now[0] += 60
    service.once()
    assert Receiver.taken == expected
    target.close()
