"""The rules: every reason to refuse, once; what is refused changes nothing but the audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from mlflow_ledger.consumers.rules import rules_of
from mlflow_ledger.consumers.rules.items import families
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    AssessmentCreated,
    AssessmentDeleted,
    AssessmentUpdated,
    BlobChunkLogged,
    BlobCollected,
    BlobCondemned,
    BlobStored,
    CommandRejected,
    CommandRejectedContent,
    ContentRedacted,
    DatasetInput,
    EvaluationRecordsUpserted,
    Event,
    ExperimentCreated,
    ExperimentDeleted,
    ExperimentPurged,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    InputsLogged,
    InputsLoggedContent,
    ItemEvent,
    KeyValue,
    LoggedModelCreated,
    LoggedModelCreatedContent,
    LoggedModelDeleted,
    LoggedModelFinalized,
    LoggedModelParamsLogged,
    LoggedModelParamsLoggedContent,
    LoggedModelPurged,
    LoggedModelTagDeleted,
    LoggedModelTagsSet,
    LoggedModelTagsSetContent,
    MCPAccessEndpointCreated,
    MCPServerVersionCreated,
    MetricModel,
    ModelOutput,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionStageChanged,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    ModelVersionUpdated,
    OutputsLogged,
    Point,
    Reason,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelDeleted,
    RegisteredModelRenamed,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
    RegisteredModelUpdated,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
    RunDeleted,
    RunPurged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
    SpansLogged,
    TraceArchived,
    TraceDeleted,
    TracePromptsLinked,
    TraceRunLinked,
    TraceRunUnlinked,
    TraceStarted,
    TraceTagDeleted,
    TraceTagSet,
    WebhookCreated,
    WebhookDeleted,
    WebhookUpdated,
    event_types,
    metric_columns,
)
from tests.families import SAMPLES, promotions
from tests.schemas.samples import FULL, bare, redacted

from .folding import BEGINNING, Bench

EXPERIMENT = ExperimentCreated(experiment_id="1", name="one", artifact_location="x")
DELETED = ExperimentDeleted(experiment_id="1")
RUN = RunCreated(run_id="r", experiment_id="1", artifact_uri="x")
MODEL = RegisteredModelCreated(model_uid="u1", name="wine")
OTHER = RegisteredModelCreated(model_uid="u2", name="beer")
ON_V1: dict[str, Any] = {"model_uid": "u1", "name": "wine", "version_uid": "v1", "version": 1}
VERSION = ModelVersionCreated(model_uid="u1", name="wine", version_uid="v1")
LOGGED = LoggedModelCreated(model_id="m", experiment_id="1", artifact_location="x")
HOOK = WebhookCreated(webhook_id="w", status="ACTIVE", actions=[])
BLOB = "sha256:" + "1" * 64
CHUNK = BlobChunkLogged(digest=BLOB, index=0, count=2, size_bytes=9)
FILE = ArtifactLogged(digest=BLOB, path="p", size_bytes=1, owner="runs:/r", written_ns=1)


def data(*params: KeyValue, tag: str | None = None) -> RunDataLogged:
    """A param batch with a metric, which must not be kept where a param is refused."""
    columns: dict[str, Any] = metric_columns([Point("loss", 1.0, 0, 0)])
    tags = [KeyValue(key=tag, value="1")] if tag else []
    content = RunDataLoggedContent(**columns, params=list(params), tags=tags)
    return RunDataLogged(run_id="r", content=content)


def params(*pairs: KeyValue) -> LoggedModelParamsLogged:
    content = LoggedModelParamsLoggedContent(params=list(pairs))
    return LoggedModelParamsLogged(model_id="m", content=content)


def measured(value: float) -> RunDataLogged:
    """A metric of a logged model, and a tag, which must not be kept where that is refused."""
    columns: dict[str, Any] = metric_columns(
        [Point("loss", value, 0, 0, MetricModel(model_id="m"))]
    )
    tags = [KeyValue(key=f"t{value}", value="1")]
    return RunDataLogged(run_id="r", content=RunDataLoggedContent(**columns, tags=tags))


def inputs(*tags: KeyValue) -> InputsLogged:
    datasets = [
        DatasetInput(name=name, digest="1", source_type="s", source="s", tags=given)
        for name, given in (("plain", []), ("tagged", list(tags)))
    ]
    return InputsLogged(run_id="r", content=InputsLoggedContent(datasets=datasets))


LR = KeyValue(key="lr", value="0.1")


class Case(NamedTuple):
    """What was said before, what is refused, and why."""

    before: tuple[Event, ...]
    refused: Event
    reason: Reason
    words: str


CASES = [
    Case((), BEGINNING, Reason.EXISTS, "already ledger"),
    Case(
        (EXPERIMENT,),
        EXPERIMENT.model_copy(update={"experiment_id": "2"}),
        Reason.EXISTS,
        "Experiment(name=one) already exists.",
    ),
    Case(
        (EXPERIMENT, DELETED),
        EXPERIMENT.model_copy(update={"experiment_id": "2"}),
        Reason.EXISTS,
        "name=one",
    ),
    Case((EXPERIMENT,), EXPERIMENT.model_copy(update={"name": "x"}), Reason.EXISTS, "id=1"),
    Case((), EXPERIMENT.model_copy(update={"experiment_id": "x1"}), Reason.INVALID, "no number"),
    Case((), EXPERIMENT.model_copy(update={"experiment_id": "9" * 30}), Reason.INVALID, "number"),
    Case((), EXPERIMENT.model_copy(update={"name": "Default"}), Reason.EXISTS, "Default"),
    Case((), ExperimentRenamed(experiment_id="1", name="n"), Reason.MISSING, "No Experiment with"),
    Case(
        (EXPERIMENT, DELETED),
        ExperimentRenamed(experiment_id="1", name="n"),
        Reason.STATE,
        "Cannot rename a non-active experiment.",
    ),
    Case(
        (EXPERIMENT,),
        ExperimentRenamed(experiment_id="1", name="Default"),
        Reason.BAD_REQUEST,
        "name=Default",
    ),
    Case((), DELETED, Reason.MISSING, "id=1"),
    Case((EXPERIMENT, DELETED), DELETED, Reason.MISSING, "id=1"),
    Case((EXPERIMENT,), ExperimentRestored(experiment_id="1"), Reason.MISSING, "id=1"),
    Case((EXPERIMENT,), ExperimentPurged(experiment_id="1"), Reason.MISSING, "id=1"),
    Case(
        (EXPERIMENT, DELETED, ExperimentPurged(experiment_id="1")),
        ExperimentRestored(experiment_id="1"),
        Reason.MISSING,
        "id=1",
    ),
    Case(
        (EXPERIMENT, DELETED),
        ExperimentTagSet(experiment_id="1", tag="t"),
        Reason.INVALID,
        "Current state is deleted",
    ),
    Case((EXPERIMENT,), ExperimentTagDeleted(experiment_id="1", tag="t"), Reason.MISSING, "tag"),
    Case((RUN,), RUN, Reason.EXISTS, "Run with id=r already exists"),
    Case((), RUN.model_copy(update={"experiment_id": ""}), Reason.INVALID, "no number"),
    Case((), RunUpdated(run_id="r"), Reason.MISSING, "Run with id=r not found"),
    Case((), RunDeleted(run_id="r"), Reason.MISSING, "id=r"),
    Case((), RunRestored(run_id="r"), Reason.MISSING, "id=r"),
    Case((), RunPurged(run_id="r"), Reason.MISSING, "id=r"),
    Case((RUN, RunPurged(run_id="r")), data(), Reason.MISSING, "id=r"),
    Case(
        (RUN, data(LR)),
        data(KeyValue(key="p", value="1"), KeyValue(key="lr", value="0.2"), tag="t"),
        Reason.INVALID,
        "Changing param values is not allowed",
    ),
    Case((RUN,), data(LR, KeyValue(key="p")), Reason.BAD_REQUEST, "'p' has no value"),
    Case((RUN, measured(1.0)), measured(2.0), Reason.BAD_REQUEST, "already logged"),
    Case((RUN,), inputs(LR, LR), Reason.BAD_REQUEST, "given twice"),
    Case(
        (RUN,),
        OutputsLogged(run_id="r", models=[ModelOutput(model_id="m"), ModelOutput(model_id="m")]),
        Reason.BAD_REQUEST,
        "already is an output",
    ),
    Case(
        (LOGGED,),
        LoggedModelTagsSet(
            model_id="m", content=LoggedModelTagsSetContent(tags=[LR, KeyValue(key="t")])
        ),
        Reason.BAD_REQUEST,
        "'t' has no value",
    ),
    Case((RUN,), RunTagDeleted(run_id="r", tag="t"), Reason.MISSING, "No tag with name: t"),
    Case((), InputsLogged(run_id="r", models=["m"]), Reason.MISSING, "id=r"),
    Case((), OutputsLogged(run_id="r", models=[]), Reason.MISSING, "id=r"),
    Case(
        (RUN, OutputsLogged(run_id="r", models=[ModelOutput(model_id="m")])),
        OutputsLogged(run_id="r", models=[ModelOutput(model_id="n"), ModelOutput(model_id="m")]),
        Reason.BAD_REQUEST,
        "already is an output",
    ),
    Case((LOGGED,), LOGGED, Reason.EXISTS, "'m' already exists"),
    Case((), LOGGED.model_copy(update={"experiment_id": "-1"}), Reason.INVALID, "no number"),
    Case(
        (),
        LOGGED.model_copy(
            update={"content": LoggedModelCreatedContent(name="n", params=[KeyValue(key="p")])}
        ),
        Reason.BAD_REQUEST,
        "'p' has no value",
    ),
    Case((), LoggedModelFinalized(model_id="m", status="READY"), Reason.MISSING, "'m' not found"),
    Case((), LoggedModelTagsSet(model_id="m"), Reason.MISSING, "not found"),
    Case((LOGGED,), LoggedModelTagDeleted(model_id="m", tag="t"), Reason.MISSING, "No tag"),
    Case((LOGGED, params(LR)), params(LR), Reason.BAD_REQUEST, "already logged"),
    Case((LOGGED,), params(LR, KeyValue(key="p")), Reason.BAD_REQUEST, "'p' has no value"),
    Case((), LoggedModelDeleted(model_id="m"), Reason.MISSING, "not found"),
    Case((), LoggedModelPurged(model_id="m"), Reason.MISSING, "not found"),
    Case((MODEL,), MODEL.model_copy(update={"model_uid": "u2"}), Reason.EXISTS, "name=wine"),
    Case((MODEL,), MODEL.model_copy(update={"name": "beer"}), Reason.EXISTS, "uid=u1"),
    Case((), RegisteredModelUpdated(model_uid="u1", name="wine"), Reason.MISSING, "name=wine"),
    Case(
        (MODEL, OTHER),
        RegisteredModelRenamed(model_uid="u1", name="wine", new_name="beer"),
        Reason.EXISTS,
        "name=beer",
    ),
    Case(  # the writer had not seen that its model was renamed and its name taken meanwhile
        (
            OTHER,
            RegisteredModelRenamed(model_uid="u2", name="beer", new_name="ale"),
            MODEL.model_copy(update={"name": "beer"}),
        ),
        RegisteredModelRenamed(model_uid="u2", name="beer", new_name="beer"),
        Reason.EXISTS,
        "name=beer",
    ),
    Case((), RegisteredModelDeleted(model_uid="u1", name="wine"), Reason.MISSING, "name=wine"),
    Case((), RegisteredModelTagSet(model_uid="u1", name="w", tag="t"), Reason.MISSING, "name=w"),
    Case(
        (), RegisteredModelTagDeleted(model_uid="u1", name="w", tag="t"), Reason.MISSING, "name=w"
    ),
    Case((MODEL,), RegisteredModelAliasSet(**ON_V1, alias="a"), Reason.MISSING, "version=1"),
    Case(
        (),
        RegisteredModelAliasDeleted(model_uid="u1", name="wine", alias="a"),
        Reason.MISSING,
        "name=wine",
    ),
    Case((), VERSION, Reason.MISSING, "name=wine"),
    Case((MODEL, VERSION), VERSION, Reason.EXISTS, "uid=v1"),
    Case((MODEL,), ModelVersionUpdated(**ON_V1), Reason.MISSING, "version=1"),
    Case((MODEL,), ModelVersionStageChanged(**ON_V1, stage="S"), Reason.MISSING, "version=1"),
    Case((MODEL,), ModelVersionTagSet(**ON_V1, tag="t"), Reason.MISSING, "version=1"),
    Case((MODEL,), ModelVersionTagDeleted(**ON_V1, tag="t"), Reason.MISSING, "version=1"),
    Case(
        (MODEL, VERSION, ModelVersionDeleted(**ON_V1)),
        ModelVersionDeleted(**ON_V1),
        Reason.MISSING,
        "(name=wine, version=1) not found",
    ),
    Case((), ArtifactDeleted(digest=BLOB, path="p", owner="o", written_ns=1), Reason.MISSING, "p"),
    Case((FILE,), BlobCondemned(digest=BLOB), Reason.STATE, "named by a manifest"),
    Case((), BlobCollected(digest=BLOB), Reason.STATE, "not condemned"),
    Case((), CHUNK.model_copy(update={"index": 2}), Reason.INVALID, "no chunk 2 of 2"),
    Case((), CHUNK.model_copy(update={"size_bytes": 1}), Reason.INVALID, "of 1 bytes"),
    Case((CHUNK,), CHUNK.model_copy(update={"size_bytes": 8}), Reason.STATE, "has 9 bytes"),
    Case((CHUNK,), CHUNK.model_copy(update={"count": 3}), Reason.STATE, "comes in 2 chunks"),
    Case(  # a manifest in between rescues
        (BlobCondemned(digest=BLOB), FILE), BlobCollected(digest=BLOB), Reason.STATE, "condemned"
    ),
    Case((HOOK,), HOOK, Reason.EXISTS, "already exists"),
    Case((), WebhookUpdated(webhook_id="w"), Reason.MISSING, "not found"),
    Case(
        (HOOK, WebhookDeleted(webhook_id="w")),
        WebhookDeleted(webhook_id="w"),
        Reason.MISSING,
        "not found",
    ),
]


TRACE = TraceStarted(trace_id="t", experiment_id="1", artifact_uri="x", start_ms=0, state="OK")
ELSEWHERE = TraceTagSet(
    trace_id="t", tag="mlflow.trace.spansLocation", spans_location="ARCHIVE_REPO"
)
SPANS = SpansLogged(trace_id="t", experiment_id="1", artifact_uri="x", start_ms=0)
ARCHIVED = TraceArchived(trace_id="t", archive_uri="x", generation=0)
UNFIT = TraceTagSet(trace_id="t", tag="mlflow.trace.archivalFailure")
ASSESSED = AssessmentCreated(
    trace_id="t",
    assessment_id="a",
    assessment_type="feedback",
    source_type="HUMAN",
    created_ms=0,
    updated_ms=0,
)
CASES += [
    Case((), TRACE.model_copy(update={"experiment_id": "x"}), Reason.INVALID, "no number"),
    Case((TRACE, ELSEWHERE), TRACE, Reason.STATE, "no longer DB-backed: 't'"),
    Case((), SPANS.model_copy(update={"experiment_id": "x"}), Reason.INVALID, "no number"),
    Case((TRACE, ELSEWHERE), SPANS, Reason.STATE, "archived traces: 't'"),
    Case(
        (TRACE, ELSEWHERE.model_copy(update={"spans_location": "ARTIFACT_REPO"})),
        SPANS,
        Reason.STATE,
        "other='t'",
    ),
    Case((), SpansLogged(trace_id="t", start_ms=0), Reason.MISSING, "no longer exist: 't'"),
    Case((), TraceTagSet(trace_id="t", tag="k"), Reason.BAD_REQUEST, "'t' not found"),
    Case((), TraceTagSet(trace_id="t", tag="mlflow.traceName"), Reason.MISSING, "not found"),
    Case((TRACE,), TraceTagDeleted(trace_id="t", tag="k"), Reason.MISSING, "key 'k'"),
    Case(
        (TRACE,),
        TraceTagDeleted(trace_id="t", tag="mlflow.traceName"),
        Reason.MISSING,
        "No trace tag",
    ),
    Case((), TraceTagDeleted(trace_id="t", tag="mlflow.traceName"), Reason.MISSING, "not found"),
    Case((), TraceDeleted(trace_id="t"), Reason.MISSING, "'t' not found"),
    Case((), ARCHIVED, Reason.MISSING, "'t' not found"),
    Case((TRACE, ARCHIVED), ARCHIVED, Reason.STATE, "archived already"),
    Case((TRACE, SPANS), ARCHIVED, Reason.STATE, "went on"),
    Case((SPANS.model_copy(update={"state": None}),), ARCHIVED, Reason.STATE, "went on"),
    Case((TRACE, UNFIT), ARCHIVED, Reason.STATE, "not to archive"),
    Case((TRACE, ARCHIVED), SPANS, Reason.STATE, "archived traces: 't'"),
    Case((), TracePromptsLinked(trace_id="t", prompts=["p/1"]), Reason.MISSING, "'t' not found"),
    Case((), ASSESSED, Reason.MISSING, "'t' not found"),
    Case((TRACE, ASSESSED), ASSESSED, Reason.INTERNAL, "constraint violation"),
    Case((TRACE,), ASSESSED.model_copy(update={"overrides": "b"}), Reason.MISSING, "'b' not found"),
    Case(
        (TRACE,),
        AssessmentUpdated(trace_id="t", assessment_id="a", updated_ms=0),
        Reason.MISSING,
        "'a' not found for trace 't'",
    ),
    Case(
        (TRACE,),
        AssessmentDeleted(trace_id="t", assessment_id="a"),
        Reason.MISSING,
        "'a' not found for trace 't'",
    ),
]


def parents_of(event: ItemEvent) -> tuple[Event, ...]:
    """What an item of a small family goes with or names, and what that goes with or names."""
    family = families()[event.kind]
    named = [(each.kind, item_id) for each in family.references for item_id in each.named(event)]
    if family.parent is not None:
        named.append((family.parent_kind, getattr(event, family.parent)))
    found: list[Event] = []
    for kind, item_id in named:
        if kind == "experiments":
            found.append(EXPERIMENT.model_copy(update={"experiment_id": item_id}))
            continue
        created = next(e for e in SAMPLES if isinstance(e, ItemEvent) and e.kind == kind)
        item = created.model_copy(update={created.id_field: item_id})
        found += [each for each in (*parents_of(item), item) if each not in found]
    return tuple(found)


def named_by(event: ItemEvent) -> tuple[Event, ...]:
    """What an item names beside its parents, and must be there."""
    if not isinstance(event, MCPAccessEndpointCreated):
        return ()
    return tuple(sample for sample in SAMPLES if isinstance(sample, MCPServerVersionCreated))


def item_cases() -> Iterator[Case]:
    """Of each type of the small families one: what is there already, and what is not there."""
    for sample in SAMPLES:
        if isinstance(sample, ItemEvent):
            if type(sample).__name__.endswith("Created"):
                before = (*parents_of(sample), *named_by(sample), sample)
                yield Case(before, sample, Reason.EXISTS, "already ")
            else:
                # Where there is no data set, MLflow's database refuses the record itself.
                bad = isinstance(sample, EvaluationRecordsUpserted)
                yield Case((), sample, Reason.BAD_REQUEST if bad else Reason.MISSING, "not f")


CASES += item_cases()
CASES += [Case((), event, Reason.MISSING, "not found") for event in promotions.FULL]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{type(c.refused).__name__}-{c.reason.name}-{len(c.before)}"
)
def test_a_refusal_has_its_reason_and_changes_nothing(bench: Bench, case: Case) -> None:
    bench.accept(*case.before)
    before = bench.essence()
    (verdict,) = bench.say(case.refused)
    assert (verdict.kind, verdict.code) == ("rejected", case.reason.value)
    assert case.words in verdict.message
    assert bench.essence() == before
    kept = bench.rows("SELECT type, subject, code, message FROM rejections")
    name = type(case.refused).__name__
    assert kept == [(name, case.refused.subject, verdict.code, verdict.message)]


def test_every_type_that_can_be_refused_is() -> None:
    """Manifests, links, stored blobs, refused commands, erasures: nothing refuses such facts."""
    refused: set[type[Event]] = {type(case.refused) for case in CASES}
    refused |= {ArtifactLogged, BlobStored, CommandRejected, ContentRedacted}
    refused |= {TraceRunLinked, TraceRunUnlinked}
    assert refused == set(event_types().values())


def test_every_type_has_a_rule() -> None:
    for version in (1, 2):
        rules = rules_of(version)
        assert rules is not None
        known = {kind for kind in event_types().values() if kind.rules_version <= version}
        assert set(rules) == known
    assert rules_of(3) is None


@pytest.mark.parametrize("form", [redacted, bare], ids=["redacted", "bare"])
def test_every_type_folds_without_its_content(bench: Bench, form: Any) -> None:
    """In an order in which each finds what it is about, as far as its kind allows."""
    made = [event for event in FULL if type(event).__name__.endswith("Created")]
    rest = [event for event in FULL if event not in made]
    kinds = {verdict.kind for verdict in bench.say(*map(form, [*made, *rest]))}
    assert kinds <= {"accepted", "rejected"}


def test_a_refused_command_is_kept_as_it_was_meant(bench: Bench) -> None:
    before = bench.essence()
    bench.accept(
        CommandRejected(
            command="RunDeleted",
            command_topic="runs",
            command_key="r",
            command_subject="runs:/r",
            code="RESOURCE_DOES_NOT_EXIST",
            content=CommandRejectedContent(message="Run with id=r not found"),
        )
    )
    assert bench.essence() == before
    assert bench.rows("SELECT id, type, subject, code, message FROM rejections") == [
        (1, "RunDeleted", "runs:/r", "RESOURCE_DOES_NOT_EXIST", "Run with id=r not found")
    ]


def test_a_ledgers_beginning_comes_first() -> None:
    bench = Bench(begun=False)
    bench.accept(EXPERIMENT)
    (verdict,) = bench.say(BEGINNING)
    assert (verdict.kind, verdict.code) == ("rejected", Reason.STATE.value)
    bench.close()


def test_version_numbers_are_never_given_twice(bench: Bench) -> None:
    bench.accept(MODEL, VERSION, ModelVersionDeleted(**ON_V1))
    bench.accept(VERSION.model_copy(update={"version_uid": "v2"}))
    assert bench.rows("SELECT uid, version FROM model_versions ORDER BY version") == [
        ("v1", 1),
        ("v2", 2),
    ]


def test_a_later_event_names_the_uid_not_the_number(bench: Bench) -> None:
    """Two ledgers, merged: the version that its writer saw as 1 is 2 here."""
    bench.accept(MODEL, VERSION, VERSION.model_copy(update={"version_uid": "theirs"}))
    bench.accept(RegisteredModelAliasSet(**{**ON_V1, "version_uid": "theirs"}, alias="champion"))
    assert bench.rows("SELECT alias, version FROM model_aliases") == [("champion", 2)]


def test_of_two_writers_the_first_in_the_log_wins(bench: Bench) -> None:
    kinds = [v.kind for v in bench.say(MODEL, MODEL.model_copy(update={"model_uid": "u9"}))]
    assert kinds == ["accepted", "rejected"]
    assert bench.rows("SELECT uid FROM registered_models") == [("u1",)]
