"""examples/consumers/promotions.py, as a process, against a real broker and a real web hook."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from mlflow_ledger.bus import Outgoing
from mlflow_ledger.schemas import (
    Event,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionStageChanged,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelRenamed,
)
from tests.integration.programs import wait_until
from tests.ports import free_port

from .team import LEDGER_ID, Program, Team, team

WITHIN_S = 60


class Hook:
    """A web hook that remembers what it took, and answers as it is told."""

    def __init__(self, port: int) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.refused = 0
        self.status = 200
        self.loses: Callable[[], bool] = lambda: False
        self.after: Callable[[], object] = lambda: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.take(self.headers["Idempotency-Key"], body)
                self.send_response(outer.status)
                if outer.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, key: str, body: dict[str, Any]) -> None:
        if self.loses():
            return
        if self.status != 200:
            self.refused += 1
            return
        self.taken.append((key, body))
        self.after()

    def wait_for(self, count: int) -> None:
        wait_until(
            lambda: len({key for key, _ in self.taken}) >= count, WITHIN_S, f"{count} promotions"
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def ledger() -> Iterator[Team]:
    with team() as made:
        made.begin()
        yield made


@pytest.fixture
def port() -> int:
    return free_port()


def program(folder: Path, ledger: Team, port: int) -> Program:
    url = f"http://127.0.0.1:{port}/hook"
    return Program(folder, "promotions.py", *ledger.options, "--hook", url)


def model(name: str = "wine", uid: str = "u1") -> Event:
    return RegisteredModelCreated(model_uid=uid, name=name)


def version(number: int, uid: str = "u1") -> Event:
    return ModelVersionCreated(model_uid=uid, name="wine", version_uid=f"{uid}-{number}")


def about(kind: Any, number: int, uid: str = "u1", **more: Any) -> Any:
    return kind(model_uid=uid, name="wine", version_uid=f"{uid}-{number}", version=number, **more)


def alias(number: int, uid: str = "u1") -> Event:
    return about(RegisteredModelAliasSet, number, uid, alias="champion")  # type: ignore[no-any-return]


def stage(number: int, name: str, archive: bool = False) -> Event:
    return about(  # type: ignore[no-any-return]
        ModelVersionStageChanged, number, stage=name, archive_existing=archive
    )


def short(hook: Hook) -> list[tuple[Any, ...]]:
    return [tuple(b[n] for n in ("kind", "model", "version", "from", "to")) for _, b in hook.taken]


def key_of(said: Outgoing) -> str:
    return f"{said.record.envelope.source}#{said.record.envelope.id}"


def test_what_counts_is_posted_and_what_lost_a_race_is_not(
    ledger: Team, port: int, tmp_path: Path
) -> None:
    said = ledger.say(
        model(),
        version(1),
        version(2),
        alias(1),
        model(uid="u2"),  # the name is taken: lost, and so all that follows from it
        version(1, uid="u2"),
        alias(1, uid="u2"),
        alias(7),  # there is no such version
        stage(1, "Production"),
        stage(2, "Production", archive=True),
        stage(2, "Production", archive=True),
        alias(2),
        stage(1, "Staging"),
        RegisteredModelRenamed(model_uid="u1", name="wine", new_name="vino"),
        about(ModelVersionDeleted, 2),
        stage(2, "Archived"),  # deleted a moment before
        alias(1),
    )
    ledger.log.append(said[:4])  # delivered again
    producer = KafkaProducer(bootstrap_servers=ledger.log.place.servers)
    producer.send(ledger.log.place.topic("catalog"), b"garbage", partition=0).get(10)
    producer.close()
    [last] = ledger.say(stage(1, "Production"))
    hook = Hook(port)
    try:
        with program(tmp_path, ledger, port) as running:
            hook.wait_for(8)
            running.end()
            assert "skipped offset" in running.said()
    finally:
        hook.close()
    assert short(hook) == [
        ("alias champion", "wine", 1, None, 1),
        ("stage", "wine", 1, "None", "Production"),
        ("stage", "wine", 2, "None", "Production"),
        ("stage", "wine", 2, "Production", "Production"),
        ("alias champion", "wine", 2, 1, 2),
        ("stage", "wine", 1, "Archived", "Staging"),
        ("alias champion", "vino", 1, None, 1),
        ("stage", "vino", 1, "Staging", "Production"),
    ]
    key, body = hook.taken[-1]
    envelope = last.record.envelope
    assert key == key_of(last) == f"{body['source']}#{body['id']}"
    assert (body["actor"], body["host"]) == (envelope.actor, envelope.host)
    assert body["time"] == envelope.attributes()["time"]


@pytest.mark.parametrize("status", [503, 404, 302])
def test_a_hook_that_is_down_or_refuses_is_asked_again(
    ledger: Team, port: int, tmp_path: Path, status: int
) -> None:
    ledger.say(model(), version(1), version(2), alias(1), alias(2))
    with program(tmp_path, ledger, port) as running:
        running.wait_for("Connection refused")
        hook = Hook(port)
        hook.status = status
        try:
            wait_until(lambda: hook.refused > 0, WITHIN_S, "the hook is asked")
            hook.status = 200
            hook.wait_for(2)
            running.end()
        finally:
            hook.close()
    assert [row[-1] for row in short(hook)] == [1, 2]


def test_killed_at_any_moment_it_misses_none(ledger: Team, port: int, tmp_path: Path) -> None:
    said = ledger.say(model(), version(1), version(2), *[alias(1 + n % 2) for n in range(30)])
    hook = Hook(port)
    running = [program(tmp_path, ledger, port)]
    killed = threading.Event()

    def kill_at(count: int) -> Callable[[], bool]:
        def kill() -> bool:
            if len(hook.taken) != count or killed.is_set():
                return False
            running[-1].kill()
            killed.set()
            return True

        return kill

    try:
        hook.after = kill_at(7)  # taken, and the answer never arrives
        assert killed.wait(WITHIN_S)
        hook.after = lambda: None
        ledger.say(alias(2))
        killed.clear()
        hook.loses = kill_at(20)  # the next one never arrives
        running.append(program(tmp_path, ledger, port))
        assert killed.wait(WITHIN_S)
        hook.loses = lambda: False
        running.append(program(tmp_path, ledger, port))
        hook.wait_for(31)
        running[-1].end()
    finally:
        for one in running:
            one.kill()
        hook.close()
    keys = [key for key, _ in hook.taken]
    assert list(dict.fromkeys(keys))[:30] == [key_of(one) for one in said[3:]]
    assert len(keys) - len(set(keys)) == 1  # taken, and not known to be
    kept = json.loads((tmp_path / "promotions.json").read_text("utf-8"))
    assert kept == {"ledger": LEDGER_ID, "next": len(said) + 2}


def test_a_cursor_of_another_ledger_is_refused(ledger: Team, port: int, tmp_path: Path) -> None:
    (tmp_path / "promotions.json").write_text('{"ledger": "another", "next": 3}', "utf-8")
    with program(tmp_path, ledger, port) as running:
        assert running.process.wait(WITHIN_S) == 1
        assert "about ledger another" in running.said()


def test_a_ledger_that_is_not_there_is_named(ledger: Team, tmp_path: Path) -> None:
    options = [*ledger.options, "--ledger", "nobody"]
    with Program(tmp_path, "promotions.py", *options, "--hook", "http://127.0.0.1:1") as running:
        assert running.process.wait(WITHIN_S) == 1
        assert "there is no topic nobody.catalog" in running.said()
