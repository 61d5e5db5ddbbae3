"""Traces that move to files of their own, as MLflow's store moves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ExperimentTag, TraceState
from mlflow.tracing import trace_archival_config

from .pair import Pair
from .stores import now
from .test_core import INVALID
from .tracing import span, start, trace, trace_id

DAY_MS = 24 * 60 * 60 * 1000
KEPT, NOW = "mlflow.trace.archivalRetention", "mlflow.trace.archiveNow"


class Archive:
    """Archives to one folder from both stores, whose files are the same."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair, self.folder = pair, folder
        self.location = folder.as_uri()

    def run(self, **given: Any) -> int:
        said = {"resolved_trace_archival_location": self.location, "broader_retention": "30d"}
        count: int = self.pair.ok("archive_traces", **said | given)
        return count

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("traces.pb"))


@pytest.fixture
def archive(pair: Pair, tmp_path: Path) -> Archive:
    return Archive(pair, tmp_path / "archive")


def young(days: float) -> int:
    return now() - int(days * DAY_MS)


def tell(pair: Pair, number: int, days: float = 100, experiment_id: str = "0", **said: Any) -> None:
    """A trace of some days ago with three spans."""
    start(pair, trace(number, experiment_id, request_time=young(days), **said))
    of = {"mlflow.chat.tokenUsage": {"input_tokens": 3}, "mlflow.spanInputs": f"wörds {number}"}
    spans = [span(number, 1, name="root"), span(number, 3, 1), span(number, 2, 1, attributes=of)]
    pair.ok("log_spans", location=experiment_id, spans=spans)


def under_way(pair: Pair, number: int, days: float) -> None:
    """A trace whose root span is still to come."""
    start(pair, trace(number, request_time=young(days), state=TraceState.IN_PROGRESS))
    pair.ok("log_spans", location="0", spans=[span(number, 2, 1)])


def look(pair: Pair, *numbers: int) -> None:
    for number in numbers:
        pair.call("get_trace_info", trace_id=trace_id(number))
        pair.call("get_trace", trace_id=trace_id(number))
    pair.call("batch_get_traces", trace_ids=[trace_id(number) for number in numbers])
    for text in ("trace.text LIKE '%wörds%'", "span.name = 'root'", "span.content LIKE '%wörds%'"):
        pair.ok("search_traces", locations=["0"], filter_string=text)


def test_old_traces_are_archived(pair: Pair, archive: Archive) -> None:
    tell(pair, 1)
    tell(pair, 2, days=1)
    under_way(pair, 3, 100)
    start(pair, trace(4))
    assert archive.run() == 1
    assert archive.run() == 0
    assert [str(path.relative_to(archive.folder)) for path in archive.files()] == [
        "0/traces/tr-trace1/artifacts/traces.pb"
    ]
    look(pair, 1, 2, 3, 4)
    for method, given in [
        ("start_trace", {"trace_info": trace(1)}),
        ("log_spans", {"location": "0", "spans": [span(1, 9)]}),
    ]:
        pair.fails("INVALID_STATE", method, **given)
    pair.ok("set_trace_tag", trace_id=trace_id(1), key="a", value="b")
    pair.ok("set_trace_tag", trace_id=trace_id(1), key="mlflow.trace.spansLocation",
            value="TRACKING_STORE")  # fmt: skip
    look(pair, 1)
    assert archive.run() == 0


def test_archived_traces_are_deleted_with_their_files(pair: Pair, archive: Archive) -> None:
    for number in range(1, 6):
        tell(pair, number, days=100 - number)
    tell(pair, 6, days=1)
    assert archive.run(max_traces_per_pass=3) == 3
    look(pair, 1, 2, 3, 4, 5)
    wanted = [trace_id(number) for number in (1, 5)]
    assert pair.ok("delete_traces", experiment_id="0", trace_ids=wanted) == 2
    assert len(archive.files()) == 2
    archive.files()[0].unlink()
    look(pair, 2)
    until = young(50)
    assert pair.ok("delete_traces", experiment_id="0", max_timestamp_millis=until) == 3
    look(pair, *range(1, 7))
    assert archive.files() == []


def test_a_file_that_cannot_be_deleted_keeps_its_trace(pair: Pair, archive: Archive) -> None:
    tell(pair, 1)
    archive.run()
    where = {"trace_id": trace_id(1), "key": "mlflow.trace.archiveLocation"}
    pair.ok("set_trace_tag", **where, value="unheard-of://place")
    assert pair.ok("delete_traces", experiment_id="0", trace_ids=[trace_id(1)]) == 0
    pair.ok("delete_trace_tag", **where)
    assert pair.ok("delete_traces", experiment_id="0", trace_ids=[trace_id(1)]) == 1


def test_experiments_may_say_how_long_they_keep_traces(pair: Pair, archive: Archive) -> None:
    for first, (name, kept) in enumerate([("short", "5d"), ("long", "90d"), ("allowed", "90d")]):
        experiment = pair.make("create_experiment", name=name)
        value = json.dumps({"type": "duration", "value": kept})
        pair.ok("set_experiment_tag", experiment_id=experiment, tag=ExperimentTag(KEPT, value))
        for number, days in enumerate((10, 40, 100)):
            tell(pair, 10 * first + number, days, experiment)
    assert archive.run(long_retention_allowlist=[experiment]) == 3 + 2 + 1
    look(pair, *(10 * first + number for first in range(3) for number in range(3)))
    assert len(archive.files()) == 2 * (3 + 2 + 1)  # each store has its own ids of experiments
    gone = pair.make("create_experiment", name="gone")
    tell(pair, 99, 100, gone)
    pair.ok("delete_experiment", experiment_id=gone)
    assert archive.run(long_retention_allowlist=[experiment]) == 0


def test_a_tag_asks_to_archive_now(pair: Pair, archive: Archive) -> None:
    def ask(value: str) -> None:
        pair.ok("set_experiment_tag", experiment_id="0", tag=ExperimentTag(NOW, value))

    for number, days in enumerate((1, 3, 10, 40), 1):
        tell(pair, number, days)
    for value in ('{"older_than": "5d"}', '{"older_than": "2d"}'):
        ask(value)
        archive.run()
        pair.ok("get_experiment", experiment_id="0")
    under_way(pair, 5, 1)
    ask("{}")
    archive.run(max_traces_per_pass=1)
    pair.ok("get_experiment", experiment_id="0")
    archive.run()
    pair.ok("get_experiment", experiment_id="0")
    start(pair, trace(5, request_time=young(1)))
    archive.run()
    pair.ok("get_experiment", experiment_id="0")
    look(pair, 1, 2, 3, 4, 5)


def test_a_trace_of_two_is_marked(pair: Pair, archive: Archive) -> None:
    start(pair, trace(1))
    foreign = {"mlflow.traceRequestId": trace_id(1)}
    spans = [span(1, 1), span(2, 2, 1, attributes=foreign)]
    pair.ok("log_spans", location="0", spans=spans)
    tag = ExperimentTag(NOW, "{}")
    pair.ok("set_experiment_tag", experiment_id="0", tag=tag)
    assert archive.run() == 0
    look(pair, 1)
    pair.ok("get_experiment", experiment_id="0")
    assert archive.run() == 0
    pair.ok("delete_trace_tag", trace_id=trace_id(1), key="mlflow.trace.archivalFailure")
    assert archive.run() == 0
    assert archive.files() == []


def test_a_place_that_takes_nothing_leaves_all_as_it_is(pair: Pair, archive: Archive) -> None:
    tell(pair, 1)
    pair.ok("set_experiment_tag", experiment_id="0", tag=ExperimentTag(NOW, "{}"))
    archive.folder.write_text("a file")
    assert archive.run() == 0
    assert archive.run(resolved_trace_archival_location="unheard-of://place") == 0
    look(pair, 1)
    pair.ok("get_experiment", experiment_id="0")
    archive.folder.unlink()
    assert archive.run() == 1
    pair.ok("get_experiment", experiment_id="0")


@pytest.mark.parametrize(
    "odd",
    [
        {"resolved_trace_archival_location": ""}, {"resolved_trace_archival_location": "folder"},
        {"resolved_trace_archival_location": "mlflow-artifacts:/x"}, {"broader_retention": ""},
        {"resolved_trace_archival_location": 7}, {"broader_retention": "x"},
        {"broader_retention": "5"}, {"max_traces_per_pass": 0}, {"max_traces_per_pass": -1},
    ],
    ids=str,
)  # fmt: skip
def test_senseless_questions(pair: Pair, odd: dict[str, Any]) -> None:
    said = {"resolved_trace_archival_location": "file:///x", "broader_retention": "1d"}
    pair.fails(INVALID, "archive_traces", **said | odd)


def test_experiments_say_what_the_server_is_told(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "archive.yaml"
    config.write_text(
        f"trace_archival:\n  enabled: true\n  location: {tmp_path.as_uri()}\n  retention: 30d\n"
    )
    monkeypatch.setattr(trace_archival_config, "_TRACE_ARCHIVAL_SERVER_CONFIG_CACHE", None)
    monkeypatch.setenv("MLFLOW_TRACE_ARCHIVAL_CONFIG", str(config))
    experiment = pair.make("create_experiment", name="e")
    for kept in ("5d", "90d"):
        value = json.dumps({"type": "duration", "value": kept})
        pair.ok("set_experiment_tag", experiment_id=experiment, tag=ExperimentTag(KEPT, value))
        found = pair.ok("get_experiment", experiment_id=experiment)
        assert found.effective_trace_archival_retention == ("5d" if kept == "5d" else "30d")
        pair.ok("get_experiment_by_name", experiment_name="e")
        pair.ok("search_experiments")
