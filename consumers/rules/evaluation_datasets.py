"""Rules about evaluation data sets and their records.

A record is an item whose parent is its data set and whose name is the hash of its inputs. The
experiments that a data set is for stand in its fields, each with the time since when.
"""

from __future__ import annotations

import hashlib
import json
from itertools import zip_longest
from typing import Any

from mlflow_ledger.schemas import (
    ClaimCheck,
    EvaluationDatasetCreated,
    EvaluationDatasetDeleted,
    EvaluationDatasetLinked,
    EvaluationDatasetTagDeleted,
    EvaluationDatasetTagsSet,
    EvaluationDatasetUnlinked,
    EvaluationRecord,
    EvaluationRecordsContent,
    EvaluationRecordsDeleted,
    EvaluationRecordsUpserted,
    Reason,
    Refused,
)

from .context import Context, experiment_number, rule
from .items import Family

__all__ = ["RECORD_KIND"]

RECORD_KIND = "evaluation_dataset_records"

_LINKED_MISSING = "Dataset '{id}' not found"
_USER = "mlflow.user"
_SCHEMA_PARTS = ("inputs", "outputs", "expectations")


def _derive(context: Context, fields: dict[str, Any]) -> None:
    fields["experiments"] = dict.fromkeys(
        fields.pop("experiment_ids", ()), context.envelope.time_ms
    )
    if "created_by" in fields:
        fields["last_updated_by"] = fields["created_by"]
    fields["digest"] = _digest(context, fields)


_DATASETS = (
    Family(
        missing="Evaluation dataset with id '{id}' not found",
        exists="Evaluation dataset with id '{id}' already exists",
        untagged="Could not find evaluation dataset with ID {id}",
        derive=_derive,
    )
    .created(EvaluationDatasetCreated)
    .deleted(EvaluationDatasetDeleted)
    .tags_set(EvaluationDatasetTagsSet)
    .tag_deleted(EvaluationDatasetTagDeleted)
)


@rule(EvaluationDatasetLinked)
def dataset_linked(context: Context, event: EvaluationDatasetLinked) -> None:
    """The experiments must be there, deleted or not; what is linked already stays as it is."""
    fields = _DATASETS.fields_of(context, event, _LINKED_MISSING)
    for experiment_id in event.experiment_ids:
        if not _is_experiment(context, experiment_id):
            raise Refused(Reason.MISSING, f"No Experiment with id={experiment_id}")
    new = dict.fromkeys(event.experiment_ids, context.envelope.time_ms)
    fields["experiments"] = new | fields["experiments"]
    _DATASETS.save(context, event, fields, updated=True)


@rule(EvaluationDatasetUnlinked)
def dataset_unlinked(context: Context, event: EvaluationDatasetUnlinked) -> None:
    """What is not linked changes nothing."""
    fields = _DATASETS.fields_of(context, event, _LINKED_MISSING)
    gone = [linked for linked in event.experiment_ids if fields["experiments"].pop(linked, None)]
    _DATASETS.save(context, event, fields, updated=bool(gone))


@rule(EvaluationRecordsUpserted)
def records_upserted(context: Context, event: EvaluationRecordsUpserted) -> None:
    """Records are found by the hash of their inputs, else by id; the data set counts them anew."""
    fields = _DATASETS.fields_of(context, event, reason=Reason.BAD_REQUEST)
    _refuse_strangers(context, event)
    content = event.content or EvaluationRecordsContent()
    records = content.records[: len(event.record_ids)]
    for record_id, record in zip_longest(event.record_ids, records):
        _upsert(context, event.subject, record_id, record)
    if content.dataset_schema is not None:
        fields["dataset_schema"] = _merged_schema(
            fields.get("dataset_schema"), content.dataset_schema
        )
    fields["last_updated_by"] = content.last_updated_by
    fields["digest"] = _digest(context, fields)
    count = _count(context, event.subject)
    if count:
        fields["profile"] = _profile(count)
    _DATASETS.save(context, event, fields, updated=True)


@rule(EvaluationRecordsDeleted)
def records_deleted(context: Context, event: EvaluationRecordsDeleted) -> None:
    """The profile follows, the time of the last update does not: so it is in MLflow."""
    fields = _DATASETS.fields_of(context, event)
    gone = context.write(
        "DELETE FROM items WHERE kind = ? AND parent = ? "
        "AND item_id IN (SELECT value FROM json_each(?))",
        RECORD_KIND,
        event.subject,
        json.dumps(event.record_ids),
    )
    if gone:
        fields["profile"] = _profile(_count(context, event.subject))
        _DATASETS.save(context, event, fields, updated=False)


def _is_experiment(context: Context, experiment_id: str) -> bool:
    """Whether an experiment has just this id: links are compared as texts, so ``07`` is none."""
    try:
        number = experiment_number(experiment_id)
    except Refused:
        return False
    found = context.row(
        "SELECT 1 FROM experiments "
        "WHERE experiment_id = ? AND workspace = ? AND lifecycle <> 'purged'",
        number,
        context.envelope.workspace,
    )
    return found is not None and str(number) == experiment_id


def _refuse_strangers(context: Context, event: EvaluationRecordsUpserted) -> None:
    stranger = context.row(
        "SELECT item_id FROM items WHERE kind = ? AND parent <> ? "
        "AND item_id IN (SELECT value FROM json_each(?))",
        RECORD_KIND,
        event.subject,
        json.dumps(event.record_ids),
    )
    if stranger:
        msg = f"Record '{stranger[0]}' belongs to another evaluation dataset"
        raise Refused(Reason.EXISTS, msg)


def _upsert(
    context: Context, dataset: str, record_id: str, record: EvaluationRecord | None
) -> None:
    row = record and context.row(
        "SELECT item_id, name, fields FROM items WHERE parent = ? AND kind = ? AND name = ?",
        dataset,
        RECORD_KIND,
        record.input_hash,
    )
    row = row or context.row(
        "SELECT item_id, name, fields FROM items WHERE kind = ? AND item_id = ?",
        RECORD_KIND,
        record_id,
    )
    now_ms = context.envelope.time_ms
    if row is None:
        context.write(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            RECORD_KIND,
            record_id,
            context.envelope.workspace,
            dataset,
            None if record is None else record.input_hash,
            now_ms,
            now_ms,
            json.dumps({} if record is None else _new(record), sort_keys=True),
        )
        return
    item_id, name, document = row
    fields = json.loads(document)
    if record is not None:
        fields = _merged(fields, record)
        # The event that brought it may have been redacted since.
        name = name or record.input_hash
    context.write(
        "UPDATE items SET name = ?, updated_ms = ?, fields = ? WHERE kind = ? AND item_id = ?",
        name,
        now_ms,
        json.dumps(fields, sort_keys=True),
        RECORD_KIND,
        item_id,
    )


def _new(record: EvaluationRecord) -> dict[str, Any]:
    fields = {
        "inputs": _text(record.inputs),
        "outputs": "{}" if record.outputs is None else _text(record.outputs),
        "expectations": record.expectations,
        "tags": record.tags or "{}",
        "source": record.source,
        "source_id": record.source_id,
    }
    user = _user(_object(record.tags))
    if user is not None:
        fields |= {"created_by": user, "last_updated_by": user}
    return {name: value for name, value in fields.items() if value is not None}


def _merged(fields: dict[str, Any], record: EvaluationRecord) -> dict[str, Any]:
    """A record with what a later one of the same inputs says; source and inputs are the first's."""
    merged = {"inputs": _text(record.inputs)} | fields
    if record.outputs is not None:
        merged["outputs"] = _text(record.outputs)
    for name, given in (("expectations", record.expectations), ("tags", record.tags)):
        added = _object(given)
        if added:
            merged[name] = json.dumps(_object(fields.get(name)) | added)
    tags = _object(record.tags)
    if _USER in tags:
        merged["last_updated_by"] = _user(tags)
    return {name: value for name, value in merged.items() if value is not None}


def _merged_schema(known: str | None, given: str) -> str:
    """The schema as the writer saw it, added to what others may have added meanwhile."""
    schema, added = _object(known), _object(given)
    if not schema:
        return given
    for part in _SCHEMA_PARTS:
        here, there = schema.get(part), added.get(part)
        if not here:
            schema[part] = there
        elif isinstance(here, dict) and isinstance(there, dict):
            schema[part] = here | {key: of for key, of in there.items() if key not in here}
    return json.dumps(schema)


def _digest(context: Context, fields: dict[str, Any]) -> str:
    said = f"{fields.get('name')}:{context.envelope.time_ms}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _profile(count: int) -> str:
    return json.dumps({"num_records": count} if count else None)


def _count(context: Context, dataset: str) -> int:
    row = context.row(
        "SELECT count(*) FROM items WHERE parent = ? AND kind = ?", dataset, RECORD_KIND
    )
    return int(row[0])


def _object(text: str | None) -> dict[str, Any]:
    """A JSON object; what is none, which no writer of ours says, counts as empty."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _user(tags: dict[str, Any]) -> str | None:
    user = tags.get(_USER)
    return None if user is None else str(user)


def _text(value: str | ClaimCheck | None) -> Any:
    """A text as the fields of an item keep it: a claim check as what it says."""
    return value.model_dump() if isinstance(value, ClaimCheck) else value
