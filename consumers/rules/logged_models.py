"""Rules about logged models. Their metrics are those of runs that name them, joined when read."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_ledger.schemas import (
    KeyValue,
    LoggedModelCreated,
    LoggedModelDeleted,
    LoggedModelFinalized,
    LoggedModelParamsLogged,
    LoggedModelPurged,
    LoggedModelTagDeleted,
    LoggedModelTagsSet,
    Reason,
    Refused,
)

from .context import Context, check_values, experiment_number, rule

__all__: list[str] = []


@rule(LoggedModelCreated)
def logged_model_created(context: Context, event: LoggedModelCreated) -> None:
    """A model id is given once; a logged model is pending until it is finalized."""
    if context.row("SELECT 1 FROM logged_models WHERE model_id = ?", event.model_id):
        raise Refused(Reason.EXISTS, f"Logged model with ID '{event.model_id}' already exists.")
    experiment_id = experiment_number(event.experiment_id)
    content, now_ms = event.content, context.envelope.time_ms
    check_values([*content.params, *content.tags] if content else ())
    context.write(
        "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, created_ms, "
        "updated_ms, status, model_type, source_run_id, lifecycle) "
        "VALUES (?, ?, ?, ?, ?, ?, 'PENDING', ?, ?, 'active')",
        event.model_id,
        experiment_id,
        content.name if content else "",
        event.artifact_location,
        now_ms,
        now_ms,
        content.model_type if content else None,
        event.source_run_id,
    )
    if content:
        number = _number(context, event.model_id)
        _set(context, "logged_model_tags", number, content.tags)
        _set(context, "logged_model_params", number, content.params)


@rule(LoggedModelFinalized)
def logged_model_finalized(context: Context, event: LoggedModelFinalized) -> None:
    """A logged model gets its final status."""
    context.write(
        "UPDATE logged_models SET status = ?, updated_ms = ? WHERE logged_model_no = ?",
        event.status,
        context.envelope.time_ms,
        _number(context, event.model_id),
    )


@rule(LoggedModelTagsSet)
def logged_model_tags_set(context: Context, event: LoggedModelTagsSet) -> None:
    """Tags overwrite tags of the same key."""
    number = _number(context, event.model_id)
    tags = event.content.tags if event.content else ()
    check_values(tags)
    _set(context, "logged_model_tags", number, tags)


@rule(LoggedModelTagDeleted)
def logged_model_tag_deleted(context: Context, event: LoggedModelTagDeleted) -> None:
    """A tag that is deleted must be there."""
    gone = context.write(
        "DELETE FROM logged_model_tags WHERE logged_model_no = ? AND key = ?",
        _number(context, event.model_id),
        event.tag,
    )
    if not gone:
        raise Refused(
            Reason.MISSING,
            f"No tag with key {event.tag!r} found for model with ID {event.model_id!r}.",
        )


@rule(LoggedModelParamsLogged)
def logged_model_params_logged(context: Context, event: LoggedModelParamsLogged) -> None:
    """A param of a logged model is logged once."""
    number = _number(context, event.model_id)
    params = event.content.params if event.content else ()
    check_values(params)
    seen: set[str] = set()
    for param in params:
        if param.key in seen or context.row(
            "SELECT 1 FROM logged_model_params WHERE logged_model_no = ? AND key = ?",
            number,
            param.key,
        ):
            raise Refused(
                Reason.BAD_REQUEST,
                f"Param {param.key!r} of logged model {event.model_id!r} was already logged.",
            )
        seen.add(param.key)
    _set(context, "logged_model_params", number, params)


@rule(LoggedModelDeleted)
def logged_model_deleted(context: Context, event: LoggedModelDeleted) -> None:
    """A logged model is soft-deleted; again moves its time, as in MLflow."""
    context.write(
        "UPDATE logged_models SET lifecycle = 'deleted', updated_ms = ? WHERE logged_model_no = ?",
        context.envelope.time_ms,
        _number(context, event.model_id),
    )


@rule(LoggedModelPurged)
def logged_model_purged(context: Context, event: LoggedModelPurged) -> None:
    """A logged model goes for good, with its params and tags."""
    number = _number(context, event.model_id)
    for table in ("logged_models", "logged_model_params", "logged_model_tags"):
        context.write(f"DELETE FROM {table} WHERE logged_model_no = ?", number)


def _number(context: Context, model_id: str) -> int:
    row = context.row("SELECT logged_model_no FROM logged_models WHERE model_id = ?", model_id)
    if row is None:
        raise Refused(Reason.MISSING, f"Logged model with ID '{model_id}' not found.")
    return int(row[0])


def _set(context: Context, table: str, number: int, pairs: Sequence[KeyValue]) -> None:
    context.db.executemany(
        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",
        [(number, pair.key, pair.value) for pair in pairs],
    )
