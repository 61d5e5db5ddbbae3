"""Rules about runs and what is logged to them.

They never look at experiments, which lie in another partition: a run's lifecycle is joined with
its experiment's when it is read. Data that reaches a soft-deleted run late is kept.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence

from mlflow_ledger.schemas import (
    DatasetInput,
    InputsLogged,
    KeyValue,
    MetricColumns,
    OutputsLogged,
    Point,
    Reason,
    Refused,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    RunDeleted,
    RunPurged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
    points,
    unpack_metrics,
)

from .context import Context, check_values, experiment_number, rule, stored_text

__all__ = ["RUN_NAME_TAG"]

RUN_NAME_TAG = "mlflow.runName"
"""The tag that also is the run's name (``mlflow.utils.mlflow_tags.MLFLOW_RUN_NAME``)."""

_RUN_NO = "SELECT run_no FROM runs WHERE run_id = ?"
_KEY_NO = "SELECT key_no FROM metric_keys WHERE key = ?"

_ONE_POINT = struct.Struct("<qqd")
_FIRST_KEY = bytes(4)
_VALUE_BYTES = 8


@rule(RunCreated)
def run_created(context: Context, event: RunCreated) -> None:
    """A run id is given once."""
    if context.row("SELECT 1 FROM runs WHERE run_id = ?", event.run_id):
        raise Refused(Reason.EXISTS, f"Run with id={event.run_id} already exists")
    experiment_id, content = experiment_number(event.experiment_id), event.content
    context.write(
        "INSERT INTO runs (run_id, experiment_id, name, user_id, status, start_ms, artifact_uri, "
        "lifecycle, epoch) VALUES (?, ?, ?, ?, 'RUNNING', ?, ?, 'active', ?)",
        event.run_id,
        experiment_id,
        content.name if content else "",
        content.user_id if content else None,
        event.start_time_ms,
        event.artifact_uri,
        event.experiment_epoch,
    )
    run_no = _run_no(context, event.run_id)
    for tag in content.tags if content else ():
        _set_tag(context, run_no, tag)
    context.touch(run_no, "r")


@rule(RunUpdated)
def run_updated(context: Context, event: RunUpdated) -> None:
    """What the event does not name stays; a name is also the tag ``mlflow.runName``."""
    run_no = _run_no(context, event.run_id)
    name = event.content.name if event.content else None
    context.write(
        "UPDATE runs SET status = coalesce(?, status), end_ms = coalesce(?, end_ms), "
        "name = coalesce(?, name) WHERE run_no = ?",
        event.status,
        event.end_time_ms,
        name,
        run_no,
    )
    if name is not None:
        _set_tag(context, run_no, KeyValue(key=RUN_NAME_TAG, value=name))
    context.touch(run_no, "r")


@rule(RunDeleted)
def run_deleted(context: Context, event: RunDeleted) -> None:
    """Deleting a deleted run moves its time of deletion, as in MLflow."""
    _set_lifecycle(
        context, event.run_id, "deleted", event.experiment_epoch, context.envelope.time_ms
    )


@rule(RunRestored)
def run_restored(context: Context, event: RunRestored) -> None:
    """A run is restored on its own."""
    _set_lifecycle(context, event.run_id, "active", event.experiment_epoch, None)


@rule(RunPurged)
def run_purged(context: Context, event: RunPurged) -> None:
    """A run goes for good, with all that was logged to it."""
    run_no = _run_no(context, event.run_id)
    context.pending.write_metrics()
    for table in (
        "runs", "params", "tags", "metrics", "metric_chunks", "run_inputs", "run_model_inputs",
        "run_model_outputs",
    ):  # fmt: skip
        context.write(f"DELETE FROM {table} WHERE run_no = ?", run_no)
    context.write("DELETE FROM logged_model_metrics WHERE run_id = ?", event.run_id)
    context.forget_number(_RUN_NO, event.run_id)
    context.touch(run_no, "r")


@rule(RunDataLogged)
def run_data_logged(context: Context, event: RunDataLogged) -> None:
    """All or nothing: one value that would change refuses the whole call."""
    run_no = _run_no(context, event.run_id)
    content = event.content
    if content is None:
        return
    if _log_one_metric(context, run_no, content):
        return
    logged = unpack_metrics(content)
    if content.params:
        _check_params(context, event.run_id, run_no, content.params)
    if content.metric_models:
        _log_model_metrics(context, event.run_id, points(content))
    if content.params:
        _log_params(context, run_no, content.params)
    if logged.keys:
        _log_metrics(context, run_no, logged)
    for tag in content.tags:
        _set_tag(context, run_no, tag)


@rule(RunTagDeleted)
def run_tag_deleted(context: Context, event: RunTagDeleted) -> None:
    """A tag that is deleted must be there. The run's name stays when its tag goes."""
    run_no = _run_no(context, event.run_id)
    if not context.write("DELETE FROM tags WHERE run_no = ? AND key = ?", run_no, event.tag):
        raise Refused(
            Reason.MISSING, f"No tag with name: {event.tag} in run with id {event.run_id}"
        )
    context.touch(run_no, "t", event.tag)


@rule(InputsLogged)
def inputs_logged(context: Context, event: InputsLogged) -> None:
    """A data set is an input once: the tags of its first use stay."""
    run_no = _run_no(context, event.run_id)
    ((experiment_id,),) = context.db.execute(
        "SELECT experiment_id FROM runs WHERE run_no = ?", (run_no,)
    ).fetchall()
    datasets = event.content.datasets if event.content else ()
    for dataset in datasets:
        _check_tags(context, run_no, dataset)
    for dataset in datasets:
        _describe_dataset(context, experiment_id, dataset)
        context.write(
            "INSERT OR IGNORE INTO run_inputs VALUES (?, ?, ?, ?, ?)",
            run_no,
            _next_ord(context, "run_inputs", run_no),
            dataset.name,
            dataset.digest,
            json.dumps([[tag.key, tag.value] for tag in dataset.tags], ensure_ascii=False),
        )
    for model_id in event.models:
        context.write(
            "INSERT OR IGNORE INTO run_model_inputs VALUES (?, ?, ?)",
            run_no,
            model_id,
            _next_ord(context, "run_model_inputs", run_no),
        )
    context.touch(run_no, "i")


@rule(OutputsLogged)
def outputs_logged(context: Context, event: OutputsLogged) -> None:
    """A logged model is an output of a run once."""
    run_no = _run_no(context, event.run_id)
    seen: set[str] = set()
    for output in event.models:
        if output.model_id in seen or context.row(
            "SELECT 1 FROM run_model_outputs WHERE run_no = ? AND model_id = ?",
            run_no,
            output.model_id,
        ):
            raise Refused(
                Reason.BAD_REQUEST,
                f"Logged model {output.model_id} already is an output of run {event.run_id}",
            )
        seen.add(output.model_id)
    for output in event.models:
        context.write(
            "INSERT OR IGNORE INTO run_model_outputs VALUES (?, ?, ?, ?)",
            run_no,
            output.model_id,
            _next_ord(context, "run_model_outputs", run_no),
            output.step,
        )
    context.touch(run_no, "i")


def _run_no(context: Context, run_id: str) -> int:
    run_no = context.number(_RUN_NO, run_id)
    if run_no is None:
        raise Refused(Reason.MISSING, f"Run with id={run_id} not found")
    return run_no


def _set_lifecycle(
    context: Context, run_id: str, lifecycle: str, epoch: int, deleted_ms: int | None
) -> None:
    run_no = _run_no(context, run_id)
    context.write(
        "UPDATE runs SET lifecycle = ?, epoch = ?, deleted_ms = ? WHERE run_no = ?",
        lifecycle,
        epoch,
        deleted_ms,
        run_no,
    )
    context.touch(run_no, "r")


def _set_tag(context: Context, run_no: int, tag: KeyValue) -> None:
    context.write("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", run_no, tag.key, tag.value)
    context.touch(run_no, "t", tag.key)
    if tag.key == RUN_NAME_TAG:
        context.write("UPDATE runs SET name = ? WHERE run_no = ?", tag.value, run_no)
        context.touch(run_no, "r")


def _check_params(context: Context, run_id: str, run_no: int, params: Sequence[KeyValue]) -> None:
    changed = []
    for param in params:
        old = context.row(
            "SELECT value FROM params WHERE run_no = ? AND key = ?", run_no, param.key
        )
        if old is not None and old[0] != param.value:
            changed.append({"key": param.key, "old_value": old[0], "new_value": param.value})
    if changed:
        raise Refused(
            Reason.INVALID,
            "Changing param values is not allowed. Params were already"
            f" logged='{changed}' for run ID='{run_id}'.",
        )
    check_values(params)


def _log_params(context: Context, run_no: int, params: Sequence[KeyValue]) -> None:
    context.db.executemany(
        "INSERT OR IGNORE INTO params VALUES (?, ?, ?)",
        [(run_no, param.key, param.value) for param in params],
    )
    context.touch(run_no, "p", *(param.key for param in params))


def _log_one_metric(context: Context, run_no: int, content: RunDataLoggedContent) -> bool:
    """Log a single value of a single metric, if that is all there is: by far the most common."""
    if (
        content.metric_key != _FIRST_KEY
        or len(content.metric_keys) != 1
        or content.params
        or content.tags
        or content.metric_models
        or content.metric_model
    ):
        return False
    points = content.metric_timestamp + content.metric_step + content.metric_value
    if not len(content.metric_value) == len(content.metric_step) == len(points) / 3 == _VALUE_BYTES:
        return False
    (key,) = content.metric_keys
    timestamp_ms, step, value = _ONE_POINT.unpack(points)
    is_nan = math.isnan(value)
    context.pending.chunks.append((run_no, _key_no(context, key), context.seq, points))
    context.pending.measure(run_no, key, (step, timestamp_ms, 0.0 if is_nan else value, is_nan))
    context.touch(run_no, "m", key)
    return True


def _log_metrics(context: Context, run_no: int, logged: MetricColumns) -> None:
    by_key: dict[str, list[int]] = {}
    for number, key in enumerate(logged.keys):
        by_key.setdefault(key, []).append(number)
    pending = context.pending
    for key, numbers in by_key.items():
        values = [logged.values[number] for number in numbers]
        timestamps_ms = [logged.timestamps_ms[number] for number in numbers]
        steps = [logged.steps[number] for number in numbers]
        pending.chunks.append(
            (run_no, _key_no(context, key), context.seq, chunk(timestamps_ms, steps, values))
        )
        order = list(zip(steps, timestamps_ms, map(_number, values), strict=True))
        latest = max(order)
        pending.measure(run_no, key, (*latest, math.isnan(values[order.index(latest)])))
    context.touch(run_no, "m", *by_key)


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def chunk(timestamps_ms: Sequence[int], steps: Sequence[int], values: Sequence[float]) -> bytes:
    """Points of one metric as the history keeps them."""
    n = len(values)
    return struct.pack(f"<{2 * n}q{n}d", *timestamps_ms, *steps, *values)


def _key_no(context: Context, key: str) -> int:
    key_no = context.number(_KEY_NO, key)
    if key_no is None:
        context.write("INSERT INTO metric_keys (key) VALUES (?)", key)
        key_no = context.number(_KEY_NO, key)
        assert key_no is not None
    return key_no


def _log_model_metrics(context: Context, run_id: str, logged: Iterable[Point]) -> None:
    """Of one model, key, time, step and run there is one value, and it never changes."""
    new: dict[tuple[object, ...], tuple[object, ...]] = {}
    for point in logged:
        if point.model is None:
            continue
        at = (point.model.model_id, point.key, point.timestamp_ms, point.step, run_id)
        measured = (_number(point.value), point.model.dataset_name, point.model.dataset_digest)
        known = new.get(at) or _model_metric(context, at)
        if known is not None and known != measured:
            raise Refused(
                Reason.BAD_REQUEST,
                f"Metric {point.key!r} of logged model {point.model.model_id} was already logged "
                f"with another value for step {point.step} at {point.timestamp_ms}.",
            )
        new[at] = measured
    context.db.executemany(
        "INSERT OR IGNORE INTO logged_model_metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(*at, *measured) for at, measured in new.items()],
    )


def _model_metric(context: Context, at: tuple[object, ...]) -> tuple[object, ...] | None:
    row: tuple[object, ...] | None = context.row(
        "SELECT value, dataset_name, dataset_digest FROM logged_model_metrics WHERE model_id = ? "
        "AND key = ? AND timestamp_ms = ? AND step = ? AND run_id = ?",
        *at,
    )
    return row


def _check_tags(context: Context, run_no: int, dataset: DatasetInput) -> None:
    keys = {tag.key for tag in dataset.tags}
    if len(keys) < len(dataset.tags) and not context.row(
        "SELECT 1 FROM run_inputs WHERE run_no = ? AND name = ? AND digest = ?",
        run_no,
        dataset.name,
        dataset.digest,
    ):
        raise Refused(Reason.BAD_REQUEST, f"A tag of the data set {dataset.name!r} is given twice.")


def _describe_dataset(context: Context, experiment_id: int, dataset: DatasetInput) -> None:
    envelope = context.envelope
    context.write(
        "INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "source_type = excluded.source_type, source = excluded.source, "
        "dataset_schema = excluded.dataset_schema, profile = excluded.profile, "
        "time_ms = excluded.time_ms, event_source = excluded.event_source, "
        "event_id = excluded.event_id "
        "WHERE (excluded.time_ms, excluded.event_source, excluded.event_id) < "
        "(datasets.time_ms, datasets.event_source, datasets.event_id)",
        experiment_id,
        dataset.name,
        dataset.digest,
        dataset.source_type,
        stored_text(dataset.source),
        stored_text(dataset.dataset_schema),
        stored_text(dataset.profile),
        envelope.time_ms,
        envelope.source,
        envelope.id,
    )


def _next_ord(context: Context, table: str, run_no: int) -> int:
    row = context.row(f"SELECT coalesce(max(ord), 0) + 1 FROM {table} WHERE run_no = ?", run_no)
    return int(row[0])
