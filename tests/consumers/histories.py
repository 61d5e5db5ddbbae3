"""Random histories over all event families, valid and invalid events mixed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from hashlib import sha256

from mlflow_ledger.bus import Actor, Outgoing, Writer
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    BlobCollected,
    BlobCondemned,
    ClaimCheck,
    CommandRejected,
    CommandRejectedContent,
    DatasetInput,
    DescriptionContent,
    Event,
    ExperimentCreated,
    ExperimentCreatedContent,
    ExperimentDeleted,
    ExperimentPurged,
    ExperimentRenamed,
    ExperimentRestored,
    ExperimentTagDeleted,
    ExperimentTagSet,
    ExperimentTagSetContent,
    InputsLogged,
    InputsLoggedContent,
    KeyValue,
    LedgerCreated,
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
    MetricModel,
    ModelOutput,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionDeleted,
    ModelVersionStageChanged,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    ModelVersionUpdated,
    OutputsLogged,
    Point,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelCreatedContent,
    RegisteredModelDeleted,
    RegisteredModelRenamed,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
    RegisteredModelUpdated,
    RunCreated,
    RunCreatedContent,
    RunDataLogged,
    RunDataLoggedContent,
    RunDeleted,
    RunPurged,
    RunRestored,
    RunTagDeleted,
    RunUpdated,
    RunUpdatedContent,
    TagContent,
    Text,
    WebhookContent,
    WebhookCreated,
    WebhookDeleted,
    WebhookUpdated,
    metric_columns,
)

from .folding import BEGINNING, PARTITIONS, Clock

_VALUES = (0.0, -0.0, 1.5, -3.25, math.nan, math.inf, -math.inf, 1e300, 5e-324)
_STAGES = ("None", "Staging", "Production", "Archived")
_DESTRUCTIVE = ("_deleted", "_purged", "_collected")
_COMMON = (
    "run_data", "run_data", "run_data", "run_created", "version_created", "artifact_logged",
)  # fmt: skip


class History:
    """Events of one world, drawn from a seed; a few names each, so that they meet and clash."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._makers: dict[str, Callable[[], Event]] = {
            name.removeprefix("say_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("say_")
        }
        self._names = list(self._makers)
        self._written_ns = 10**18
        self._clock = Clock()

    def events(self, count: int) -> list[Event]:
        """``count`` events: the beginning, one of each kind to start with, then at random."""
        first = self._random.sample(self._names, len(self._names))
        usual = [name for name in self._names if not name.endswith(_DESTRUCTIVE)]
        rest = self._random.choices([*self._names, *usual * 3, *_COMMON * 8], k=count)
        return [BEGINNING, *(self._makers[name]() for name in [*_OPENING, *first, *rest])][:count]

    def records(self, count: int) -> list[Outgoing]:
        """Records in the order in which they reach the log.

        Said by several writers whose clocks disagree; some are retried, some come late, some are
        redacted, garbled, or bear an identity that was taken.
        """
        writers = [
            Writer(Actor(f"w{n}", "claimed"), Clock(self._clock.now_ms + 50 * n)) for n in range(3)
        ]
        on_time: list[Outgoing] = []
        late: list[tuple[int, Outgoing]] = []
        for event in self.events(count):
            writer = writers[self._random.randrange(3)]
            if self._random.random() < 0.01:
                writer.renew()
            outgoing = self._mangled(writer.stamp(event, PARTITIONS))
            if self._random.random() < 0.04:
                late.append((len(on_time) + self._random.randrange(1, 20), outgoing))
            else:
                on_time.append(outgoing)
            if self._random.random() < 0.04:
                on_time.append(self._random.choice(on_time))
        for place, outgoing in late:
            on_time.insert(place, outgoing)
        return on_time

    def _mangled(self, outgoing: Outgoing) -> Outgoing:
        partition, record = outgoing
        luck = self._random.random()
        if luck < 0.02:  # redacted: only the digest of the content is left
            inner = sha256(record.content or b"").digest()
            record = type(record)(record.envelope, record.head, None, inner)
        elif luck < 0.03:  # garbled on its way
            record = type(record)(record.envelope, record.head + b"?", record.content)
        elif luck < 0.035:  # of a type that only a newer program knows
            record = type(record)(record.envelope._replace(type="RunTeleported"), record.head)
        elif luck < 0.045 and record.envelope.id > 1:  # an identity that was taken
            record = type(record)(
                record.envelope._replace(id=record.envelope.id - 1), record.head, record.content
            )
        return Outgoing(partition, record)

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
            (None, "text", ClaimCheck(digest="sha256:" + "0" * 64, size_bytes=1))
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
                self._random.choice((None, None, MetricModel(model_id=self._model()))),
            )
            for _ in range(self._random.randrange(5))
        ]

    def _later_ns(self) -> int:
        self._written_ns += self._random.randrange(-5, 20)
        return self._written_ns

    # --- one maker for each event type; its name says which

    def say_ledger_created(self) -> LedgerCreated:
        return BEGINNING

    def say_command_rejected(self) -> CommandRejected:
        run = self._run()
        return CommandRejected(
            command="RunDeleted",
            command_topic=self._random.choice(("runs", "catalog")),
            command_key=run,
            command_subject=f"runs:/{run}",
            code="RESOURCE_DOES_NOT_EXIST",
            content=CommandRejectedContent(message="no such run"),
        )

    def say_experiment_created(self) -> Event:
        return ExperimentCreated(
            experiment_id=self._experiment(),
            name=self._pick("e", 6),
            artifact_location="x",
            content=ExperimentCreatedContent(tags=self._tags()),
        )

    def say_experiment_renamed(self) -> Event:
        return ExperimentRenamed(experiment_id=self._experiment(), name=self._pick("e", 6))

    def say_experiment_deleted(self) -> Event:
        return ExperimentDeleted(experiment_id=self._experiment())

    def say_experiment_restored(self) -> Event:
        return ExperimentRestored(experiment_id=self._experiment())

    def say_experiment_purged(self) -> Event:
        return ExperimentPurged(experiment_id=self._experiment())

    def say_experiment_tag_set(self) -> Event:
        return ExperimentTagSet(
            experiment_id=self._experiment(),
            tag=self._tag(),
            content=ExperimentTagSetContent(value=self._value()),
        )

    def say_experiment_tag_deleted(self) -> Event:
        return ExperimentTagDeleted(experiment_id=self._experiment(), tag=self._tag())

    def say_run_created(self) -> Event:
        return RunCreated(
            run_id=self._run(),
            experiment_id=self._experiment(),
            experiment_epoch=self._random.randrange(3),
            start_time_ms=self._random.choice((None, 5)),
            artifact_uri="x",
            content=RunCreatedContent(name=self._pick("n", 4), tags=self._tags()),
        )

    def say_run_updated(self) -> Event:
        return RunUpdated(
            run_id=self._run(),
            status=self._random.choice((None, "FINISHED", "FAILED")),
            end_time_ms=self._random.choice((None, 9)),
            content=RunUpdatedContent(name=self._random.choice((None, "renamed"))),
        )

    def say_run_deleted(self) -> Event:
        return RunDeleted(run_id=self._run(), experiment_epoch=self._random.randrange(4))

    def say_run_restored(self) -> Event:
        return RunRestored(run_id=self._run(), experiment_epoch=self._random.randrange(4))

    def say_run_purged(self) -> Event:
        return RunPurged(run_id=self._run())

    def say_run_data(self) -> Event:
        return RunDataLogged(
            run_id=self._run(),
            content=RunDataLoggedContent(
                **metric_columns(self._points()),  # type: ignore[arg-type]  # pydantic checks
                params=self._params(),
                tags=self._tags(),
            ),
        )

    def say_run_tag_deleted(self) -> Event:
        return RunTagDeleted(run_id=self._run(), tag=self._tag())

    def say_inputs_logged(self) -> Event:
        datasets = [
            DatasetInput(
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
        return InputsLogged(
            run_id=self._run(),
            models=[self._model() for _ in range(self._random.randrange(3))],
            content=InputsLoggedContent(datasets=datasets),
        )

    def say_outputs_logged(self) -> Event:
        count = self._random.randrange(3)
        return OutputsLogged(
            run_id=self._run(),
            models=[ModelOutput(model_id=self._model(), step=n) for n in range(count)],
        )

    def say_logged_model_created(self) -> Event:
        return LoggedModelCreated(
            model_id=self._model(),
            experiment_id=self._experiment(),
            source_run_id=self._random.choice((None, self._run())),
            artifact_location="x",
            content=LoggedModelCreatedContent(name="n", tags=self._tags(), params=self._params()),
        )

    def say_logged_model_finalized(self) -> Event:
        return LoggedModelFinalized(
            model_id=self._model(), status=self._random.choice(("READY", "FAILED"))
        )

    def say_logged_model_tags_set(self) -> Event:
        return LoggedModelTagsSet(
            model_id=self._model(), content=LoggedModelTagsSetContent(tags=self._tags())
        )

    def say_logged_model_tag_deleted(self) -> Event:
        return LoggedModelTagDeleted(model_id=self._model(), tag=self._tag())

    def say_logged_model_params_logged(self) -> Event:
        return LoggedModelParamsLogged(
            model_id=self._model(), content=LoggedModelParamsLoggedContent(params=self._params())
        )

    def say_logged_model_deleted(self) -> Event:
        return LoggedModelDeleted(model_id=self._model())

    def say_logged_model_purged(self) -> Event:
        return LoggedModelPurged(model_id=self._model())

    def say_model_created(self) -> Event:
        return RegisteredModelCreated(
            **self._registered(),
            content=RegisteredModelCreatedContent(description=self._text(), tags=self._tags()),
        )

    def say_model_updated(self) -> Event:
        return RegisteredModelUpdated(
            **self._registered(), content=DescriptionContent(description=self._text())
        )

    def say_model_renamed(self) -> Event:
        return RegisteredModelRenamed(**self._registered(), new_name=self._pick("model", 6))

    def say_model_deleted(self) -> Event:
        return RegisteredModelDeleted(**self._registered())

    def say_model_tag_set(self) -> Event:
        return RegisteredModelTagSet(
            **self._registered(), tag=self._tag(), content=TagContent(value=self._value())
        )

    def say_model_tag_deleted(self) -> Event:
        return RegisteredModelTagDeleted(**self._registered(), tag=self._tag())

    def say_alias_set(self) -> Event:
        return RegisteredModelAliasSet.model_validate(
            {**self._version(), "alias": self._pick("alias", 3)}
        )

    def say_alias_deleted(self) -> Event:
        return RegisteredModelAliasDeleted(**self._registered(), alias=self._pick("alias", 3))

    def say_version_created(self) -> Event:
        fields = {name: value for name, value in self._version().items() if name != "version"}
        content = ModelVersionCreatedContent(
            source="s", user_id="u", description=self._text(), tags=self._tags()
        )
        return ModelVersionCreated.model_validate(
            {**fields, "run_id": self._random.choice((None, self._run())), "content": content}
        )

    def say_version_updated(self) -> Event:
        content = DescriptionContent(description=self._text())
        return ModelVersionUpdated.model_validate({**self._version(), "content": content})

    def say_version_stage_changed(self) -> Event:
        return ModelVersionStageChanged.model_validate(
            {
                **self._version(),
                "stage": self._random.choice(_STAGES),
                "archive_existing": self._random.random() < 0.5,
            }
        )

    def say_version_deleted(self) -> Event:
        return ModelVersionDeleted.model_validate(self._version())

    def say_version_tag_set(self) -> Event:
        content = TagContent(value=self._value())
        return ModelVersionTagSet.model_validate(
            {**self._version(), "tag": self._tag(), "content": content}
        )

    def say_version_tag_deleted(self) -> Event:
        return ModelVersionTagDeleted.model_validate({**self._version(), "tag": self._tag()})

    def say_artifact_logged(self) -> Event:
        return ArtifactLogged(
            digest=self._digest(),
            path=self._pick("path", 6),
            size_bytes=1,
            owner=f"runs:/{self._run()}",
            written_ns=self._later_ns(),
        )

    def say_artifact_deleted(self) -> Event:
        return ArtifactDeleted(
            digest=self._digest(),
            path=self._pick("path", 6),
            owner=f"runs:/{self._run()}",
            written_ns=self._later_ns(),
        )

    def say_blob_condemned(self) -> Event:
        return BlobCondemned(digest=self._digest())

    def say_blob_collected(self) -> Event:
        return BlobCollected(digest=self._digest())

    def say_webhook_created(self) -> Event:
        return WebhookCreated(
            webhook_id=self._pick("w", 4),
            status="ACTIVE",
            actions=["run.created"],
            content=WebhookContent(name="n", url="u"),
        )

    def say_webhook_updated(self) -> Event:
        return WebhookUpdated(
            webhook_id=self._pick("w", 4),
            actions=self._random.choice((None, [])),
            content=WebhookContent(name=self._random.choice((None, "other"))),
        )

    def say_webhook_deleted(self) -> Event:
        return WebhookDeleted(webhook_id=self._pick("w", 4))


_OPENING = (
    "experiment_created", "experiment_created", *("run_created",) * 5, *("model_created",) * 3,
    *("version_created",) * 6, *("logged_model_created",) * 3, *("webhook_created",) * 2,
)  # fmt: skip
"""What most histories begin with, so that later events have something to be about."""
