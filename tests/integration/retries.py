"""Requests as MLflow's REST clients send them, each sent a second time as after a lost answer."""

from __future__ import annotations

import json
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .programs import Server, answer


class Request(NamedTuple):
    """One request; ``<name>`` in path and body stands for an id of the conversation."""

    method: str
    path: str
    body: dict[str, Any]
    watched: str
    """What is read before and after the second sending."""


RUN, EXPERIMENT, MODEL, VERSION, LOGGED, HOOK = (
    "runs/get?run_id=<run>",
    "experiments/get?experiment_id=<experiment>",
    "registered-models/get?name=<model>",
    "model-versions/get?name=<model>&version=1",
    "logged-models/<logged>",
    "webhooks/<hook>",
)
HISTORY = "metrics/get-history?run_id=<run>&metric_key=loss"
POINT = {"key": "loss", "value": 0.5, "timestamp": 1_700_000_000_000, "step": 3}
NAN = {"key": "loss", "value": "NaN", "timestamp": 1_700_000_000_001, "step": 4}
DATA = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}
OF_RUN = {"run_id": "<run>"}
OF_VERSION = {"name": "<model>", "version": "1"}

TIMES = {"last_update_time", "last_updated_timestamp", "last_updated_timestamp_ms"}
"""MLflow's store notes the time of a repeated change as well; ours does the same."""

REPEATED = [
    Request("POST", "runs/log-metric", {**OF_RUN, **POINT}, HISTORY),
    Request("POST", "runs/log-metric", {**OF_RUN, **NAN}, HISTORY),
    Request("POST", "runs/log-metric", {**OF_RUN, **POINT, "key": "other"}, RUN),
    Request("POST", "runs/log-parameter", {**OF_RUN, "key": "depth", "value": "3"}, RUN),
    Request(
        "POST",
        "runs/log-batch",
        {
            **OF_RUN,
            "metrics": [POINT, {**POINT, "step": 5}, NAN],
            "params": [{"key": "rate", "value": "0.1"}],
            "tags": [{"key": "team", "value": "cellar"}],
        },
        RUN,
    ),
    Request("POST", "runs/log-batch", {**OF_RUN, "metrics": [POINT, POINT]}, HISTORY),
    Request("POST", "runs/log-inputs", {**OF_RUN, "datasets": [{"dataset": DATA}]}, RUN),
    Request(
        "POST", "runs/outputs", {**OF_RUN, "models": [{"model_id": "<logged>", "step": 0}]}, RUN
    ),
    Request("POST", "runs/set-tag", {**OF_RUN, "key": "colour", "value": "red"}, RUN),
    Request("POST", "runs/delete-tag", {**OF_RUN, "key": "colour"}, RUN),
    Request("POST", "runs/update", {**OF_RUN, "status": "FINISHED", "end_time": 9}, RUN),
    Request("POST", "runs/update", {**OF_RUN, "run_name": "named"}, RUN),
    Request("POST", "runs/delete", OF_RUN, RUN),
    Request("POST", "runs/restore", OF_RUN, RUN),
    Request(
        "POST",
        "experiments/set-experiment-tag",
        {"experiment_id": "<experiment>", "key": "k", "value": "v"},
        EXPERIMENT,
    ),
    Request(
        "POST",
        "experiments/delete-experiment-tag",
        {"experiment_id": "<experiment>", "key": "k"},
        EXPERIMENT,
    ),
    Request(
        "POST",
        "experiments/update",
        {"experiment_id": "<experiment>", "new_name": "<new>"},
        EXPERIMENT,
    ),
    Request("POST", "experiments/delete", {"experiment_id": "<experiment>"}, EXPERIMENT),
    Request("POST", "experiments/restore", {"experiment_id": "<experiment>"}, EXPERIMENT),
    Request(
        "PATCH", "registered-models/update", {"name": "<model>", "description": "words"}, MODEL
    ),
    Request(
        "POST", "registered-models/set-tag", {"name": "<model>", "key": "k", "value": "v"}, MODEL
    ),
    Request("DELETE", "registered-models/delete-tag", {"name": "<model>", "key": "k"}, MODEL),
    Request("POST", "registered-models/alias", {**OF_VERSION, "alias": "best"}, MODEL),
    Request("DELETE", "registered-models/alias", {"name": "<model>", "alias": "best"}, MODEL),
    Request("PATCH", "model-versions/update", {**OF_VERSION, "description": "words"}, VERSION),
    Request("POST", "model-versions/set-tag", {**OF_VERSION, "key": "k", "value": "v"}, VERSION),
    Request("DELETE", "model-versions/delete-tag", {**OF_VERSION, "key": "k"}, VERSION),
    Request(
        "POST",
        "model-versions/transition-stage",
        {**OF_VERSION, "stage": "Production", "archive_existing_versions": True},
        MODEL,
    ),
    Request(
        "POST",
        "model-versions/transition-stage",
        {**OF_VERSION, "stage": "Archived", "archive_existing_versions": False},
        VERSION,
    ),
    Request("PATCH", "logged-models/<logged>/tags", {"tags": [{"key": "k", "value": "v"}]}, LOGGED),
    Request("DELETE", "logged-models/<logged>/tags/k", {}, LOGGED),
    Request(
        "POST",
        "logged-models/<logged>/params",
        {"model_id": "<logged>", "params": [{"key": "p", "value": "1"}]},
        LOGGED,
    ),
    Request(
        "PATCH",
        "logged-models/<logged>",
        {"model_id": "<logged>", "status": "LOGGED_MODEL_READY"},
        LOGGED,
    ),
    Request("DELETE", "logged-models/<logged>", {}, "logged-models/<logged>?allow_deleted=true"),
    Request("PATCH", "webhooks/<hook>", {"name": "renamed", "description": "words"}, HOOK),
    Request("DELETE", "webhooks/<hook>", {}, "webhooks"),
    Request("DELETE", "model-versions/delete", OF_VERSION, MODEL),
    Request("POST", "registered-models/rename", {"name": "<model>", "new_name": "<new>"}, MODEL),
    Request(
        "DELETE", "registered-models/delete", {"name": "<new>"}, "registered-models/get?name=<new>"
    ),
]

CREATES = [
    Request("POST", "experiments/create", {"name": "<new>"}, EXPERIMENT),
    Request("POST", "runs/create", {"experiment_id": "<experiment>", "start_time": 1}, EXPERIMENT),
    Request("POST", "registered-models/create", {"name": "<new>"}, MODEL),
    Request("POST", "model-versions/create", {"name": "<model>", "source": "s3://x/y"}, VERSION),
    Request("POST", "logged-models", {"experiment_id": "<experiment>", "name": "m"}, LOGGED),
    Request(
        "POST",
        "webhooks",
        {
            "name": "hook",
            "status": "DISABLED",  # a server delivers what is active, and tests call nobody
            "url": "https://8.8.8.8/",
            "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
        },
        HOOK,
    ),
]


@dataclass
class Twice:
    """The two answers to a request, and what was read before and after the second."""

    first: tuple[int, Any]
    second: tuple[int, Any]
    before: Any
    after: Any
    moved: set[str]

    @property
    def answers(self) -> list[tuple[int, Any]]:
        """Status and error code of both answers."""
        return [
            (status, body.get("error_code") if status != 200 else None)
            for status, body in (self.first, self.second)
        ]


@dataclass
class Conversation:
    """A server with one of each thing, made for the conversation."""

    server: Server
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mark = uuid.uuid4().hex[:8]
        self.ids |= {"model": f"model-{mark}", "new": f"new-{mark}"}
        ids = self.ids
        made = self._made("experiments/create", {"name": f"experiment-{mark}"})
        ids["experiment"] = made["experiment_id"]
        made = self._made("runs/create", {"experiment_id": ids["experiment"], "start_time": 1})
        ids["run"] = made["run"]["info"]["run_id"]
        made = self._made("logged-models", {"experiment_id": ids["experiment"], "name": "m"})
        ids["logged"] = made["model"]["info"]["model_id"]
        self._made("registered-models/create", {"name": ids["model"]})
        for _ in range(2):
            self._made("model-versions/create", {"name": ids["model"], "source": "s3://x/y"})
        ids["hook"] = self._made("webhooks", CREATES[-1].body)["webhook"]["webhook_id"]

    def twice(self, request: Request) -> Twice:
        """Send a request and send it again."""
        first = self._send(*request[:3])
        before = self._send("GET", request.watched)
        second = self._send(*request[:3])
        after = self._send("GET", request.watched)
        return Twice(first, second, _timeless(before), _timeless(after), set(_moved(before, after)))

    def _made(self, path: str, body: dict[str, Any]) -> Any:
        status, made = self._send("POST", path, body)
        assert status == 200, (path, made)
        return made

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        data = None if body is None else self._named(json.dumps(body)).encode()
        request = urllib.request.Request(
            f"{self.server.url}/api/2.0/mlflow/{self._named(path)}",
            data=data,
            headers={"Content-Type": "application/json"},
            method=method,
        )
        status, found = answer(request)
        return status, json.loads(found or b"{}")

    def _named(self, text: str) -> str:
        for name, value in self.ids.items():
            text = text.replace(f"<{name}>", value)
        return text


def _timeless(value: Any) -> Any:
    """A document without the times that MLflow moves with every change, repeated or not."""
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [_timeless(item) for item in value]
    return value


def _moved(one: Any, two: Any, name: str = "answer") -> list[str]:
    """The names of the fields in which two documents differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        return [n for key in {*one, *two} for n in _moved(one.get(key), two.get(key), key)]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        return [n for a, b in zip(one, two, strict=True) for n in _moved(a, b, name)]
    return [] if one == two else [name]
