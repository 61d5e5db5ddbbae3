"""Events about runs and what is logged to them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Event, KeyValue, Part, Text

__all__ = [
    "DatasetInput",
    "InputsLogged",
    "InputsLoggedContent",
    "MetricModel",
    "ModelOutput",
    "OutputsLogged",
    "RunCreated",
    "RunCreatedContent",
    "RunDataLogged",
    "RunDataLoggedContent",
    "RunDeleted",
    "RunEvent",
    "RunPurged",
    "RunRestored",
    "RunTagDeleted",
    "RunUpdated",
    "RunUpdatedContent",
]


class RunEvent(Event):
    """Anything that happens to one run."""

    run_id: str

    @property
    def key(self) -> str:
        """The run's id."""
        return self.run_id

    @property
    def subject(self) -> str:
        """``runs:/<id>``."""
        return f"runs:/{self.run_id}"


class RunCreatedContent(Content):
    """Name, user and tags given at creation."""

    name: str
    user_id: str | None = None
    tags: list[KeyValue] = Field(default_factory=list)


class RunCreated(RunEvent):
    """A run was started. ``experiment_epoch`` is the epoch of its experiment the writer saw."""

    topic_name: ClassVar[str] = "runs"
    experiment_id: str
    experiment_epoch: int = 0
    start_time_ms: int | None = None
    artifact_uri: str
    content: RunCreatedContent | None = None


class RunUpdatedContent(Content):
    """The new name, where it changed."""

    name: str | None = None


class RunUpdated(RunEvent):
    """Status, end time or name changed; what is absent stays as it was."""

    topic_name: ClassVar[str] = "runs"
    status: str | None = None
    end_time_ms: int | None = None
    content: RunUpdatedContent | None = None


class RunDeleted(RunEvent):
    """A run was soft-deleted on its own, under the experiment's epoch that the writer saw."""

    topic_name: ClassVar[str] = "runs"
    experiment_epoch: int = 0


class RunRestored(RunEvent):
    """A run was restored on its own, under the experiment's epoch that the writer saw."""

    topic_name: ClassVar[str] = "runs"
    experiment_epoch: int = 0


class RunPurged(RunEvent):
    """A run was deleted for good (``mlflow gc``)."""

    topic_name: ClassVar[str] = "runs"


class MetricModel(Part):
    """The logged model, and the data set if known, that a metric was measured on."""

    model_id: str
    dataset_name: str | None = None
    dataset_digest: str | None = None


class RunDataLoggedContent(Content):
    """Metrics, params and tags of one call.

    Metrics are columns of equal length, packed little-endian: ``metric_key`` holds u32 indexes
    into ``metric_keys``, ``metric_value`` f64, ``metric_timestamp`` and ``metric_step`` i64
    (milliseconds, steps). ``metric_model`` is empty, or u32 where 0 is none and n the n-th of
    ``metric_models``. See :mod:`mlflow_ledger.schemas.packed`.
    """

    metric_keys: list[str] = Field(default_factory=list)
    metric_key: bytes = b""
    metric_value: bytes = b""
    metric_timestamp: bytes = b""
    metric_step: bytes = b""
    metric_models: list[MetricModel] = Field(default_factory=list)
    metric_model: bytes = b""
    params: list[KeyValue] = Field(default_factory=list)
    tags: list[KeyValue] = Field(default_factory=list)


class RunDataLogged(RunEvent):
    """Metrics, params and tags were logged, all or none; refused where a param would change."""

    topic_name: ClassVar[str] = "runs"
    content: RunDataLoggedContent | None = None


class RunTagDeleted(RunEvent):
    """A tag of a run was deleted."""

    topic_name: ClassVar[str] = "runs"
    tag: str


class DatasetInput(Part):
    """A data set that a run has used, with the tags of this use (``mlflow.data.context``)."""

    name: str
    digest: str
    source_type: str
    source: Text
    dataset_schema: Text = None
    profile: Text = None
    tags: list[KeyValue] = Field(default_factory=list)


class InputsLoggedContent(Content):
    """The data sets."""

    datasets: list[DatasetInput] = Field(default_factory=list)


class InputsLogged(RunEvent):
    """Data sets and logged models were named as inputs of a run."""

    topic_name: ClassVar[str] = "runs"
    models: list[str] = Field(default_factory=list)
    content: InputsLoggedContent | None = None


class ModelOutput(Part):
    """A logged model that a run has made, and at which step."""

    model_id: str
    step: int = 0


class OutputsLogged(RunEvent):
    """Logged models were named as outputs of a run."""

    topic_name: ClassVar[str] = "runs"
    models: list[ModelOutput]
