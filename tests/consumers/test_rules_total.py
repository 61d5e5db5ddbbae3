"""No event breaks the fold: whatever the fields say, the verdict is one of the five kinds."""

from __future__ import annotations

import typing
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mlflow_ledger.bus import Outgoing, partition_of
from mlflow_ledger.schemas import Content, Event, Record, encode, event_types
from tests.schemas.samples import ENVELOPE, HOSTILE

from .folding import PARTITIONS, Bench, State

texts = st.sampled_from(["", "0", "1", "a", "b", "mlflow.runName", HOSTILE, "-1", "1e3", "٣"])
longs = st.integers(-2, 3) | st.sampled_from([-(2**63), 2**63 - 1])
packed = st.sampled_from([b"", bytes(4), bytes(8), b"\x01\0\0\0", b"\xff" * 8, b"?"])


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, few enough that events meet."""
    plain = {str: texts, int: longs, float: st.floats(), bool: st.booleans(), bytes: packed}
    plain |= {type(None): st.none()}
    if annotation in plain:
        return plain[annotation]
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is list:
        return st.lists(values(args[0]), max_size=3)
    if args:
        return st.one_of(*map(values, args))
    return models(annotation)


def models(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Instances of a model with any values in its fields."""
    fields = {
        name: values(field.annotation)
        for name, field in model.model_fields.items()
        if field.annotation != Content | None  # of a type that has no content
    }
    return st.builds(model, **fields)


any_event = st.one_of([models(event) for event in event_types().values()])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(any_event, min_size=10, max_size=40), st.lists(texts, min_size=1, max_size=3))
def test_any_events_get_a_verdict_and_fold_alike_again(
    events: list[Event], workspaces: list[str]
) -> None:
    bench, again = Bench(), State()
    for number, event in enumerate(events, start=1):
        encoded = encode(event)
        topic = event.topic if event.topic in PARTITIONS else "catalog"
        envelope = ENVELOPE._replace(
            source=f"s/{topic}",
            id=number,
            type=type(event).__name__,
            subject=event.subject,
            rules=event.rules_version,
            workspace=workspaces[number % len(workspaces)],
        )
        partition = (topic, partition_of(event.key, PARTITIONS[topic]))
        record = Record(envelope, encoded.head, encoded.content)
        before = bench.essence()
        (verdict,) = bench.deliver([Outgoing(partition, record)])
        assert verdict.kind in ("accepted", "rejected", "unreadable")
        if verdict.kind != "accepted":
            assert bench.essence() == before, event
    again.apply(bench.log.read(bench.log.start()))
    assert again.digest() == bench.digest()
    bench.close()
    again.close()
