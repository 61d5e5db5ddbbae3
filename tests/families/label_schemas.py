"""Label schemas."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    LabelSchemaContent,
    LabelSchemaCreated,
    LabelSchemaDeleted,
    LabelSchemaUpdated,
)

FULL: tuple[Event, ...] = (
    LabelSchemaCreated(
        schema_id="ls1",
        experiment_id="17",
        name="quality",
        label_type="feedback",
        enable_comment=True,
        is_default=True,
        content=LabelSchemaContent(
            instruction="How good is it?", input_type="text", input_config="{}"
        ),
    ),
    LabelSchemaUpdated(
        schema_id="ls1",
        name="better",
        enable_comment=False,
        content=LabelSchemaContent(
            instruction="How good?", input_type="numeric", input_config="{}"
        ),
    ),
    LabelSchemaDeleted(schema_id="ls1"),
)
