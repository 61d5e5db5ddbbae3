"""Evaluation data sets."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ClaimCheck,
    EvaluationDatasetContent,
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
    Event,
    ItemTagsContent,
    KeyValue,
)

_DATASET = {"dataset_id": "d-1"}

FULL: tuple[Event, ...] = (
    EvaluationDatasetCreated(
        **_DATASET,
        experiment_ids=["17", "18"],
        content=EvaluationDatasetContent(
            name="questions", created_by="zoë", tags=[KeyValue(key="a", value="1")]
        ),
    ),
    EvaluationDatasetTagsSet(
        **_DATASET,
        content=ItemTagsContent(tags=[KeyValue(key="a", value="2"), KeyValue(key="b", value="☃")]),
    ),
    EvaluationDatasetTagDeleted(**_DATASET, tag="a"),
    EvaluationDatasetLinked(**_DATASET, experiment_ids=["0"]),
    EvaluationDatasetUnlinked(**_DATASET, experiment_ids=["17"]),
    EvaluationRecordsUpserted(
        **_DATASET,
        record_ids=["dr-1", "dr-2"],
        content=EvaluationRecordsContent(
            records=[
                EvaluationRecord(
                    input_hash="ab" * 32,
                    inputs='{"q": "Who?"}',
                    outputs='"she"',
                    expectations='{"answer": "she"}',
                    tags='{"mlflow.user": "zoë"}',
                    source='{"source_type": "TRACE", "source_data": {"trace_id": "tr-1"}}',
                    source_id="tr-1",
                ),
                EvaluationRecord(
                    input_hash="cd" * 32,
                    inputs=ClaimCheck(digest="sha256:" + "ab" * 32, size_bytes=300_000),
                ),
            ],
            dataset_schema='{"inputs": {"q": "string"}, "outputs": "string"}',
            last_updated_by="zoë",
        ),
    ),
    EvaluationRecordsDeleted(**_DATASET, record_ids=["dr-2"]),
    EvaluationDatasetDeleted(**_DATASET),
)
