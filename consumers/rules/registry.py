"""Rules about registered models, versions and aliases: the fold gives the version numbers."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionEvent,
    ModelVersionStageChanged,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    ModelVersionUpdated,
    Reason,
    Refused,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelDeleted,
    RegisteredModelEvent,
    RegisteredModelRenamed,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
    RegisteredModelUpdated,
)

from .context import Context, rule, stored_text
from .promotion_check import check_promotion, forget_promotions, note_version_tag

__all__ = ["DELETED_STAGE", "model_no_of", "version_of"]

DELETED_STAGE = "Deleted_Internal"
"""The stage of a deleted version (``mlflow.entities.model_registry.STAGE_DELETED_INTERNAL``)."""


@rule(RegisteredModelCreated)
def model_created(context: Context, event: RegisteredModelCreated) -> None:
    """A model's name is unique, and so is its uid."""
    _refuse_taken(context, context.envelope.workspace, event.name)
    if context.row("SELECT 1 FROM registered_models WHERE uid = ?", event.model_uid):
        raise Refused(Reason.EXISTS, f"Registered Model (uid={event.model_uid}) already exists.")
    content, now_ms = event.content, context.envelope.time_ms
    context.write(
        "INSERT INTO registered_models (uid, workspace, name, created_ms, updated_ms, description) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        event.model_uid,
        context.envelope.workspace,
        event.name,
        now_ms,
        now_ms,
        stored_text(content.description) if content else None,
    )
    model_no = model_no_of(context, event)
    for tag in content.tags if content else ():
        context.write(
            "INSERT OR REPLACE INTO registered_model_tags VALUES (?, ?, ?)",
            model_no,
            tag.key,
            tag.value,
        )
    context.catalog = True


@rule(RegisteredModelUpdated)
def model_updated(context: Context, event: RegisteredModelUpdated) -> None:
    """A model gets another description, or none."""
    context.write(
        "UPDATE registered_models SET description = ?, updated_ms = ? WHERE model_no = ?",
        stored_text(event.content.description) if event.content else None,
        context.envelope.time_ms,
        model_no_of(context, event),
    )
    context.catalog = True


@rule(RegisteredModelRenamed)
def model_renamed(context: Context, event: RegisteredModelRenamed) -> None:
    """The model and all its versions were touched, as in MLflow."""
    model_no = model_no_of(context, event)
    workspace, name = context.row(
        "SELECT workspace, name FROM registered_models WHERE model_no = ?", model_no
    )
    if event.new_name != name:
        _refuse_taken(context, workspace, event.new_name)
    now_ms = context.envelope.time_ms
    context.write(
        "UPDATE registered_models SET name = ?, updated_ms = ? WHERE model_no = ?",
        event.new_name,
        now_ms,
        model_no,
    )
    context.write("UPDATE model_versions SET updated_ms = ? WHERE model_no = ?", now_ms, model_no)
    context.catalog = True


@rule(RegisteredModelDeleted)
def model_deleted(context: Context, event: RegisteredModelDeleted) -> None:
    """The model goes with all that hangs on it; its name is free."""
    forget_model(context, model_no_of(context, event))


def forget_model(context: Context, model_no: int) -> None:
    """Take away a model with all that hangs on it."""
    forget_promotions(context, model_no)
    for table in (
        "registered_models", "registered_model_tags", "model_aliases", "model_versions",
        "model_version_tags",
    ):  # fmt: skip
        context.write(f"DELETE FROM {table} WHERE model_no = ?", model_no)
    context.catalog = True


@rule(RegisteredModelTagSet)
def model_tag_set(context: Context, event: RegisteredModelTagSet) -> None:
    """A tag of a model is set."""
    context.write(
        "INSERT OR REPLACE INTO registered_model_tags VALUES (?, ?, ?)",
        model_no_of(context, event),
        event.tag,
        event.content.value if event.content else None,
    )
    context.catalog = True


@rule(RegisteredModelTagDeleted)
def model_tag_deleted(context: Context, event: RegisteredModelTagDeleted) -> None:
    """Deleting a tag that is not there changes nothing, as in MLflow."""
    context.write(
        "DELETE FROM registered_model_tags WHERE model_no = ? AND key = ?",
        model_no_of(context, event),
        event.tag,
    )
    context.catalog = True


@rule(RegisteredModelAliasSet)
def alias_set(context: Context, event: RegisteredModelAliasSet) -> None:
    """An alias names one version that is there."""
    model_no, version = version_of(context, event)
    check_promotion(context, event, model_no, "alias", event.alias)
    context.write(
        "INSERT OR REPLACE INTO model_aliases VALUES (?, ?, ?)", model_no, event.alias, version
    )
    context.catalog = True


@rule(RegisteredModelAliasDeleted)
def alias_deleted(context: Context, event: RegisteredModelAliasDeleted) -> None:
    """Deleting an alias that is not there changes nothing, as in MLflow."""
    context.write(
        "DELETE FROM model_aliases WHERE model_no = ? AND alias = ?",
        model_no_of(context, event),
        event.alias,
    )
    context.catalog = True


@rule(ModelVersionCreated)
def version_created(context: Context, event: ModelVersionCreated) -> None:
    """The version gets the number after the highest there ever was."""
    model_no = model_no_of(context, event)
    if context.row("SELECT 1 FROM model_versions WHERE uid = ?", event.version_uid):
        raise Refused(Reason.EXISTS, f"Model Version (uid={event.version_uid}) already exists")
    (version,) = context.row(
        "SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE model_no = ?", model_no
    )
    content, now_ms = event.content, context.envelope.time_ms
    context.write(
        "INSERT INTO model_versions VALUES (?, ?, ?, ?, ?, ?, ?, 'None', ?, ?, ?, ?, ?)",
        model_no,
        version,
        event.version_uid,
        now_ms,
        now_ms,
        stored_text(content.description) if content else None,
        content.user_id if content else None,
        content.source if content else None,
        content.storage_location if content else None,
        event.run_id,
        content.run_link if content else None,
        event.model_id,
    )
    for tag in content.tags if content else ():
        context.write(
            "INSERT OR REPLACE INTO model_version_tags VALUES (?, ?, ?, ?)",
            model_no,
            version,
            tag.key,
            tag.value,
        )
    _touch_model(context, model_no)


@rule(ModelVersionUpdated)
def version_updated(context: Context, event: ModelVersionUpdated) -> None:
    """A version gets another description, or none."""
    model_no, version = version_of(context, event)
    context.write(
        "UPDATE model_versions SET description = ?, updated_ms = ? "
        "WHERE model_no = ? AND version = ?",
        stored_text(event.content.description) if event.content else None,
        context.envelope.time_ms,
        model_no,
        version,
    )
    context.catalog = True


@rule(ModelVersionStageChanged)
def version_stage_changed(context: Context, event: ModelVersionStageChanged) -> None:
    """A version moves to a stage; where asked, all others that stood there are archived."""
    model_no, version = version_of(context, event)
    check_promotion(context, event, model_no, "stage", event.stage)
    now_ms = context.envelope.time_ms
    if event.archive_existing:
        context.write(
            "UPDATE model_versions SET stage = 'Archived', updated_ms = ? "
            "WHERE model_no = ? AND version <> ? AND stage = ?",
            now_ms,
            model_no,
            version,
            event.stage,
        )
    context.write(
        "UPDATE model_versions SET stage = ?, updated_ms = ? WHERE model_no = ? AND version = ?",
        event.stage,
        now_ms,
        model_no,
        version,
    )
    _touch_model(context, model_no)


@rule(ModelVersionDeleted)
def version_deleted(context: Context, event: ModelVersionDeleted) -> None:
    """The version's number stays taken; what it said is redacted as MLflow does, tags stay."""
    model_no, version = version_of(context, event)
    context.write("DELETE FROM model_aliases WHERE model_no = ? AND version = ?", model_no, version)
    context.write(
        "UPDATE model_versions SET stage = ?, updated_ms = ?, description = NULL, user_id = NULL, "
        "source = 'REDACTED-SOURCE-PATH', run_id = 'REDACTED-RUN-ID', "
        "run_link = 'REDACTED-RUN-LINK' WHERE model_no = ? AND version = ?",
        DELETED_STAGE,
        context.envelope.time_ms,
        model_no,
        version,
    )
    _touch_model(context, model_no)


@rule(ModelVersionTagSet)
def version_tag_set(context: Context, event: ModelVersionTagSet) -> None:
    """A tag of a version is set."""
    model_no, version = version_of(context, event)
    context.write(
        "INSERT OR REPLACE INTO model_version_tags VALUES (?, ?, ?, ?)",
        model_no,
        version,
        event.tag,
        event.content.value if event.content else None,
    )
    note_version_tag(context, event, there=True)
    context.catalog = True


@rule(ModelVersionTagDeleted)
def version_tag_deleted(context: Context, event: ModelVersionTagDeleted) -> None:
    """Deleting a tag that is not there changes nothing, as in MLflow."""
    model_no, version = version_of(context, event)
    context.write(
        "DELETE FROM model_version_tags WHERE model_no = ? AND version = ? AND key = ?",
        model_no,
        version,
        event.tag,
    )
    note_version_tag(context, event, there=False)
    context.catalog = True


def model_no_of(context: Context, event: RegisteredModelEvent) -> int:
    """The number of the model that an event names by its uid.

    Raises:
        Refused: there is none.
    """
    row = context.row(
        "SELECT model_no FROM registered_models WHERE uid = ? AND workspace = ?",
        event.model_uid,
        context.envelope.workspace,
    )
    if row is None:
        raise Refused(Reason.MISSING, f"Registered Model with name={event.name} not found")
    return int(row[0])


def version_of(context: Context, event: ModelVersionEvent) -> tuple[int, int]:
    """The numbers of the model and of the version that an event names by its uid.

    Raises:
        Refused: there is none, or it was deleted.
    """
    row = context.row(
        "SELECT model_no, version FROM model_versions v JOIN registered_models m USING (model_no) "
        "WHERE v.uid = ? AND stage <> ? AND workspace = ?",
        event.version_uid,
        DELETED_STAGE,
        context.envelope.workspace,
    )
    if row is None:
        raise Refused(
            Reason.MISSING, f"Model Version (name={event.name}, version={event.version}) not found"
        )
    return int(row[0]), int(row[1])


def _touch_model(context: Context, model_no: int) -> None:
    context.write(
        "UPDATE registered_models SET updated_ms = ? WHERE model_no = ?",
        context.envelope.time_ms,
        model_no,
    )
    context.catalog = True


def _refuse_taken(context: Context, workspace: str, name: str) -> None:
    taken = context.row(
        "SELECT 1 FROM registered_models WHERE workspace = ? AND name = ?", workspace, name
    )
    if taken:
        raise Refused(Reason.EXISTS, f"Registered Model (name={name}) already exists.")
