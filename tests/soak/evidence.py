"""What a ledger holds in the end, beside what its writers noted."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

from mlflow import MlflowClient

from mlflow_ledger.consumers import Analytics, Ledger, state_digest
from mlflow_ledger.schemas import (
    ArtifactLogged,
    ModelVersionCreated,
    RunCreated,
    RunDataLogged,
    decode,
    points,
)

from .log import BATCH_PAIRS, BATCH_POINTS, MODELS, STRIDE, marked
from .notes import Call

__all__ = ["findings"]

_PIECES = {"log_batch": BATCH_POINTS + 2 * BATCH_PAIRS}
"""How many values a call of a kind leaves in the log, where it is not one."""


def findings(folder: Path, begun: Mapping[int, Call]) -> Iterator[str]:
    """Everything that is not as it should be, in words; nothing if all is well."""
    ledger = Ledger(folder / "store")
    said = _said(ledger)
    yield from _events(said, begun)
    standing = {mark: call for mark, call in begun.items() if said[mark]}
    yield from _answers(ledger, f"ledger:{folder}/store", standing)
    yield from _folds(ledger, folder)
    ledger.close()


def _said(ledger: Ledger) -> Counter[int]:
    """How many values in the log bear each mark."""
    found: Counter[int] = Counter()
    for stored in ledger.log.rows(1):
        record = stored.record
        event = decode(record.envelope.type, record.head, record.content)
        found.update(int(value) // STRIDE * STRIDE for value in _values(event))
    return found


def _values(event: Any) -> Iterator[float | str]:
    """The values of an event that bear marks."""
    match event:
        case RunCreated():
            yield event.content.name[1:]
        case ModelVersionCreated():
            yield event.content.description[1:]
        case ArtifactLogged():
            yield event.path.rsplit("/m", 1)[1].removesuffix(".txt")
        case RunDataLogged():
            yield from (point.value for point in points(event.content))
            yield from (pair.key[1:] for pair in (*event.content.params, *event.content.tags))


def _events(said: Counter[int], begun: Mapping[int, Call]) -> Iterator[str]:
    """Acknowledged calls stand in the log once, others once or not at all, and whole."""
    for mark in said.keys() - begun.keys():
        yield f"mark {mark} stands in the log, and nobody began that call"
    for call in begun.values():
        whole, found = _PIECES.get(call.kind, 1), said[call.mark]
        if call.acknowledged and found != whole:
            yield f"{call} was acknowledged; {found} of its {whole} values stand in the log"
        elif found not in (0, whole):
            yield f"{call} was in flight; {found} of its {whole} values stand in the log"


def _answers(ledger: Ledger, uri: str, standing: Mapping[int, Call]) -> Iterator[str]:
    """MLflow's interface answers what stands in the log, no less and no more."""
    client: Any = MlflowClient(uri, uri)
    runs = _runs(ledger)
    of_run: dict[str, list[Call]] = defaultdict(list)
    for call in standing.values():
        run_id = runs.get(call.mark, "") if call.kind in ("open", "create_run") else call.about
        of_run[run_id].append(call)
        if call.kind in ("open", "create_run") and call.answer not in (None, run_id):
            yield f"{call} is run {run_id!r}"
    for run_id in of_run.keys() ^ set(runs.values()):
        yield f"run {run_id!r} is there and was not begun, or the other way round"
    for run_id, calls in of_run.items():
        yield from _run(client, ledger, run_id, calls)
    yield from _versions(client, standing)


def _runs(ledger: Ledger) -> dict[int, str]:
    """The run that each mark began."""
    return ledger.query(
        lambda db: {
            int(name[1:]): run_id for run_id, name in db.execute("SELECT run_id, name FROM runs")
        }
    )


def _run(client: Any, ledger: Ledger, run_id: str, calls: list[Call]) -> Iterator[str]:
    by_kind: dict[str, list[int]] = defaultdict(list)
    for call in calls:
        by_kind[call.kind].append(call.mark)
    batches = [(mark, n) for mark in by_kind["log_batch"] for n in range(BATCH_PAIRS)]
    pairs = {marked(mark, n): str(mark) for mark, n in batches}
    params = pairs | {marked(mark): str(mark) for mark in by_kind["log_param"]}
    tags = pairs | {marked(mark): str(mark) for mark in by_kind["set_tag"]}
    data = client.get_run(run_id).data
    if data.params != params:
        yield f"run {run_id} has other params than were logged: {data.params.keys() ^ params}"
    found = {k: v for k, v in data.tags.items() if not k.startswith("mlflow.") and v != "run"}
    if found != tags:
        yield f"run {run_id} has other tags than were logged: {found.keys() ^ tags}"
    batch = [mark + n for mark in by_kind["log_batch"] for n in range(BATCH_POINTS)]
    for key, values in (("loss", by_kind["log_metric"]), ("batch", batch)):
        points_found = [point.value for point in client.get_metric_history(run_id, key)]
        if sorted(points_found) != sorted(values) or _stored(ledger, run_id, key) != len(values):
            yield f"run {run_id} has {len(points_found)} points of {key}, {len(values)} were logged"
    files = {file.path for file in client.list_artifacts(run_id)}
    if files != {f"{marked(mark)}.txt" for mark in by_kind["log_artifact"]}:
        yield f"run {run_id} has other artifacts than were logged: {files}"


def _stored(ledger: Ledger, run_id: str, key: str) -> int:
    """How many points are stored: exact duplicates fall out of what MLflow answers."""
    query = (
        "SELECT coalesce(sum(length(points)), 0) / 24 FROM metric_chunks "
        "JOIN runs USING (run_no) JOIN metric_keys USING (key_no) WHERE run_id = ? AND key = ?"
    )
    return int(ledger.query(lambda db: db.execute(query, (run_id, key)).fetchone()[0]))


def _versions(client: Any, standing: Mapping[int, Call]) -> Iterator[str]:
    """Numbers run from 1 without gaps, and acknowledged ones are what was acknowledged."""
    found: dict[int, str] = {}
    for name in MODELS:
        numbers = []
        token = None
        while True:
            page = client.search_model_versions(f"name = '{name}'", 1000, page_token=token)
            for version in page:
                numbers.append(int(version.version))
                found[int(version.description[1:])] = f"{name}/{version.version}"
            token = page.token
            if not token:
                break
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"the versions of {name} are {sorted(numbers)}"
    made = {mark: call for mark, call in standing.items() if call.kind == "create_model_version"}
    for mark in found.keys() ^ made.keys():
        yield f"version {found.get(mark)} has mark {mark}, which the log does not have, or so"
    for mark, call in made.items():
        if call.acknowledged and call.answer != found.get(mark):
            yield f"{call} is {found.get(mark)}"


def _folds(ledger: Ledger, folder: Path) -> Iterator[str]:
    """State and analytics are what a fresh fold of the log is, and verify finds nothing."""
    fresh_folder = folder / "fresh"
    fresh_folder.mkdir()
    with ledger.log.lock:  # what stands in the log's own write-ahead log goes along
        for suffix in ("", "-wal"):
            path = ledger.log.path.with_name(ledger.log.path.name + suffix)
            if path.exists():
                copyfile(path, fresh_folder / path.name)
    fresh = Ledger(fresh_folder)
    fresh.rebuild()
    digests = {}
    for name, at in (("live", ledger), ("fresh", fresh)):
        analytics = Analytics(at)
        columns, expected = analytics.digest()
        analytics.close()
        with at.read() as db:
            digests[name] = (state_digest(db), columns, expected)
    fresh.close()
    (live_state, *live), (fresh_state, *again) = digests["live"], digests["fresh"]
    if live_state != fresh_state:
        yield f"the state's digest is {live_state}, that of a fresh fold {fresh_state}"
    if {*live, *again} != {live[0]}:
        yield f"digests of analytics and rows differ, live {live}, fresh {again}"
    command = Path(sys.executable).with_name("mlflow-ledger")
    done = subprocess.run(
        [command, "verify", f"ledger:{ledger.folder}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        yield f"mlflow-ledger verify ends with {done.returncode}: {done.stdout}{done.stderr}"
