"""The registry that the examples fold is the one that mlflow-ledger folds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlflow_ledger.bus import Stored, message_of
from mlflow_ledger.schemas import Record
from tests.bus.records import CATALOG, outgoing
from tests.consumers.folding import State
from tests.consumers.histories import History

from .loading import example
from .reading import DOCUMENT

catalog, registry = example("catalog"), example("registry")
SAID = 2000


def stored(seed: int) -> list[Stored]:
    """The catalog of a random history: races, repetitions, garbage."""
    records = [said.record for said in History(seed).records(SAID) if said.partition == CATALOG]
    return [Stored(CATALOG, number, number, record) for number, record in enumerate(records)]


def read(reader: Any, number: int, record: Record) -> Any:
    try:
        return reader.read(number, *message_of(record))
    except catalog.NoEventError:
        return None


def ours(state: State) -> tuple[Any, ...]:
    return (
        state.rows("SELECT uid, workspace, name FROM registered_models ORDER BY uid"),
        state.rows("SELECT uid, version, stage FROM model_versions ORDER BY uid"),
        state.rows(
            "SELECT uid, alias, version FROM model_aliases JOIN registered_models USING (model_no) "
            "ORDER BY uid, alias"
        ),
    )


def theirs(folded: Any) -> tuple[Any, ...]:
    return (
        sorted((uid, model.workspace, model.name) for uid, model in folded.models.items()),
        sorted((uid, one.number, one.stage) for uid, one in folded.versions.items()),
        sorted(
            (uid, alias, folded.versions[version].number)
            for uid, model in folded.models.items()
            for alias, version in model.aliases.items()
        ),
    )


@pytest.mark.parametrize("seed", range(8))
def test_both_come_to_the_same_registry(seed: int) -> None:
    records = stored(seed)
    state, reader, folded = State(), catalog.Reader(DOCUMENT, registry.TYPES), registry.Registry()
    seen, promoted = [0, 0, 0], 0
    for first in range(0, len(records), 10):
        some = records[first : first + 10]
        state.apply(some)
        for _, number, _, record in some:
            event = read(reader, number, record)
            if event is not None:
                promoted += folded.apply(event) is not None
        assert theirs(folded) == ours(state)
        seen = [most + len(rows) for most, rows in zip(seen, ours(state), strict=True)]
    state.close()
    assert all(seen), "a history without models, versions or aliases shows nothing"
    assert promoted > 0


def test_an_event_is_given_once() -> None:
    reader = catalog.Reader(DOCUMENT, {"RunTagDeleted"})
    message = message_of(outgoing(3).record)
    event = reader.read(7, *message)
    assert (event.offset, event.id, event.data) == (7, "3", {"run_id": "r", "tag": "t3"})
    assert reader.read(8, *message) is None
    assert catalog.Reader(DOCUMENT, {"RunDeleted"}).read(7, *message) is None


@pytest.mark.parametrize(
    ("headers", "value", "says"),
    [
        ({"ce_id": None}, None, "ce_id"),
        ({"ce_host": None}, None, "no header ce_host"),
        ({"ce_source": b"\xff"}, None, "no event's"),
        ({"ce_type": b"RunDeleted"}, None, "and no RunDeleted"),
        ({}, b"", "no Avro single object"),
        ({}, b"\xc3\x01abc", "no Avro single object"),
        ({}, b"...{}...", "no Avro single object"),
    ],
)
def test_a_strangers_message_is_told_from_an_event(
    headers: dict[str, bytes | None], value: bytes | None, says: str
) -> None:
    original, body = message_of(outgoing(1).record)
    changed = {**dict(original), **headers}
    reader = catalog.Reader(DOCUMENT, {"RunTagDeleted", "RunDeleted"})
    kept = [(name, data) for name, data in changed.items() if data is not None]
    with pytest.raises(catalog.NoEventError, match=says):
        reader.read(1, kept, body if value is None else value)


@pytest.mark.parametrize("cut", [11, 12, -1])
def test_a_value_that_was_cut_or_has_more_is_no_event(cut: int) -> None:
    headers, body = message_of(outgoing(1).record)
    for value in (body[:cut], body + b"?"):
        reader = catalog.Reader(DOCUMENT, {"RunTagDeleted"})
        with pytest.raises(catalog.NoEventError):
            reader.read(1, headers, value)


def test_what_a_newer_program_wrote_ends_a_reader() -> None:
    record = outgoing(1).record
    newer = replace(record, head=record.head[:2] + bytes(8) + record.head[10:])
    with pytest.raises(SystemExit, match=r"take a newer asyncapi\.json"):
        catalog.Reader(DOCUMENT, {"RunTagDeleted"}).read(5, *message_of(newer))
    rules = replace(record, envelope=record.envelope._replace(rules=2))
    with pytest.raises(SystemExit, match="rules 2"):
        catalog.Reader(DOCUMENT, {"RunTagDeleted"}).read(5, *message_of(rules))
