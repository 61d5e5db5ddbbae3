"""Rules about experiments."""

from __future__ import annotations

from typing import Any

from mlflow_ledger.schemas import (
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentPurged,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    Reason,
    Refused,
)

from .context import Context, experiment_number, rule
from .items import check_children_free, forget_children

__all__ = ["forget_experiment"]


@rule(ExperimentCreated)
def experiment_created(context: Context, event: ExperimentCreated) -> None:
    """A name is unique among active and deleted experiments; so is an id."""
    experiment_id = experiment_number(event.experiment_id)
    _refuse_taken(context, context.envelope.workspace, event.name)
    if context.row("SELECT 1 FROM experiments WHERE experiment_id = ?", experiment_id):
        raise Refused(Reason.EXISTS, f"Experiment with id={event.experiment_id} already exists.")
    now_ms = context.envelope.time_ms
    context.write(
        "INSERT INTO experiments VALUES (?, ?, ?, ?, 'active', 0, 0, ?, ?)",
        experiment_id,
        context.envelope.workspace,
        event.name,
        event.artifact_location,
        now_ms,
        now_ms,
    )
    for tag in event.content.tags if event.content else ():
        _set_tag(context, experiment_id, tag.key, tag.value)
    context.catalog = True


@rule(ExperimentRenamed)
def experiment_renamed(context: Context, event: ExperimentRenamed) -> None:
    """Only an active experiment gets another name, and none that is taken."""
    experiment_id, workspace, name, lifecycle = _experiment(context, event.experiment_id)
    if lifecycle != "active":
        raise Refused(Reason.STATE, "Cannot rename a non-active experiment.")
    if name != event.name:
        _refuse_taken(context, workspace, event.name, Reason.BAD_REQUEST)
    context.write(
        "UPDATE experiments SET name = ?, updated_ms = ? WHERE experiment_id = ?",
        event.name,
        context.envelope.time_ms,
        experiment_id,
    )
    context.catalog = True


@rule(ExperimentDeleted)
def experiment_deleted(context: Context, event: ExperimentDeleted) -> None:
    """An active experiment is deleted, and with it all its runs: its epoch rises."""
    _new_epoch(context, event.experiment_id, "active", "deleted")


@rule(ExperimentRestored)
def experiment_restored(context: Context, event: ExperimentRestored) -> None:
    """A deleted experiment is restored, with all its runs, those deleted before it too."""
    _new_epoch(context, event.experiment_id, "deleted", "active")


@rule(ExperimentPurged)
def experiment_purged(context: Context, event: ExperimentPurged) -> None:
    """A deleted experiment goes for good; its name is free, its runs are out of sight."""
    number, _, _, lifecycle = _experiment(context, event.experiment_id)
    if lifecycle == "deleted":
        check_children_free(context, f"experiments:/{number}")
    _new_epoch(context, event.experiment_id, "deleted", "purged")
    _forget_rest(context, number)


def forget_experiment(context: Context, experiment_id: int) -> None:
    """Take away an experiment, deleted or not, with all that belongs to it."""
    _set_lifecycle(context, experiment_id, "purged")
    _forget_rest(context, experiment_id)


@rule(ExperimentTagSet)
def experiment_tag_set(context: Context, event: ExperimentTagSet) -> None:
    """Tags are set on active experiments only."""
    experiment_id = _active(context, event.experiment_id)
    _set_tag(context, experiment_id, event.tag, event.content.value if event.content else None)
    context.catalog = True


@rule(ExperimentTagDeleted)
def experiment_tag_deleted(context: Context, event: ExperimentTagDeleted) -> None:
    """A tag that is deleted must be there."""
    experiment_id = _active(context, event.experiment_id)
    gone = context.write(
        "DELETE FROM experiment_tags WHERE experiment_id = ? AND key = ?", experiment_id, event.tag
    )
    if not gone:
        raise Refused(
            Reason.MISSING,
            f"No tag with name: {event.tag} in experiment with id {event.experiment_id}",
        )
    context.catalog = True


def _experiment(context: Context, experiment_id: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = context.row(
        "SELECT experiment_id, workspace, name, lifecycle FROM experiments "
        "WHERE experiment_id = ? AND workspace = ? AND lifecycle <> 'purged'",
        experiment_number(experiment_id),
        context.envelope.workspace,
    )
    if row is None:
        raise Refused(Reason.MISSING, f"No Experiment with id={experiment_id} exists")
    return row


def _active(context: Context, experiment_id: str) -> int:
    number, _, _, lifecycle = _experiment(context, experiment_id)
    if lifecycle != "active":
        raise Refused(
            Reason.INVALID,
            f"The experiment {experiment_id} must be in the 'active' state. "
            f"Current state is {lifecycle}.",
        )
    return int(number)


def _new_epoch(context: Context, experiment_id: str, before: str, after: str) -> None:
    number, _, _, lifecycle = _experiment(context, experiment_id)
    if lifecycle != before:
        raise Refused(Reason.MISSING, f"No Experiment with id={experiment_id} exists")
    _set_lifecycle(context, number, after)


def _set_lifecycle(context: Context, experiment_id: int, lifecycle: str) -> None:
    now_ms = context.envelope.time_ms
    context.write(
        "UPDATE experiments SET lifecycle = ?, epoch = epoch + 1, epoch_ms = ?, updated_ms = ? "
        "WHERE experiment_id = ?",
        lifecycle,
        now_ms,
        now_ms,
        experiment_id,
    )
    context.catalog = True


def _forget_rest(context: Context, experiment_id: int) -> None:
    context.write("UPDATE experiments SET name = NULL WHERE experiment_id = ?", experiment_id)
    context.write("DELETE FROM experiment_tags WHERE experiment_id = ?", experiment_id)
    forget_children(context, f"experiments:/{experiment_id}")


def _refuse_taken(
    context: Context, workspace: str, name: str, reason: Reason = Reason.EXISTS
) -> None:
    taken = context.row(
        "SELECT 1 FROM experiments WHERE workspace = ? AND name = ?", workspace, name
    )
    if taken:
        raise Refused(reason, f"Experiment(name={name}) already exists.")


def _set_tag(context: Context, experiment_id: int, key: str, value: str | None) -> None:
    context.write(
        "INSERT OR REPLACE INTO experiment_tags VALUES (?, ?, ?)", experiment_id, key, value
    )
