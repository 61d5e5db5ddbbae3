"""A ledger in Kafka that is read through a query service: its clients keep nothing."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_ledger.bus import Actor, Settings, acting_as, kafka_place
from mlflow_ledger.consumers import ThinLedger
from mlflow_ledger.consumers.replica import find_replica
from mlflow_ledger.producers.promotion_rule import PromotionRule
from mlflow_ledger.producers.registry_store import LedgerRegistryStore
from mlflow_ledger.schemas import LogForeign, LogUnavailable, SettingsError
from tests.integration.programs import (
    COMMAND,
    PYTHON,
    SCRIPTS,
    environment,
    last_json,
    run,
    wait_until,
)
from tests.kafka.servers import drop, servers
from tests.ports import free_port

from .running import Process, reading, threaded

STARTS_WITHIN_S = 20
"""The aim is 1 s on a quiet machine; tests run beside others."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_LEDGER_HOME", str(tmp_path / "client"))
    monkeypatch.setenv("MLFLOW_LEDGER_KAFKA_PARTITIONS", "2")
    return tmp_path / "client"


@pytest.fixture
def place(home: Path) -> Iterator[str]:
    uri = f"ledger+kafka://{servers()}/thin-{uuid.uuid4().hex}"
    find_replica(kafka_place(uri), home)
    yield uri
    drop(kafka_place(uri))


@pytest.fixture
def process(place: str, tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path, place, MLFLOW_LEDGER_HOME=str(tmp_path / "service"))
    yield started
    started.kill()


def thin(uri: str, home: Path, url: str, **more: Any) -> ThinLedger:
    settings = Settings(home=home, query=url, **more)
    return ThinLedger(find_replica(kafka_place(uri), home), settings)


def client_of(place: str, url: str) -> MlflowClient:
    return MlflowClient(f"{place}?query={url}")


def test_rules_that_ask_who_somebody_is_are_rehearsed_as_the_client(
    process: Process, place: str
) -> None:
    """The service has another user than the client: what it foretells is about the client's."""
    store = LedgerRegistryStore(f"{place}?query={process.url}")
    store.create_registered_model("wine")
    store.create_model_version("wine", "s3://bucket/wine")
    rule = PromotionRule(kind="approval", aliases=["champion"], authenticated=True)
    store.set_promotion_rule("wine", "two", rule)

    def promote() -> None:
        store.set_registered_model_alias("wine", "champion", "1")

    with pytest.raises(MlflowException, match="not authenticated by a server"):
        promote()
    ann, bob = Actor("ann", "authenticated"), Actor("bob", "authenticated")
    before = acting_as.set(ann)
    try:
        with pytest.raises(MlflowException, match="than ann, and has 0"):
            promote()
        acting_as.set(bob)
        store.approve_promotion("wine", 1, "champion")
        acting_as.set(ann)
        promote()
    finally:
        acting_as.reset(before)
    assert store.get_model_version_by_alias("wine", "champion").version == 1
    store.close()


def test_what_a_client_says_it_reads_through_the_service(process: Process, place: str) -> None:
    client = client_of(place, process.url)
    experiment_id = client.create_experiment("wine")
    runs = [client.create_run(experiment_id).info.run_id for _ in range(3)]
    for number, run_id in enumerate(runs):
        client.log_metric(run_id, "loss", number / 2, step=number)
        client.log_metric(run_id, "loss", float("nan"), step=-1)
        client.log_param(run_id, "n", number)
        client.set_tag(run_id, "t", "ключ ☃")
        assert client.get_run(run_id).data.params == {"n": str(number)}  # its own writes, at once
    found = client.search_runs([experiment_id], "metrics.loss < 1", order_by=["metrics.loss DESC"])
    assert [one.info.run_id for one in found] == [runs[1], runs[0]]
    history = client.get_metric_history(runs[2], "loss")
    assert sorted(point.step for point in history) == [-1, 2]
    client.create_registered_model("red")
    version = client.create_model_version("red", "source", runs[0])
    client.set_registered_model_alias("red", "champion", version.version)
    assert client.get_model_version_by_alias("red", "champion").run_id == runs[0]


def test_who_comes_second_is_told(process: Process, place: str, home: Path) -> None:
    outcomes: list[str] = []

    def create(name: str, ledger_home: Path) -> None:
        from mlflow_ledger.producers import LedgerTrackingStore

        ledger = thin(place, ledger_home, process.url)
        store = LedgerTrackingStore.__new__(LedgerTrackingStore)
        store.__dict__["_ledger"] = ledger
        try:
            outcomes.append(store.create_experiment(name))
        except MlflowException as error:
            outcomes.append(error.error_code)
        finally:
            ledger.close()

    names = [uuid.uuid4().hex for _ in range(3)]
    for name in names:
        both = [threading.Thread(target=create, args=(name, home.with_name(side))) for side in "ab"]
        for one in both:
            one.start()
        for one in both:
            one.join()
    assert outcomes.count("RESOURCE_ALREADY_EXISTS") == len(names)
    assert len(outcomes) == 2 * len(names)
    client = client_of(place, process.url)
    assert {e.name for e in client.search_experiments()} == {"Default", *names}


@pytest.mark.brokers
def test_a_service_that_was_killed_and_started_again(process: Process, place: str) -> None:
    client = client_of(place, process.url)
    run_id = client.create_run("0").info.run_id
    failed: list[Exception] = []
    seen: list[int] = []
    enough = threading.Event()

    def work() -> None:
        for step in range(400):
            try:
                client.log_metric(run_id, "loss", 1.0, step=step)
                seen.append(len(client.get_metric_history(run_id, "loss")))
            except MlflowException as error:
                failed.append(error)
            if enough.is_set():
                return

    working = threading.Thread(target=work)
    working.start()
    for _ in range(2):
        before = len(seen)
        while len(seen) < before + 5:
            assert working.is_alive()
            time.sleep(0.01)
        process.kill()
        process.start()
    before = len(seen)
    while len(seen) < before + 5:
        assert working.is_alive()
        time.sleep(0.01)
    enough.set()
    working.join(60)
    assert failed == []
    assert seen == list(range(1, len(seen) + 1))  # each read showed all that was said before it


def test_it_ends_when_it_is_told_to(process: Process, place: str) -> None:
    client_of(place, process.url).search_experiments()
    assert process.stop() == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{process.url}/health")


def test_without_its_service_a_client_says_so(place: str, home: Path) -> None:
    ledger = thin(place, home, "http://127.0.0.1:9")
    with pytest.raises(LogUnavailable, match=r"query service at http://127\.0\.0\.1:9 does not"):
        ledger.query(lambda db: db.execute("SELECT 1").fetchone())
    ledger.close()


def test_the_token_of_both_sides(place: str, home: Path, tmp_path: Path) -> None:
    reader = reading(place, tmp_path / "service")
    with threaded(reader, token="right") as service:
        good = thin(place, home, service.url, query_token="right")
        assert good.query(lambda db: db.execute("SELECT 1").fetchone()) == (1,)
        for token in (None, "wrong"):
            bad = thin(place, home, service.url, query_token=token)
            with pytest.raises(SettingsError, match="MLFLOW_LEDGER_QUERY_TOKEN"):
                bad.query(lambda db: db.execute("SELECT 1").fetchone())
            bad.close()
        good.close()


def test_another_version_or_ledger_is_refused(
    place: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reading(place, tmp_path / "service")
    other = f"ledger+kafka://{servers()}/thin-{uuid.uuid4().hex}"
    with threaded(reader) as service:
        stranger = thin(other, home, service.url)
        with pytest.raises(LogForeign, match="name the service of that ledger in query="):
            stranger.catch_up()
        stranger.close()
        found = service.reader.facts() | {"fold_version": 999}
        monkeypatch.setattr(service.reader, "facts", lambda: found)
        ledger = thin(place, home, service.url)
        with pytest.raises(LogForeign, match=r"fold version 999, here .*Install one version"):
            ledger.catch_up()
        ledger.close()
    drop(kafka_place(other))


def test_values_and_errors_are_sqlites_own(place: str, home: Path, tmp_path: Path) -> None:
    values = (None, 2**63 - 1, -(2**63), 1.5, float("inf"), float("-inf"), "☃\0", b"\x00\xff")
    with threaded(reading(place, tmp_path / "service")) as service:
        ledger = thin(place, home, service.url)
        with ledger.read() as db:
            assert db.execute("SELECT ?, ?, ?, ?, ?, ?, ?, ?", values).fetchone() == values
            for bad, error in ((2**63, OverflowError), ("\ud800", UnicodeEncodeError)):
                with pytest.raises(error):
                    db.execute("SELECT ?", (bad,))
            with pytest.raises(sqlite3.OperationalError, match="syntax"):
                db.execute("nonsense").fetchall()
            assert list(db.execute("SELECT 1 UNION SELECT 2")) == [(1,), (2,)]
        assert service.reader.leases.count() == 0
        ledger.close()


def test_statements_travel_together(place: str, home: Path, tmp_path: Path) -> None:
    with threaded(reading(place, tmp_path / "service")) as service:
        ledger = thin(place, home, service.url)
        ledger.catch_up()
        asked: list[str] = []
        request = ledger._service._request
        ledger._service._request = lambda m, p, b: (  # type: ignore[method-assign]
            asked.append(m) or request(m, p, b)
        )
        with ledger.read() as db:
            rows = [db.execute("SELECT ?", (number,)) for number in range(500)]
            assert [row.fetchone() for row in rows] == [(number,) for number in range(500)]
        assert asked == ["POST", "POST", "POST", "DELETE"]
        ledger.close()


@pytest.mark.brokers
def test_commands_that_need_more_say_what(place: str, tmp_path: Path, home: Path) -> None:
    uri = f"{place}?query=http://127.0.0.1:9"
    for words in (["log", uri], ["rebuild", uri], ["sql", uri, "SELECT 1"], ["serve", uri]):
        done = subprocess.run(
            [COMMAND, *words],
            env=environment(tmp_path, MLFLOW_LEDGER_HOME=str(home)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (1, 2), done.stdout
        assert "query= out of the URI" in done.stderr or "leave query= out" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_whole_script_and_what_another_process_sees(
    process: Process, place: str, tmp_path: Path, home: Path
) -> None:
    uri = f"{place}?query={process.url}"
    (tmp_path / "train.py").write_bytes((SCRIPTS / "train.py").read_bytes())
    more = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_LEDGER_HOME": str(home)}
    said = last_json(run(tmp_path, PYTHON, "train.py", **more).stdout)
    ids = said["run_id"], said["autologged_run_id"]
    seen = last_json(run(tmp_path, PYTHON, SCRIPTS / "look.py", *ids, **more).stdout)
    assert seen["runs"][said["run_id"]]["metrics"]["accuracy"] == said["accuracy"]
    assert not list(home.rglob("log.sqlite"))  # no replica


def test_it_starts_without_mlflow_and_soon(tmp_path: Path) -> None:
    uri = f"ledger:{tmp_path}/store"
    script = (
        "import sys\n"
        "from mlflow_ledger.consumers import open_ledger\n"
        "from mlflow_ledger.query.service import Reader, build_app\n"
        f"ledger = open_ledger({uri!r})\n"
        "ledger.write(lambda _: [])\n"
        "reader = Reader(lambda: ledger)\n"
        "build_app(reader)\n"
        "print([m for m in ('mlflow', 'duckdb', 'pyarrow', 'kafka') if m in sys.modules])\n"
        "reader.warm_up()\n"
        "print([m for m in ('mlflow', 'kafka') if m in sys.modules])\n"
    )
    assert run(tmp_path, PYTHON, "-c", script).stdout.split("\n")[:2] == ["[]", "[]"]
    begun = time.monotonic()
    started = Process(tmp_path, uri)
    with urllib.request.urlopen(f"{started.url}/health") as answer:
        assert answer.status == 200
    assert time.monotonic() - begun < STARTS_WITHIN_S
    assert started.stop() == 0


def test_health_is_answered_while_the_ledger_is_opened(tmp_path: Path) -> None:
    """Here by brokers that take connections and say nothing; what cannot be opened ends it."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"ledger+kafka://127.0.0.1:{silent.getsockname()[1]}/team"
        started = subprocess.Popen(
            [COMMAND, "serve", uri, "--port", str(port)],
            env=environment(tmp_path, MLFLOW_LEDGER_KAFKA_TIMEOUT_S="3"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: status_of(f"{url}/health") == 200, STARTS_WITHIN_S, "health is answered")
        assert started.poll() is None
        assert status_of(f"{url}/v1/position") == 503
        said, error = started.communicate(timeout=STARTS_WITHIN_S)
    assert (started.returncode, said) == (1, "")
    assert error.startswith("Error: ")


def status_of(url: str) -> int | None:
    """The status that a page is answered with, if there is an answer."""
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.brokers
def test_other_machines_need_a_token_or_a_word(tmp_path: Path) -> None:
    uri = f"ledger:{tmp_path}/store"
    run(tmp_path, PYTHON, "-c", f"import mlflow; mlflow.set_tracking_uri({uri!r});"
        "mlflow.create_experiment('x')")  # fmt: skip
    refused = run(tmp_path, COMMAND, "serve", uri, "--host", "0.0.0.0", "--port", "0", status=2)
    assert "MLFLOW_LEDGER_QUERY_TOKEN" in refused.stderr
    for options, more in ((["--without-token"], {}), ([], {"MLFLOW_LEDGER_QUERY_TOKEN": "x"})):
        started = Process(tmp_path, uri, "--host", "0.0.0.0", *options, **more)
        assert started.stop() == 0
