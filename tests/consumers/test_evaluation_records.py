"""Records of evaluation data sets where writers meet, or where contents are gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_ledger.consumers import CLAIM_CHECKS
from mlflow_ledger.query import evaluation_records, item_of
from mlflow_ledger.schemas import (
    ClaimCheck,
    EvaluationDatasetContent,
    EvaluationDatasetCreated,
    EvaluationDatasetDeleted,
    EvaluationDatasetLinked,
    EvaluationRecord,
    EvaluationRecordsContent,
    EvaluationRecordsDeleted,
    EvaluationRecordsUpserted,
    Event,
    Reason,
)
from tests.schemas.samples import redacted

from .folding import Bench

KIND = EvaluationDatasetCreated.kind
CREATED = EvaluationDatasetCreated(dataset_id="d", content=EvaluationDatasetContent(name="n"))


def upserted(
    record_id: str, dataset: str = "d", schema: dict[str, Any] | None = None, **said: Any
) -> EvaluationRecordsUpserted:
    """One record; its inputs are what its hash says."""
    record = EvaluationRecord(**{"input_hash": "h", "inputs": '{"q": 1}'} | said)
    content = EvaluationRecordsContent(
        records=[record], dataset_schema=None if schema is None else json.dumps(schema)
    )
    return EvaluationRecordsUpserted(dataset_id=dataset, record_ids=[record_id], content=content)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.accept(CREATED)
    yield made
    made.close()


def fields(bench: Bench) -> dict[str, Any]:
    item = item_of(bench.db, KIND, "d")
    assert item is not None
    return item.fields


def test_two_hosts_add_records_of_equal_inputs(bench: Bench) -> None:
    bench.accept(
        upserted("dr-1", expectations='{"a": 1}', source="{}", tags='{"mlflow.user": "x"}'),
        upserted("dr-2", expectations='{"b": 2}', outputs="5", tags='{"mlflow.user": "y"}'),
    )
    [record] = evaluation_records(bench.db, "d")
    assert record.item_id == "dr-1"
    assert json.loads(record.fields["expectations"]) == {"a": 1, "b": 2}
    assert (record.fields["outputs"], record.fields["source"]) == ("5", "{}")
    assert (record.fields["created_by"], record.fields["last_updated_by"]) == ("x", "y")
    assert fields(bench)["profile"] == '{"num_records": 1}'


def test_two_hosts_add_fields_to_the_schema(bench: Bench) -> None:
    empty = {"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"}
    for number, said in enumerate(
        ({"inputs": {"a": "x"}}, {"inputs": {"b": "y", "a": "z"}}, {"outputs": "s"},
         {"outputs": {"o": "t"}}),
    ):  # fmt: skip
        bench.accept(upserted("dr-1", schema=empty | said, input_hash=str(number)))
    assert json.loads(fields(bench)["dataset_schema"]) == {
        "inputs": {"a": "x", "b": "y"}, "outputs": "s", "expectations": {}, "version": "1.0",
    }  # fmt: skip


def test_a_record_whose_event_was_redacted_is_there_until_it_is_told_again(bench: Bench) -> None:
    bench.accept(redacted(upserted("dr-1")))
    [record] = evaluation_records(bench.db, "d")
    assert (record.name, record.fields) == (None, {})
    assert fields(bench)["profile"] == '{"num_records": 1}'
    bench.accept(upserted("dr-1", tags='{"t": "1"}'))
    [record] = evaluation_records(bench.db, "d")
    assert (record.name, record.fields["inputs"]) == ("h", '{"q": 1}')


@pytest.mark.parametrize("text", ["", "?", "[]", "5", "[" * 100_000])
def test_texts_that_no_writer_of_ours_says(bench: Bench, text: str) -> None:
    said = {"expectations": text, "tags": text, "source": text}
    bench.accept(upserted("dr-1", **said), upserted("dr-2", **said))
    wrong = EvaluationRecordsContent(dataset_schema=text)
    bench.accept(
        EvaluationRecordsUpserted(dataset_id="d", record_ids=["dr-3"], content=wrong),
        upserted("dr-1", schema={"inputs": {"a": "b"}}),
    )


def test_a_record_belongs_to_one_dataset(bench: Bench) -> None:
    bench.accept(upserted("dr-1"), CREATED.model_copy(update={"dataset_id": "e"}))
    (verdict,) = bench.say(upserted("dr-1", dataset="e"))
    assert (verdict.kind, verdict.code) == ("rejected", Reason.EXISTS.value)
    bench.accept(EvaluationRecordsDeleted(dataset_id="e", record_ids=["dr-1"]))
    assert len(evaluation_records(bench.db, "d")) == 1


def test_a_deleted_dataset_leaves_no_row(bench: Bench) -> None:
    bench.accept(upserted("dr-1"), EvaluationDatasetDeleted(dataset_id="d"))
    assert bench.rows("SELECT * FROM items") == []


@pytest.mark.parametrize("wrong", ["77", "x", "00", "", "9" * 30])
def test_a_link_names_an_experiment(bench: Bench, wrong: str) -> None:
    event: Event = EvaluationDatasetLinked(dataset_id="d", experiment_ids=["0", wrong])
    (verdict,) = bench.say(event)
    assert (verdict.code, verdict.message) == (
        Reason.MISSING.value, f"No Experiment with id={wrong}",
    )  # fmt: skip
    assert fields(bench)["experiments"] == {}


def test_claim_checks_of_items_are_known(bench: Bench) -> None:
    claims = [ClaimCheck(digest=f"sha256:{n}", size_bytes=n) for n in range(2)]
    tricky = json.dumps({"digest": "no", "size_bytes": 3})
    bench.accept(
        upserted("dr-1", inputs=claims[0], outputs=claims[1]),
        upserted("dr-2", input_hash="i", inputs=tricky),
    )
    rows = bench.rows(CLAIM_CHECKS["items.fields"])
    assert [ClaimCheck.model_validate_json(claim) for (claim,) in rows] == claims
