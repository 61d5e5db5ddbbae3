"""Metrics, params and tags of runs, as MLflow's tracking store logs them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_MODELS, MLFLOW_RUN_NAME
from mlflow.utils.validation import (
    _validate_batch_log_data,
    _validate_batch_log_limits,
    _validate_metric,
    _validate_param,
    _validate_param_keys_unique,
    _validate_run_id,
    _validate_tag,
)

from mlflow_ledger.consumers import Foreseen
from mlflow_ledger.query import is_logged_model
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    MetricColumns,
    MetricModel,
    Reason,
    Refused,
    RunDataLogged,
    RunDataLoggedContent,
    RunTagDeleted,
    pack_metrics,
)

from .edge import MAX_WHOLE, MIN_WHOLE, LedgerStore, text, whole
from .runs import active_run

__all__ = ["RunDataLogging"]

_PART_BYTES = 384 * 1024


class RunDataLogging(LedgerStore):
    """Log metrics, params and tags: one event a call, unless it would be too large for one."""

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Log one value of one metric."""
        _validate_metric(metric.key, metric.value, metric.timestamp, metric.step)
        content = RunDataLoggedContent(**pack_metrics(_whole(_columns([metric]))))
        self._log(run_id, [RunDataLogged(run_id=run_id, content=content)])

    def log_param(self, run_id: str, param: Param) -> None:
        """Log a param; the same value again is welcome, another is refused."""
        param = _validate_param(param.key, param.value)
        pair = _pair(param)
        event = RunDataLogged(run_id=run_id, content=RunDataLoggedContent(params=[pair]))

        def decide(db: sqlite3.Connection) -> list[Event]:
            run = active_run(db, run_id, event)
            old = db.execute(
                "SELECT value FROM params WHERE run_no = ? AND key = ?", (run.run_no, param.key)
            ).fetchone()
            if old is not None and old[0] != pair.value:
                raise Refused(
                    Reason.INVALID,
                    f"Changing param values is not allowed. Param with key='{param.key}' was "
                    f"already logged with value='{old[0]}' for run ID='{run_id}'. Attempted "
                    f"logging new value '{pair.value}'.",
                    event,
                )
            return [] if old is not None else [event]

        self._decide(
            decide,
            Foreseen(
                [event],
                lambda known: known.takes_first(run_id, pair),
                lambda known, state: known.look_at_run(state, run_id),
            ),
        )

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set a tag; ``mlflow.runName`` also names the run, unless it is empty."""
        tag = _validate_tag(tag.key, tag.value)
        tags = _tags([tag])
        self._log(run_id, [RunDataLogged(run_id=run_id, content=RunDataLoggedContent(tags=tags))])

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag that is there."""
        event = RunTagDeleted(run_id=run_id, tag=key)
        self._log(run_id, [event])

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None:
        """Log many at once, all or nothing, validated once."""
        _validate_run_id(run_id)
        columns = _columns(metrics)
        plain = _are_plain(columns)
        _, params, tags = _validate_batch_log_data(() if plain else metrics, params, tags)
        _validate_batch_log_limits(metrics, params, tags)
        _validate_param_keys_unique(params)
        content = RunDataLoggedContent(
            **pack_metrics(columns if plain else _whole(columns)),
            params=[_pair(param) for param in params],
            tags=_tags(tags),
        )
        events = [RunDataLogged(run_id=run_id, content=part) for part in _parts(content)]
        self._log(run_id, events)

    def record_logged_model(self, run_id: str, mlflow_model: Model) -> None:
        """Add a model to the tag that lists the models of a run (MLflow 2's way)."""
        if not isinstance(mlflow_model, Model):
            msg = (
                f"Argument 'mlflow_model' should be mlflow.models.Model, got '{type(mlflow_model)}'"
            )
            raise TypeError(msg)

        def decide(db: sqlite3.Connection) -> list[Event]:
            run = active_run(db, run_id)
            old = db.execute(
                "SELECT value FROM tags WHERE run_no = ? AND key = ?",
                (run.run_no, MLFLOW_LOGGED_MODELS),
            ).fetchone()
            listed = [*(json.loads(old[0]) if old else ()), mlflow_model.get_tags_dict()]
            tag = _validate_tag(MLFLOW_LOGGED_MODELS, json.dumps(listed))
            return [RunDataLogged(run_id=run_id, content=RunDataLoggedContent(tags=_tags([tag])))]

        self._decide(decide)

    def _log(self, run_id: str, events: Sequence[Event]) -> None:
        def decide(db: sqlite3.Connection) -> Sequence[Event]:
            active_run(db, run_id, events[0] if events else None)
            for event in events:
                _check_models(db, event)
            return events

        self._decide(decide, _foreseen(run_id, events))


def _foreseen(run_id: str, events: Sequence[Event]) -> Foreseen | None:
    """What is said where the run is known to be active; metrics of logged models need a look."""
    params: list[KeyValue] = []
    for event in events:
        content = event.content
        if not isinstance(content, RunDataLoggedContent) or content.metric_models:
            return None
        params += content.params
    return Foreseen(
        events,
        lambda known: known.takes(run_id, params),
        lambda known, state: known.look_at_run(state, run_id),
    )


def _columns(metrics: Sequence[Metric]) -> MetricColumns:
    """What metrics say, by column; nothing is checked."""
    return MetricColumns(
        [metric.key for metric in metrics],
        [metric.value for metric in metrics],
        [metric.timestamp for metric in metrics],
        [metric.step for metric in metrics],
        [_model(metric) for metric in metrics if metric.model_id is not None]
        and [_model(metric) for metric in metrics],
    )


def _model(metric: Metric) -> MetricModel | None:
    if metric.model_id is None:
        return None
    return MetricModel(
        model_id=metric.model_id,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
    )


def _are_plain(columns: MetricColumns) -> bool:
    """Whether MLflow's validation is certain to pass: it takes 2 ms for 1000 metrics.

    Names are validated once each. Where anything is unusual MLflow validates, and words the error.
    """
    kinds = [set(map(type, column)) for column in columns[:4]]
    if kinds != [{str}, {float}, {int}, {int}]:
        return False
    if min(columns.timestamps_ms) < 0 or max(columns.timestamps_ms) > MAX_WHOLE:
        return False
    if min(columns.steps) < MIN_WHOLE or max(columns.steps) > MAX_WHOLE:
        return False
    try:
        for name in set(columns.keys):
            _validate_metric(name, 0.0, 0, 0)
    except MlflowException:
        return False
    return True


def _whole(columns: MetricColumns) -> MetricColumns:
    """The columns with numbers of the types they stand for."""
    return columns._replace(
        values=[float(value) for value in columns.values],
        timestamps_ms=[whole(number) or 0 for number in columns.timestamps_ms],
        steps=[whole(number) or 0 for number in columns.steps],
    )


def _tags(tags: Sequence[RunTag]) -> list[KeyValue]:
    """Tags as an event carries them; an empty run name changes nothing, as in MLflow."""
    return [_pair(tag) for tag in tags if tag.key != MLFLOW_RUN_NAME or tag.value]


def _pair(given: Param | RunTag) -> KeyValue:
    return KeyValue(key=given.key, value=text(given.value))


def _check_models(db: sqlite3.Connection, event: Event) -> None:
    """Logged models that metrics name lie in another partition: the rules cannot look at them."""
    if not isinstance(event.content, RunDataLoggedContent):
        return
    for model in event.content.metric_models:
        if not is_logged_model(db, model.model_id):
            raise Refused(
                Reason.BAD_REQUEST, f"Logged model with ID '{model.model_id}' not found.", event
            )


def _parts(content: RunDataLoggedContent) -> Iterator[RunDataLoggedContent]:
    """A batch in parts that an event can carry, in order: params, metrics, then tags.

    MLflow's limits keep metrics far below the size of one event; params and tags are not.
    """
    pairs = [(pair, "params") for pair in content.params] + [
        (pair, "tags") for pair in content.tags
    ]
    size_bytes = sum(_size_bytes(pair) for pair, _ in pairs)
    if size_bytes <= _PART_BYTES:
        yield content
        return
    yield content.model_copy(update={"params": [], "tags": []})
    part: dict[str, list[KeyValue]] = {"params": [], "tags": []}
    filled = 0
    for pair, kind in pairs:
        if filled + _size_bytes(pair) > _PART_BYTES:
            yield RunDataLoggedContent(**part)
            part, filled = {"params": [], "tags": []}, 0
        part[kind].append(pair)
        filled += _size_bytes(pair)
    yield RunDataLoggedContent(**part)


def _size_bytes(pair: KeyValue) -> int:
    return len(pair.key.encode("utf-8", "replace")) + len(
        (pair.value or "").encode("utf-8", "replace")
    )
