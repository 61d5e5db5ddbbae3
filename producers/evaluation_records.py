"""Records of evaluation data sets as MLflow's tracking store keeps them."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from mlflow.entities import DatasetRecord, DatasetRecordSource
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR
from mlflow.store.tracking import LOAD_DATASET_RECORDS_MAX_RESULTS
from mlflow.utils.mlflow_tags import MLFLOW_USER

from mlflow_ledger.query import Item, evaluation_records, item_of, known_records
from mlflow_ledger.schemas import (
    EvaluationRecord,
    EvaluationRecordsContent,
    EvaluationRecordsDeleted,
    EvaluationRecordsUpserted,
    Event,
    Reason,
    Refused,
)

from .edge import LedgerStore, text, whole

__all__ = ["EvaluationRecords"]

T = TypeVar("T")

_KIND = EvaluationRecordsUpserted.kind
_PART_BYTES = 384 * 1024
_CLAIM_BYTES = 96 * 1024  # inputs and outputs together leave half of an event to the rest
_MOST_IDS = 8000
_NO_SCHEMA = '{"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"}'
_TYPES = {
    type(None): "null", bool: "boolean", int: "integer", float: "float", str: "string",
    list: "array", dict: "object",
}  # fmt: skip


class _Said(NamedTuple):
    """A record as the caller gave it, and what an event says of it whatever is there."""

    given: dict[str, Any]
    record: EvaluationRecord


class EvaluationRecords(LedgerStore):
    """Add, merge, delete and load records."""

    def upsert_dataset_records(
        self, dataset_id: str, records: list[dict[str, Any]]
    ) -> dict[str, int]:
        """Add records, or merge them into those of equal inputs; returns how many of each."""
        attempt = EvaluationRecordsUpserted(dataset_id=dataset_id, record_ids=[])
        said = _as_mlflow(lambda: [self._said(given) for given in records])
        counts: dict[str, int] = {}

        def decide(db: sqlite3.Connection) -> list[Event]:
            dataset = item_of(db, _KIND, dataset_id)
            if dataset is None and not said:
                counts.update(inserted=0, updated=0)
                return []
            hashes = [one.record.input_hash for one in said]
            known = known_records(db, dataset_id, hashes=hashes)
            ids = {input_hash: record_id for record_id, input_hash in known.items()}
            before = len(ids)
            told = [_told(one, dataset_id, ids) for one in said]
            if dataset is None:
                msg = f"Evaluation dataset with id '{dataset_id}' not found"
                raise Refused(Reason.BAD_REQUEST, msg, attempt)
            inserted = len(ids) - before
            counts.update(inserted=inserted, updated=len(said) - inserted)
            content = EvaluationRecordsContent(
                dataset_schema=_schema(dataset.fields.get("dataset_schema"), records),
                last_updated_by=_last_user(records),
            )
            return list(_parts(dataset_id, told, content))

        self._decide(decide)
        return counts

    def delete_dataset_records(self, dataset_id: str, dataset_record_ids: list[str]) -> int:
        """Delete records; returns how many were there."""
        ids = list(dict.fromkeys(str(given) for given in dataset_record_ids))
        gone: list[str] = []

        def decide(db: sqlite3.Connection) -> list[Event]:
            known = known_records(db, dataset_id, ids=ids)
            gone[:] = [id_ for id_ in ids if id_ in known]
            return [
                EvaluationRecordsDeleted(
                    dataset_id=dataset_id, record_ids=gone[first : first + _MOST_IDS]
                )
                for first in range(0, len(gone), _MOST_IDS)
            ]

        self._decide(decide)
        return len(gone)

    def _load_dataset_records(
        self, dataset_id: str, max_results: int | None = None, page_token: str | None = None
    ) -> tuple[list[DatasetRecord], str | None]:
        """A page of records in order of creation, and the token of the next; None means all."""
        size = None if max_results is None else max_results or LOAD_DATASET_RECORDS_MAX_RESULTS
        after, offset = _as_mlflow(lambda: _place(page_token))
        limit = -1 if size is None else size + 1
        items: list[Item] = self._ask(
            lambda db: evaluation_records(db, dataset_id, limit, offset, after)
        )
        token = None
        if size is not None and len(items) > size:
            items = items[:size]
            last = _as_mlflow(lambda: items[-1])
            token = base64.b64encode(f"{last.created_ms}:{last.item_id}".encode()).decode()
        return [self._record(dataset_id, item) for item in items], token

    def _said(self, given: dict[str, Any]) -> _Said:
        inputs = given.get("inputs", {})
        ordered = json.dumps(inputs, sort_keys=True)
        outputs = _json(given["outputs"]) if "outputs" in given else None
        record = EvaluationRecord(
            input_hash=hashlib.sha256(ordered.encode()).hexdigest(),
            inputs=self._travelling(json.dumps(inputs), _CLAIM_BYTES),
            outputs=self._travelling(outputs, _CLAIM_BYTES),
        )
        return _Said(given, record)

    def _record(self, dataset_id: str, item: Item) -> DatasetRecord:
        fields = item.fields
        source = fields.get("source")
        return DatasetRecord(
            dataset_record_id=item.item_id,
            dataset_id=dataset_id,
            inputs=json.loads(self._whole(fields.get("inputs")) or "{}"),
            outputs=json.loads(self._whole(fields.get("outputs")) or "null"),
            expectations=json.loads(fields.get("expectations", "null")),
            tags=json.loads(fields.get("tags", "{}")),
            source=DatasetRecordSource.from_dict(json.loads(source)) if source else None,
            source_id=fields.get("source_id"),
            created_time=item.created_ms,
            last_update_time=item.updated_ms,
            created_by=fields.get("created_by"),
            last_updated_by=fields.get("last_updated_by"),
        )

    def _whole(self, kept: str | dict[str, Any] | None) -> str | None:
        """A text from the fields of an item; a claim check stands there as what it says."""
        return self._arrived(json.dumps(kept).encode() if isinstance(kept, dict) else kept)


def _told(said: _Said, dataset_id: str, ids: dict[str | None, str]) -> tuple[str, EvaluationRecord]:
    """A record with its id and all that is merged; ``ids`` by hash learns of new ones."""
    given, record = said
    expectations, tags = given.get("expectations"), given.get("tags")
    known = ids.get(record.input_hash)
    if known is not None:
        update = {
            "expectations": _json(dict(expectations)) if expectations else None,
            "tags": _json(dict(tags)) if tags else None,
        }
        return known, record.model_copy(update=update)
    made = _checked(given, dataset_id)
    new = ids[record.input_hash] = f"dr-{uuid.uuid4().hex}"
    return new, record.model_copy(
        update={
            "expectations": None if made.expectations is None else _json(made.expectations),
            "tags": _json(made.tags),
            "source": _json(made.source.to_dict()) if made.source else None,
            "source_id": text(made.source_id),
        }
    )


def _checked(given: dict[str, Any], dataset_id: str) -> DatasetRecord:
    """A new record, refused where MLflow's model of the table refuses it, in its words."""
    source = given.get("source") or None
    if isinstance(source, dict):
        source = DatasetRecordSource.from_dict(source)
    record = DatasetRecord(
        dataset_record_id="",
        dataset_id=dataset_id,
        inputs=given.get("inputs", {}),
        outputs=given.get("outputs", {}),
        created_time=0,
        last_update_time=0,
        expectations=given.get("expectations"),
        tags=given.get("tags"),
        source=source,
    )
    for name in ("inputs", "expectations", "tags"):
        value = getattr(record, name)
        if value is not None and not isinstance(value, dict):
            msg = f"Attribute '{name}' does not accept objects of type {type(value)}"
            raise ValueError(msg)
    return record


def _last_user(records: Sequence[dict[str, Any]]) -> str | None:
    """Who is said to have made the last record that says it."""
    tags = [given.get("tags") or {} for given in records]
    users = [of_one[MLFLOW_USER] for of_one in tags if MLFLOW_USER in of_one]
    return text(users[-1]) if users else None


def _schema(known: str | None, records: Sequence[dict[str, Any]]) -> str | None:
    """The schema with the fields of more records, the first type of each; as MLflow infers it."""
    if not records and not known:
        return None
    schema = json.loads(known or _NO_SCHEMA)
    for given in records:
        _add_types(schema["inputs"], given.get("inputs"))
        outputs = given.get("outputs")
        if isinstance(outputs, dict):
            _add_types(schema["outputs"], outputs)
        elif outputs is not None and not schema["outputs"]:
            schema["outputs"] = _type(outputs)
        _add_types(schema["expectations"], given.get("expectations"))
    return json.dumps(schema)


def _add_types(types: dict[str, str], values: dict[str, Any] | None) -> None:
    for name, value in (values or {}).items():
        if name not in types:
            types[name] = _type(value)


def _type(value: Any) -> str:
    return next((name for kind, name in _TYPES.items() if isinstance(value, kind)), "unknown")


def _parts(
    dataset_id: str,
    told: Sequence[tuple[str, EvaluationRecord]],
    content: EvaluationRecordsContent,
) -> Iterator[EvaluationRecordsUpserted]:
    """Records in events that are not too large; the first one says the schema of all."""
    part: list[tuple[str, EvaluationRecord]] = []
    filled = len(content.dataset_schema or "")
    for record_id, record in told:
        size_bytes = len(record.model_dump_json())
        if part and filled + size_bytes > _PART_BYTES:
            yield _upserted(dataset_id, part, content)
            content = content.model_copy(update={"dataset_schema": None})
            part, filled = [], 0
        part.append((record_id, record))
        filled += size_bytes
    yield _upserted(dataset_id, part, content)


def _upserted(
    dataset_id: str,
    part: Sequence[tuple[str, EvaluationRecord]],
    content: EvaluationRecordsContent,
) -> EvaluationRecordsUpserted:
    return EvaluationRecordsUpserted(
        dataset_id=dataset_id,
        record_ids=[record_id for record_id, _ in part],
        content=content.model_copy(update={"records": [record for _, record in part]}),
    )


def _place(page_token: str | None) -> tuple[tuple[int, str] | None, int]:
    """Behind which record a page begins, or at which offset, by a token in MLflow's form."""
    if not page_token:
        return None, 0
    try:
        created_ms, record_id = base64.b64decode(page_token.encode()).decode().split(":", 1)
        return (int(created_ms), record_id), 0
    except (ValueError, AttributeError):
        return None, whole(int(page_token)) or 0


def _json(value: Any) -> str:
    """A value as JSON; what has none gets the code that MLflow's SQL store gives it."""
    try:
        return json.dumps(value)
    except TypeError as error:
        raise MlflowException(str(error), BAD_REQUEST) from error


def _as_mlflow(work: Callable[[], T]) -> T:
    """Do what MLflow does inside a session, where any error of Python's gets one code."""
    try:
        return work()
    except MlflowException:
        raise
    except Exception as error:
        raise MlflowException(str(error), INTERNAL_ERROR) from error
