"""Random events of all families, valid and invalid ones mixed."""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from mlflow_ledger import schemas as say
from mlflow_ledger.consumers.rules.items import families
from mlflow_ledger.schemas import Event, ItemEvent, KeyValue, LedgerCreated, Point, Text
from tests.families import SAMPLES

from .folding import BEGINNING

_VALUES = (0.0, -0.0, 1.5, -3.25, math.nan, math.inf, -math.inf, 1e300, 5e-324)
_STAGES = ("None", "Staging", "Production", "Archived")
_DESTRUCTIVE = ("_deleted", "_purged", "_collected")
_COMMON = (
    "run_data", "run_data", "run_data", "run_created", "version_created", "artifact_logged",
    "experiment_deleted", "experiment_purged",
)  # fmt: skip


class World:
    """Events of one world, drawn at random; a few names each, so that they meet and clash."""

    def __init__(self, randomness: random.Random) -> None:
        self._random = randomness
        self._makers: dict[str, Callable[[], Event]] = {
            name.removeprefix("say_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("say_")
        }
        for sample in SAMPLES:
            if isinstance(sample, ItemEvent):
                self._makers[_snake(type(sample).__name__)] = partial(self._item, sample)
        self._names = list(self._makers)
        self._items = [name for name in self._names if not hasattr(self, f"say_{name}")]
        self._made: dict[str, list[str]] = defaultdict(list)
        self._written_ns = 10**18

    def events(self, count: int) -> list[Event]:
        """``count`` events: the beginning, one of each kind to start with, then at random."""
        first = self._random.sample(self._names, len(self._names))
        core = [name for name in self._names if name not in self._items]
        usual = [name for name in core if not name.endswith(_DESTRUCTIVE)]
        drawn = [*core, *usual * 3, *_COMMON * 8]
        # However many small families there are, a third of the events is theirs.
        few = self._random.choices(self._items, k=len(drawn) // 2)
        rest = self._random.choices([*drawn, *few], k=count)
        return [BEGINNING, *(self._makers[name]() for name in [*_OPENING, *first, *rest])][:count]

    # --- small worlds to draw from

    def _pick(self, kind: str, count: int) -> str:
        return f"{kind}{self._random.randrange(count)}"

    def _experiment(self) -> str:
        return str(self._random.choice((0, 1, 1, 2, 2, 3, 4, "x")))

    def _run(self) -> str:
        return self._pick("run", 9)

    def _model(self) -> str:
        return self._pick("m-", 5)

    def _registered(self) -> dict[str, str]:
        number = self._random.randrange(4)
        return {"model_uid": f"u{number}", "name": f"model{number}"}

    def _version(self) -> dict[str, object]:
        model = self._random.randrange(4)
        number = self._random.randrange(4)
        return {
            "model_uid": f"u{model}",
            "name": f"model{model}",
            "version_uid": f"v{model}-{number}",
            "version": number,
        }

    def _tag(self) -> str:
        return self._random.choice(("a", "b", "mlflow.runName", "ключ"))

    def _value(self) -> str | None:
        return self._random.choice(("1", "2", "☃", "", None))

    def _tags(self) -> list[KeyValue]:
        count = self._random.randrange(4)
        return [KeyValue(key=self._tag(), value=self._value()) for _ in range(count)]

    def _params(self) -> list[KeyValue]:
        count = self._random.randrange(3)
        return [
            KeyValue(
                key=self._random.choice("pqrstu"), value=self._random.choice(("1", "1", "1", "2"))
            )
            for _ in range(count)
        ]

    def _text(self) -> Text:
        return self._random.choice(
            (None, "text", say.ClaimCheck(digest="sha256:" + "0" * 64, size_bytes=1))
        )

    def _digest(self) -> str:
        return "sha256:" + str(self._random.randrange(6)) * 64

    def _points(self) -> list[Point]:
        return [
            Point(
                self._random.choice(("loss", "acc", "ключ")),
                self._random.choice(_VALUES),
                self._random.randrange(3),
                self._random.randrange(3),
                self._random.choice((None, None, say.MetricModel(model_id=self._model()))),
            )
            for _ in range(self._random.randrange(5))
        ]

    def _later_ns(self) -> int:
        self._written_ns += self._random.randrange(-5, 20)
        return self._written_ns

    def _item(self, sample: ItemEvent) -> Event:
        """An event of a small family like ``sample``: about few ids, with few names and parents."""
        family = families()[sample.kind]
        drawn: dict[str, Any] = {sample.id_field: self._pick(sample.kind, 3)}
        if family.name is not None and getattr(sample, family.name, None) is not None:
            drawn[family.name] = self._pick("name", 3)
        if family.parent is not None and hasattr(sample, family.parent):
            experiments = family.parent_kind == "experiments"
            drawn[family.parent] = (
                self._experiment() if experiments else self._named(family.parent_kind, "", "")
            )
        for reference in family.references:
            field, _, inner = reference.field.partition(".")
            value = getattr(sample, field, None)
            if value is not None:
                drawn[field] = self._named(reference.kind, value, inner)
        for field in family.apart:
            if isinstance(getattr(sample, field, None), str):
                drawn[field] = self._pick(field, 6)
        if type(sample).__name__.endswith("Created"):
            self._made[sample.kind].append(drawn[sample.id_field])
        return sample.model_copy(update=drawn)

    def _named(self, kind: str, value: Any, inner: str) -> Any:
        """What a field says that names items of a kind, itself or in the parts it holds."""
        if isinstance(value, list):
            return [self._named(kind, part, inner) for part in value]
        there = self._made[kind][-6:]
        item_id = self._experiment() if kind == "experiments" else self._pick(kind, 3)
        if there and self._random.random() < 0.8:
            item_id = self._random.choice(there)
        if not inner:
            return item_id
        ids = {name: self._pick(name, 6) for name in vars(value) if name.endswith("_id")}
        return value.model_copy(update=ids | {inner: item_id})

    # --- one maker for each event type; its name says which

    def say_ledger_created(self) -> LedgerCreated:
        return BEGINNING

    def say_command_rejected(self) -> say.CommandRejected:
        run = self._run()
        return say.CommandRejected(
            command="say.RunDeleted",
            command_topic=self._random.choice(("runs", "catalog")),
            command_key=run,
            command_subject=f"runs:/{run}",
            code="RESOURCE_DOES_NOT_EXIST",
            content=say.CommandRejectedContent(message="no such run"),
        )

    def say_content_redacted(self) -> say.ContentRedacted:
        run = f"runs:/{self._run()}"
        return say.ContentRedacted(
            redaction_id=str(self._random.random()),
            entity=run,
            subjects=[run],
            content=say.ContentRedactedContent(reason="asked for"),
        )

    def say_experiment_created(self) -> Event:
        return say.ExperimentCreated(
            experiment_id=self._experiment(),
            name=self._pick("e", 6),
            artifact_location="x",
            content=say.ExperimentCreatedContent(tags=self._tags()),
        )

    def say_experiment_renamed(self) -> Event:
        return say.ExperimentRenamed(experiment_id=self._experiment(), name=self._pick("e", 6))

    def say_experiment_deleted(self) -> Event:
        return say.ExperimentDeleted(experiment_id=self._experiment())

    def say_experiment_restored(self) -> Event:
        return say.ExperimentRestored(experiment_id=self._experiment())

    def say_experiment_purged(self) -> Event:
        return say.ExperimentPurged(experiment_id=self._experiment())

    def say_experiment_tag_set(self) -> Event:
        return say.ExperimentTagSet(
            experiment_id=self._experiment(),
            tag=self._tag(),
            content=say.ExperimentTagSetContent(value=self._value()),
        )

    def say_experiment_tag_deleted(self) -> Event:
        return say.ExperimentTagDeleted(experiment_id=self._experiment(), tag=self._tag())

    def say_run_created(self) -> Event:
        return say.RunCreated(
            run_id=self._run(),
            experiment_id=self._experiment(),
            experiment_epoch=self._random.randrange(3),
            start_time_ms=self._random.choice((None, 5)),
            artifact_uri="x",
            content=say.RunCreatedContent(name=self._pick("n", 4), tags=self._tags()),
        )

    def say_run_updated(self) -> Event:
        return say.RunUpdated(
            run_id=self._run(),
            status=self._random.choice((None, "FINISHED", "FAILED")),
            end_time_ms=self._random.choice((None, 9)),
            content=say.RunUpdatedContent(name=self._random.choice((None, "renamed"))),
        )

    def say_run_deleted(self) -> Event:
        return say.RunDeleted(run_id=self._run(), experiment_epoch=self._random.randrange(4))

    def say_run_restored(self) -> Event:
        return say.RunRestored(run_id=self._run(), experiment_epoch=self._random.randrange(4))

    def say_run_purged(self) -> Event:
        return say.RunPurged(run_id=self._run())

    def say_run_data(self) -> Event:
        return say.RunDataLogged(
            run_id=self._run(),
            content=say.RunDataLoggedContent(
                **say.metric_columns(self._points()),
                params=self._params(),
                tags=self._tags(),
            ),
        )

    def say_run_tag_deleted(self) -> Event:
        return say.RunTagDeleted(run_id=self._run(), tag=self._tag())

    def say_inputs_logged(self) -> Event:
        datasets = [
            say.DatasetInput(
                name=self._pick("d", 2),
                digest=self._pick("h", 2),
                source_type=self._pick("s", 3),
                source=self._text(),
                dataset_schema=self._text(),
                profile=self._text(),
                tags=self._tags(),
            )
            for _ in range(self._random.randrange(3))
        ]
        return say.InputsLogged(
            run_id=self._run(),
            models=[self._model() for _ in range(self._random.randrange(3))],
            content=say.InputsLoggedContent(datasets=datasets),
        )

    def say_outputs_logged(self) -> Event:
        count = self._random.randrange(3)
        return say.OutputsLogged(
            run_id=self._run(),
            models=[say.ModelOutput(model_id=self._model(), step=n) for n in range(count)],
        )

    def say_logged_model_created(self) -> Event:
        return say.LoggedModelCreated(
            model_id=self._model(),
            experiment_id=self._experiment(),
            source_run_id=self._random.choice((None, self._run())),
            artifact_location="x",
            content=say.LoggedModelCreatedContent(
                name="n", tags=self._tags(), params=self._params()
            ),
        )

    def say_logged_model_finalized(self) -> Event:
        return say.LoggedModelFinalized(
            model_id=self._model(), status=self._random.choice(("READY", "FAILED"))
        )

    def say_logged_model_tags_set(self) -> Event:
        return say.LoggedModelTagsSet(
            model_id=self._model(), content=say.LoggedModelTagsSetContent(tags=self._tags())
        )

    def say_logged_model_tag_deleted(self) -> Event:
        return say.LoggedModelTagDeleted(model_id=self._model(), tag=self._tag())

    def say_logged_model_params_logged(self) -> Event:
        return say.LoggedModelParamsLogged(
            model_id=self._model(),
            content=say.LoggedModelParamsLoggedContent(params=self._params()),
        )

    def say_logged_model_deleted(self) -> Event:
        return say.LoggedModelDeleted(model_id=self._model())

    def say_logged_model_purged(self) -> Event:
        return say.LoggedModelPurged(model_id=self._model())

    def say_model_created(self) -> Event:
        return say.RegisteredModelCreated(
            **self._registered(),
            content=say.RegisteredModelCreatedContent(description=self._text(), tags=self._tags()),
        )

    def say_model_updated(self) -> Event:
        return say.RegisteredModelUpdated(
            **self._registered(), content=say.DescriptionContent(description=self._text())
        )

    def say_model_renamed(self) -> Event:
        return say.RegisteredModelRenamed(**self._registered(), new_name=self._pick("model", 6))

    def say_model_deleted(self) -> Event:
        return say.RegisteredModelDeleted(**self._registered())

    def say_model_tag_set(self) -> Event:
        return say.RegisteredModelTagSet(
            **self._registered(), tag=self._tag(), content=say.TagContent(value=self._value())
        )

    def say_model_tag_deleted(self) -> Event:
        return say.RegisteredModelTagDeleted(**self._registered(), tag=self._tag())

    def _promotion(self) -> dict[str, Any]:
        kind, target = self._random.choice((("alias", "guarded"), ("stage", "Staging")))
        model, number = self._random.randrange(2), 0
        version = {"version_uid": f"v{model}-{number}", "version": number}
        of = {"model_uid": f"u{model}", "name": f"model{model}"}
        return {**of, **version, "kind": kind, "target": target}

    def say_promotion_rule_set(self) -> Event:
        return say.PromotionRuleSet(
            **self._registered(),
            rule=self._pick("rule", 2),
            rule_id=self._pick("id", 4),
            kind=self._random.choice(("approval", "tag", "metric", "signature")),
            aliases=["guarded"],  # what rules refuse has tests of its own
            tag="a",
            metric="loss",
            at_least=0.5,
            content=say.CommentContent(comment="why"),
        )

    def say_promotion_rule_removed(self) -> Event:
        return say.PromotionRuleRemoved(**self._registered(), rule=self._pick("rule", 2))

    def say_promotion_approved(self) -> Event:
        return say.PromotionApproved(**self._promotion())

    def say_promotion_approval_withdrawn(self) -> Event:
        return say.PromotionApprovalWithdrawn(**self._promotion())

    def say_promotion_checked(self) -> Event:
        return say.PromotionChecked(**self._promotion(), rule_ids=[self._pick("id", 4)])

    def say_alias_set(self) -> Event:
        return say.RegisteredModelAliasSet.model_validate(
            {**self._version(), "alias": self._pick("alias", 3)}
        )

    def say_alias_deleted(self) -> Event:
        return say.RegisteredModelAliasDeleted(**self._registered(), alias=self._pick("alias", 3))

    def say_version_created(self) -> Event:
        fields = {name: value for name, value in self._version().items() if name != "version"}
        content = say.ModelVersionCreatedContent(
            source="s", user_id="u", description=self._text(), tags=self._tags()
        )
        return say.ModelVersionCreated.model_validate(
            {**fields, "run_id": self._random.choice((None, self._run())), "content": content}
        )

    def say_version_updated(self) -> Event:
        content = say.DescriptionContent(description=self._text())
        return say.ModelVersionUpdated.model_validate({**self._version(), "content": content})

    def say_version_stage_changed(self) -> Event:
        return say.ModelVersionStageChanged.model_validate(
            {
                **self._version(),
                "stage": self._random.choice(_STAGES),
                "archive_existing": self._random.random() < 0.5,
            }
        )

    def say_version_deleted(self) -> Event:
        return say.ModelVersionDeleted.model_validate(self._version())

    def say_version_tag_set(self) -> Event:
        content = say.TagContent(value=self._value())
        return say.ModelVersionTagSet.model_validate(
            {**self._version(), "tag": self._tag(), "content": content}
        )

    def say_version_tag_deleted(self) -> Event:
        return say.ModelVersionTagDeleted.model_validate({**self._version(), "tag": self._tag()})

    def say_artifact_logged(self) -> Event:
        return say.ArtifactLogged(
            digest=self._digest(),
            path=self._pick("path", 6),
            size_bytes=1,
            owner=f"runs:/{self._run()}",
            written_ns=self._later_ns(),
        )

    def say_artifact_deleted(self) -> Event:
        return say.ArtifactDeleted(
            digest=self._digest(),
            path=self._pick("path", 6),
            owner=f"runs:/{self._run()}",
            written_ns=self._later_ns(),
        )

    def say_blob_chunk_logged(self) -> Event:
        count = self._random.choice((1, 2, 2, 3, 3, 3))
        return say.BlobChunkLogged(
            digest=self._digest(),
            index=self._random.randrange(-1, 4),
            count=count,
            size_bytes=self._random.choice((count, 3)),
            content=say.BlobChunkLoggedContent(data=b"chunk"),
        )

    def say_blob_stored(self) -> Event:
        return say.BlobStored(digest=self._digest(), store=self._pick("s3://bucket", 2))

    def say_blob_condemned(self) -> Event:
        return say.BlobCondemned(digest=self._digest())

    def say_blob_collected(self) -> Event:
        return say.BlobCollected(digest=self._digest())

    def say_webhook_created(self) -> Event:
        return say.WebhookCreated(
            webhook_id=self._pick("w", 4),
            status="ACTIVE",
            actions=["run.created"],
            content=say.WebhookContent(name="n", url="u"),
        )

    def say_webhook_updated(self) -> Event:
        return say.WebhookUpdated(
            webhook_id=self._pick("w", 4),
            actions=self._random.choice((None, [])),
            content=say.WebhookContent(name=self._random.choice((None, "other"))),
        )

    def say_webhook_deleted(self) -> Event:
        return say.WebhookDeleted(webhook_id=self._pick("w", 4))

    def _trace(self) -> str:
        return self._pick("tr-", 5)

    def say_trace_started(self) -> Event:
        return say.TraceStarted(
            trace_id=self._trace(),
            experiment_id=self._experiment(),
            artifact_uri="x",
            start_ms=self._random.randrange(9),
            duration_ms=self._random.choice((None, 5)),
            state=self._random.choice(("OK", "IN_PROGRESS")),
            spans_location=self._random.choice((None, None, "TRACKING_STORE", "ARCHIVE_REPO")),
            content=say.TraceStartedContent(
                name=self._value(),
                tags=self._tags(),
                metadata=self._tags(),
                session_id=self._random.choice((None, "s1", "s2")),
                figures=self._figures() or [],
            ),
        )

    def _figures(self) -> list[say.Figure] | None:
        return self._random.choice(
            (
                None,
                [],
                [say.Figure(key="input_tokens", value=self._random.choice((None, *_VALUES)))],
                [say.Figure(key="total_cost", value=0.1), say.Figure(key="total_tokens", value=2)],
            )
        )

    def _span(self) -> tuple[say.SpanHead, say.SpanText]:
        head = say.SpanHead(
            span_id=self._pick("", 5),
            parent_id=self._random.choice((None, self._pick("", 5))),
            status="OK",
            start_ns=self._random.randrange(9 * 10**6),
            end_ns=self._random.choice((None, 10**7)),
        )
        text = say.SpanText(text=self._text(), usage=self._figures(), cost=self._figures())
        return head, text

    def say_spans_logged(self) -> Event:
        spans = [self._span() for _ in range(self._random.randrange(4))]
        known = self._random.random() < 0.8
        return say.SpansLogged(
            trace_id=self._trace(),
            experiment_id=self._experiment() if known else None,
            artifact_uri="x" if known else None,
            start_ms=self._random.randrange(9),
            end_ms=self._random.choice((None, 0, 12)),
            state=self._random.choice((None, "OK", "ERROR")),
            has_usage=self._random.random() < 0.5,
            has_cost=self._random.random() < 0.5,
            more=self._random.random() < 0.2,
            spans=[head for head, _ in spans],
            content=say.SpansLoggedContent(
                spans=[text for _, text in spans],
                session_id=self._random.choice((None, "s1")),
                user_id=self._random.choice((None, "u")),
                request_preview=self._value(),
                tags=self._tags(),
            ),
        )

    def say_trace_tag_set(self) -> Event:
        return say.TraceTagSet(
            trace_id=self._trace(),
            tag=self._random.choice(("a", "b", "mlflow.traceName")),
            content=say.TraceTagSetContent(value=self._value()),
        )

    def say_trace_tag_deleted(self) -> Event:
        return say.TraceTagDeleted(
            trace_id=self._trace(), tag=self._random.choice(("a", "mlflow.traceName"))
        )

    def say_trace_deleted(self) -> Event:
        return say.TraceDeleted(trace_id=self._trace())

    def say_trace_archived(self) -> Event:
        generation = self._random.randrange(3)
        return say.TraceArchived(trace_id=self._trace(), archive_uri="x", generation=generation)

    def say_trace_run_linked(self) -> Event:
        return say.TraceRunLinked(trace_id=self._trace(), run_id=self._run())

    def say_trace_run_unlinked(self) -> Event:
        return say.TraceRunUnlinked(trace_id=self._trace(), run_id=self._run())

    def say_trace_prompts_linked(self) -> Event:
        return say.TracePromptsLinked(trace_id=self._trace(), prompts=["p/1", self._pick("p/", 3)])

    def _assessed(self) -> say.AssessmentContent:
        return say.AssessmentContent(
            name=self._pick("q", 2),
            value=self._random.choice(('"yes"', "1", "NaN", "true", "[]", "odd", "1e999")),
            rationale=self._text(),
        )

    def say_assessment_created(self) -> Event:
        return say.AssessmentCreated(
            trace_id=self._trace(),
            assessment_id=self._pick("a-", 3),
            assessment_type="feedback",
            source_type="HUMAN",
            created_ms=self._random.randrange(3),
            updated_ms=3,
            overrides=self._random.choice((None, self._pick("a-", 3))),
            merged=self._random.random() < 0.3,
            content=self._assessed(),
        )

    def say_assessment_updated(self) -> Event:
        return say.AssessmentUpdated(
            trace_id=self._trace(),
            assessment_id=self._pick("a-", 3),
            updated_ms=4,
            content=self._assessed(),
        )

    def say_assessment_deleted(self) -> Event:
        return say.AssessmentDeleted(trace_id=self._trace(), assessment_id=self._pick("a-", 3))


def _depth(kind: str) -> int:
    """How many kinds of items must be there before one of this kind can be."""
    family = families().get(kind)
    if family is None:
        return 0
    named = [reference.kind for reference in family.references]
    named += [] if family.parent is None else [family.parent_kind]
    return 1 + max(map(_depth, named), default=0)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_CREATED = [e for e in SAMPLES if isinstance(e, ItemEvent) and type(e).__name__.endswith("Created")]
_OPENING = (
    "experiment_created", "experiment_created", *("run_created",) * 5, *("model_created",) * 3,
    *("version_created",) * 6, *("logged_model_created",) * 3, *("webhook_created",) * 2,
    *("trace_started",) * 2, *("spans_logged",) * 2,
    *(
        _snake(type(e).__name__)
        for e in sorted(_CREATED, key=lambda e: _depth(e.kind))
        for _ in range(2)
    ),
)  # fmt: skip
"""What most histories begin with, so that later events have something to be about."""
