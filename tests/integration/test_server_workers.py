"""Four workers of MLflow's server on a ledger: own writes are read at once, retries are safe."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger
from tests.kafka.servers import servers

from .programs import MLFLOW, PYTHON, SCRIPTS, Server, last_json, run, serving
from .retries import CREATES, REPEATED, TIMES, Conversation

pytestmark = pytest.mark.brokers

PROCESSES, THREADS, ROUNDS, WORKERS = 2, 4, 5, 4


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    uri = "ledger:./store"
    if request.param == "kafka":
        uri = f"ledger+kafka://{servers()}/workers-{uuid.uuid4().hex}"
    command = [MLFLOW, "server", "--workers", str(WORKERS), "--backend-store-uri", uri]
    with serving(folder, command, "/health", MLFLOW_LEDGER_HOME=str(folder / "home")) as server:
        yield server
        server.stop()
        assert server.tracebacks() == []
        sent = [line for line in server.output().splitlines() if "mlflow.webhooks" in line]
        assert sent == [], "nothing is sent to anybody"


def test_clients_read_their_own_writes_from_any_worker(server: Server, tmp_path: Path) -> None:
    _, made = server.post("/api/2.0/mlflow/experiments/create", {"name": "crowd"})
    server.post("/api/2.0/mlflow/registered-models/create", {"name": "shared"})

    def start(who: int) -> list[tuple[str, list[int]]]:
        folder = tmp_path / str(who)
        folder.mkdir()
        words = [server.url, made["experiment_id"], f"c{who}", str(THREADS), str(ROUNDS)]
        done = run(folder, PYTHON, SCRIPTS / "crowd.py", *words)
        return list(last_json(done.stdout))

    with ThreadPoolExecutor(PROCESSES) as pool:
        clients = [client for found in pool.map(start, range(PROCESSES)) for client in found]
    numbers = [number for _, shared in clients for number in shared]
    assert sorted(numbers) == list(range(1, PROCESSES * THREADS * ROUNDS + 1))
    assert len(writers(server, {f"runs:/{run_id}" for run_id, _ in clients})) == WORKERS


def writers(server: Server, subjects: set[str]) -> set[str]:
    """Who wrote about these subjects: one source for each worker."""
    (log,) = server.folder.glob("**/log.sqlite")
    ledger = Ledger(log.parent)
    envelopes = [stored.record.envelope for stored in ledger.log.rows(1)]
    ledger.close()
    return {e.source.split("/")[0] for e in envelopes if e.subject in subjects}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow's own store behind the same server."""
    folder = tmp_path_factory.mktemp("upstream")
    command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"]
    with serving(folder, command, "/health") as server:
        yield server
        server.stop()


def test_a_request_sent_again_changes_nothing(server: Server, upstream: Server) -> None:
    """And is answered as MLflow's own store answers it."""
    ours, theirs = Conversation(server), Conversation(upstream)
    for request in REPEATED:
        told = [side.twice(request) for side in (ours, theirs)]
        assert told[0].first[0] == 200, (request, told[0].first)
        assert told[0].before == told[0].after, (request, "is not the same after the retry")
        assert told[0].answers == told[1].answers, request
        assert told[1].moved <= TIMES, (request, "MLflow's own store moves more than times")


def test_a_create_sent_again_answers_as_upstream(server: Server, upstream: Server) -> None:
    for request in CREATES:
        told = [Conversation(side).twice(request) for side in (server, upstream)]
        assert told[0].first[0] == 200, (request, told[0].first)
        assert told[0].answers == told[1].answers, request
