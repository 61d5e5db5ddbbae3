"""Identity and gaps, as the fold sees them: retries, late ids, conflicts, new sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_ledger.bus import (
    MAX_EVENT_BYTES,
    Actor,
    EventTooLarge,
    Outgoing,
    Writer,
    acting_as,
    partition_of,
    system_actor,
)
from mlflow_ledger.consumers import Verdict
from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    ExperimentRenamed,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
)
from tests.consumers.folding import PARTITIONS, Bench
from tests.schemas.samples import ENVELOPE

from .records import outgoing


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def experiments(count: int, first: int = 1) -> list[Event]:
    return [
        ExperimentCreated(experiment_id=str(n), name=f"e{n}", artifact_location="x")
        for n in range(first, first + count)
    ]


def said(writer: Writer, events: list[Event]) -> list[Outgoing]:
    return [writer.stamp(event, PARTITIONS) for event in events]


def kinds(verdicts: list[Verdict]) -> list[str]:
    return [verdict.kind for verdict in verdicts]


def test_ids_of_each_partition_count_from_one_without_gaps() -> None:
    writer = Writer()
    records = said(
        writer, [RunCreated(run_id=f"r{n}", experiment_id="0", artifact_uri="x") for n in range(40)]
    )
    by_source: dict[str, list[int]] = {}
    for partition, record, _ in records:
        source = record.envelope.source
        assert source.split("/")[1:] == [partition[0], str(partition[1])]
        assert partition == ("runs", partition_of(record.envelope.subject[6:], 4))
        by_source.setdefault(source, []).append(record.envelope.id)
    assert len(by_source) == 4
    assert all(ids == list(range(1, len(ids) + 1)) for ids in by_source.values())


def test_a_retry_is_dropped(bench: Bench) -> None:
    records = said(bench.writer, experiments(3))
    assert kinds(bench.deliver(records)) == ["accepted"] * 3
    before = bench.digest()
    assert kinds(bench.deliver(records)) == ["duplicate"] * 3
    assert kinds(bench.deliver(records[1:2])) == ["duplicate"]
    assert bench.digest() == before


def test_a_retry_of_what_was_refused_is_dropped_too(bench: Bench) -> None:
    refused = said(bench.writer, [ExperimentRenamed(experiment_id="5", name="x")])
    assert kinds(bench.deliver(refused)) == ["rejected"]
    bench.accept(*experiments(1, first=5))
    before = bench.digest()
    assert kinds(bench.deliver(refused)) == ["duplicate"]
    assert bench.digest() == before


def test_an_id_that_comes_late_is_folded_once(bench: Bench) -> None:
    one, two, three, four = said(bench.writer, experiments(4))
    assert kinds(bench.deliver([one, four])) == ["accepted"] * 2
    assert kinds(bench.deliver([two])) == ["accepted"]
    assert kinds(bench.deliver([three, two, four])) == ["accepted", "duplicate", "duplicate"]
    names = [name for (name,) in bench.rows("SELECT name FROM experiments ORDER BY name")]
    assert names == ["Default", "e1", "e2", "e3", "e4"]


def test_a_second_digest_of_an_identity_is_kept_as_conflict(bench: Bench) -> None:
    first = outgoing(1, "s/catalog/0", experiments(1)[0], ("catalog", 0))
    other = outgoing(1, "s/catalog/0", experiments(1, first=2)[0], ("catalog", 0))
    assert kinds(bench.deliver([first])) == ["accepted"]
    before = bench.essence()
    (verdict,) = bench.deliver([other])
    assert (verdict.kind, verdict.code) == ("conflict", "IDENTITY_CONFLICT")
    assert other.record.digest().hex()[:16] in verdict.message
    assert bench.essence() == before
    kept = bench.rows("SELECT source, id, digest, type, code FROM rejections")
    assert kept == [
        ("s/catalog/0", 1, other.record.digest(), "ExperimentCreated", "IDENTITY_CONFLICT")
    ]
    assert kinds(bench.deliver([first])) == ["duplicate"]
    assert kinds(bench.deliver([other])) == ["conflict"]  # said again, kept once
    assert len(bench.rows("SELECT * FROM rejections")) == 1


def test_the_same_id_of_two_sources_is_two_events(bench: Bench) -> None:
    one, two = experiments(2)
    records = [
        outgoing(1, f"{n}/catalog/0", event, ("catalog", 0)) for n, event in enumerate((one, two))
    ]
    assert kinds(bench.deliver(records)) == ["accepted"] * 2


def test_a_new_source_begins_at_one(bench: Bench) -> None:
    (before,) = said(bench.writer, experiments(1))
    bench.writer.renew()
    (after,) = said(bench.writer, experiments(1, first=2))
    assert before.record.envelope.source != after.record.envelope.source
    assert after.record.envelope.id == 1
    assert kinds(bench.deliver([before, after])) == ["accepted"] * 2


def test_what_was_never_sent_takes_no_id() -> None:
    writer = Writer()
    kept = said(writer, experiments(2))
    unsaid = said(
        writer,
        [
            *experiments(2, first=3),
            RunCreated(run_id="r", experiment_id="0", artifact_uri="x"),
        ],
    )
    writer.unsay(unsaid)
    again = said(writer, experiments(1, first=3))
    assert [r.envelope.id for _, r, _ in kept + again] == [1, 2, 3]
    writer.renew()
    writer.unsay(again)  # of a source that is given up: no harm
    assert said(writer, experiments(1))[0].record.envelope.id == 1


def test_an_event_too_large_takes_no_id() -> None:
    writer = Writer()
    large = RunDataLogged(
        run_id="r", content=RunDataLoggedContent(metric_value=bytes(MAX_EVENT_BYTES))
    )
    small = RunDataLogged(run_id="r", content=RunDataLoggedContent())
    assert writer.stamp(small, {"runs": 1}).record.envelope.id == 1
    with pytest.raises(EventTooLarge, match="send it in parts") as caught:
        writer.stamp(large, {"runs": 1})
    assert "runs:/r" in str(caught.value)
    assert writer.stamp(small, {"runs": 1}).record.envelope.id == 2


def test_an_event_of_exactly_the_limit_goes() -> None:
    spare = MAX_EVENT_BYTES
    for _ in range(3):  # lengths of lengths settle
        event = RunDataLogged(run_id="r", content=RunDataLoggedContent(metric_value=bytes(spare)))
        try:
            record = Writer().stamp(event, {"runs": 1}).record
            break
        except EventTooLarge as error:
            spare -= int(str(error).split(" takes ")[1].split()[0]) - MAX_EVENT_BYTES
    assert record.size_bytes() == MAX_EVENT_BYTES


def test_the_envelope_says_who_acts_and_what_that_is_worth() -> None:
    (event,) = experiments(1)
    (own,) = said(Writer(), [event])
    assert (own.record.envelope.actor, own.record.envelope.actorkind) == system_actor()
    assert own.record.envelope.actorkind == "os"
    token = acting_as.set(Actor("zoë", "authenticated"))
    try:
        (theirs,) = said(Writer(), [event])
    finally:
        acting_as.reset(token)
    assert (theirs.record.envelope.actor, theirs.record.envelope.actorkind) == (
        "zoë",
        "authenticated",
    )


def test_the_environment_cannot_pose_as_the_operating_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    system_actor.cache_clear()
    assert system_actor().name != "somebody-else"


def test_an_actor_that_utf_8_cannot_hold_is_escaped(bench: Bench) -> None:
    writer = Writer(Actor("bad \udcff name", "claimed"))
    (record,) = said(writer, experiments(1))
    assert record.record.envelope.actor == "bad \\udcff name"
    assert record.record.envelope.canonical().decode("utf-8")
    assert kinds(bench.deliver([record])) == ["accepted"]


def test_every_attribute_that_a_writer_gives_is_set() -> None:
    (event,) = experiments(1)
    record = Writer(clock=lambda: 123).stamp(event, PARTITIONS, "together").record
    envelope = record.envelope
    assert (envelope.time_ms, envelope.correlationid, envelope.rules) == (123, "together", 1)
    assert (envelope.type, envelope.subject) == ("ExperimentCreated", "experiments:/1")
    assert envelope.workspace == ENVELOPE.workspace == "default"
    assert envelope.client.startswith("mlflow-ledger/")
    assert envelope.host
