"""The query service as whoever knows HTTP meets it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from typing import Any

import pytest

from mlflow_ledger.consumers import FOLD_VERSION, Ledger
from mlflow_ledger.query.service import Leases
from mlflow_ledger.query.service.door import MOST_REQUEST_BYTES
from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    ExperimentCreatedContent,
    ExperimentTagSet,
    ExperimentTagSetContent,
)

from .client import Client
from .running import threaded

TOKEN = "s3cret-ключ"
PATHS = ["/v1/ledger", "/v1/position", "/docs", "/openapi.json", "/nothing"]


def created(experiment_id: str, name: str) -> Event:
    return ExperimentCreated(
        experiment_id=experiment_id,
        content=ExperimentCreatedContent(),
        name=name,
        artifact_location="x",
    )


def test_health_says_no_more_than_that(client: Client) -> None:
    assert client.ask("/health") == (200, {"status": "ok"})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {'x' * 8}", "Bearer s3cret"]
)
def test_nothing_but_health_is_answered_without_the_token(
    ledger: Ledger, path: str, given: str | None
) -> None:
    with threaded(ledger, token="s3cret-key") as service:
        client = Client(service)
        headers = {} if given is None else {"Authorization": given}
        status, answered = client.ask(path, **headers)
        assert status == 401
        assert "MLFLOW_LEDGER_QUERY_TOKEN" in answered["error"]["message"]
        assert client.ask("/health")[0] == 200
        assert Client(service, "s3cret-key").ask("/v1/position")[0] == 200


def test_without_a_token_it_answers_to_local_names_only(client: Client) -> None:
    assert client.ask("/v1/position", Host="evil.example")[0] == 403
    assert client.ask("/v1/position", Host="127.0.0.1:1")[0] == 200


def test_a_request_has_a_most(client: Client) -> None:
    connection = http.client.HTTPConnection(client.service.url.removeprefix("http://"))
    headers = {"Content-Length": str(MOST_REQUEST_BYTES + 1), "Content-Type": "application/json"}
    connection.request("POST", "/v1/views", headers=headers)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_request_that_grows_has_a_most(client: Client) -> None:
    piece = b" " * 1024 * 1024
    connection = http.client.HTTPConnection(client.service.url.removeprefix("http://"))
    pieces = (piece for _ in range(MOST_REQUEST_BYTES // len(piece) + 1))
    with contextlib.suppress(OSError):  # it may hang up before all of it was sent
        connection.request(
            "POST", "/v1/views", body=pieces, headers={"Content-Type": "application/json"},
            encode_chunked=True,
        )  # fmt: skip
        assert connection.getresponse().status == 413
    connection.close()
    assert client.ask("/health")[0] == 200


def test_openapi_is_whole(client: Client) -> None:
    status, page = client.ask("/openapi.json")
    assert status == 200
    operations = {
        (path, method): operation
        for path, methods in page["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("/health", "get"), ("/v1/ledger", "get"), ("/v1/position", "get"), ("/v1/wait", "post"),
        ("/v1/views", "post"), ("/v1/views/{view}", "post"), ("/v1/views/{view}", "delete"),
        ("/v1/rehearsals", "post"), ("/v1/verdicts", "post"), ("/v1/blobs/{digest}", "get"),
    }  # fmt: skip
    assert page["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for (path, _), operation in operations.items():
        assert operation["description"]
        assert ("security" in operation) == (path != "/health")
        if path.startswith("/v1"):
            assert "Failure" in json.dumps(operation["responses"]["default"])
        good = operation["responses"].get("200")
        assert good is None or all(kind["schema"] for kind in good["content"].values())


def test_what_is_answered_is_what_openapi_says(client: Client) -> None:
    from mlflow_ledger.query.service import documents as d

    d.LedgerFacts.model_validate(client.ask("/v1/ledger")[1])
    position = d.Where.model_validate(client.ask("/v1/position")[1]).position
    d.Reached.model_validate(client.ask("/v1/wait", {"position": position})[1])
    opened = d.Opened.model_validate(client.open("SELECT 1", "nonsense")[1])
    asked = {"statements": [{"sql": "SELECT ?", "values": [1]}]}
    answered = client.ask(f"/v1/views/{opened.view}", asked)[1]
    assert d.Results.model_validate(answered).results[0].rows == [[1]]
    d.Verdicts.model_validate(client.ask("/v1/verdicts", {"said": [], "timeout_s": 0})[1])
    d.Failure.model_validate(client.ask("/v1/views/none", asked)[1])
    d.Failure.model_validate(client.ask("/v1/nothing")[1])
    d.Failure.model_validate(client.ask("/v1/wait", {"position": 1})[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("fold_version", 999), ("protocol", 999), ("ledger_id", "0000000000000000")],
)
def test_a_client_of_another_kind_is_refused_in_words(
    client: Client, field: str, value: Any
) -> None:
    status, answered = client.ask("/v1/views", client.who() | {field: value, "statements": []})
    assert status == 409
    message = answered["error"]["message"]
    assert str(value) in message
    if field == "fold_version":
        assert f"here protocol 1 and fold version {FOLD_VERSION}" in message
        assert "Install one version" in message


def test_a_view_stays_as_it_was(client: Client, ledger: Ledger) -> None:
    count = {"statements": [{"sql": "SELECT count(*) FROM experiments"}]}
    view = client.open("SELECT 1")[1]["view"]
    ledger.write(lambda _: [created("8", "eight")])
    assert client.ask(f"/v1/views/{view}", count)[1]["results"] == [{"rows": [[2]]}]
    assert client.open("SELECT count(*) FROM experiments")[1]["results"] == [{"rows": [[3]]}]


def test_views_are_few_and_live_for_a_while(ledger: Ledger) -> None:
    leases = Leases(most=2, life_s=3600)
    with threaded(ledger, leases=leases) as service:
        client = Client(service)
        first, second = (client.open("SELECT 1")[1]["view"] for _ in range(2))
        status, answered = client.open("SELECT 1")
        assert (status, answered["error"]["kind"]) == (503, "LogUnavailable")
        assert client.ask(f"/v1/views/{first}", method="DELETE")[0] == 204
        assert client.open("SELECT 1")[0] == 200
        for lease in leases._leases.values():
            lease.until = 0
        leases.reap()
        assert leases.count() == 0
        status, answered = client.ask(f"/v1/views/{second}", {"statements": []})
        assert (status, answered["error"]["kind"]) == (410, "ChangedMeanwhile")


def test_a_rehearsal_leaves_nothing(client: Client, ledger: Ledger) -> None:
    from mlflow_ledger.consumers.wire import dump, event_in

    def rehearse(*events: Event) -> tuple[int, Any]:
        documents = json.loads(dump([event_in(event) for event in events]))
        return client.ask("/v1/rehearsals", client.who(events=documents))

    end = ledger.log.last_offset()
    assert rehearse(created("9", "nine")) == (200, {"verdict": "accepted"})
    status, answered = rehearse(created("9", "nine"), created("10", "nine"))
    assert status == 409
    assert answered["error"]["kind"] == "Refused"
    assert answered["error"]["code"] == "RESOURCE_ALREADY_EXISTS"
    assert ledger.log.last_offset() == end
    assert ledger.query(lambda db: db.execute("SELECT count(*) FROM experiments").fetchone()) == (
        2,
    )


def test_waiting_ends_when_the_position_is_there(client: Client, ledger: Ledger) -> None:
    start = ledger.log.last_offset()
    wanted = f"v1~{ledger.ledger_id}~{start + 3}"
    status, answered = client.ask("/v1/wait", {"position": wanted, "timeout_s": 0})
    assert (status, answered["reached"]) == (200, False)
    found: list[Any] = []
    asking = threading.Thread(
        target=lambda: found.append(client.ask("/v1/wait", {"position": wanted, "timeout_s": 60}))
    )
    asking.start()
    for value in ("1", "2"):
        tag = ExperimentTagSet(
            experiment_id="7", tag="t", content=ExperimentTagSetContent(value=value)
        )
        ledger.write(lambda _, tag=tag: [tag])  # type: ignore[misc]
    asking.join(60)
    assert found == [(200, {"position": wanted, "reached": True})]


def test_a_damaged_state_is_folded_again(client: Client, ledger: Ledger) -> None:
    view = client.open("SELECT 1")[1]["view"]
    client.ask(f"/v1/views/{view}", method="DELETE")
    path = ledger.files.current()
    assert path is not None
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    path.write_bytes(b"no database" * 1000)
    for _ in range(3):
        status, answered = client.open("SELECT name FROM experiments ORDER BY 1")
        if status == 200:
            break
        assert answered["error"]["kind"] == "ChangedMeanwhile"
    assert answered["results"] == [{"rows": [["Default"], ["seven"]]}]
