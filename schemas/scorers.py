"""Events about scorers: judges of traces, their versions, and how they score what comes in."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Text
from .items import ItemEvent

__all__ = [
    "OnlineScoringConfigContent",
    "OnlineScoringConfigured",
    "ScorerCreated",
    "ScorerDeleted",
    "ScorerEvent",
    "ScorerVersionContent",
    "ScorerVersionCreated",
    "ScorerVersionDeleted",
    "ScorerVersionEvent",
]


class ScorerEvent(ItemEvent):
    """Anything that happens to one scorer as a whole."""

    kind: ClassVar[str] = "scorers"
    id_field: ClassVar[str] = "scorer_id"
    scorer_id: str


class ScorerCreated(ScorerEvent):
    """A scorer was created, without a version yet; its name is unique in its experiment."""

    topic_name: ClassVar[str] = "catalog"
    experiment_id: str
    name: str


class OnlineScoringConfigContent(Content):
    """Which traces are scored, as a filter of MLflow's."""

    filter_string: str | None = None


class OnlineScoringConfigured(ScorerEvent):
    """A scorer was told which part of the traces to score, instead of what it was told before."""

    topic_name: ClassVar[str] = "catalog"
    config_id: str
    sample_rate: float
    cleared: list[str] = Field(default_factory=list)
    content: OnlineScoringConfigContent | None = None


class ScorerDeleted(ScorerEvent):
    """A scorer was deleted with all its versions."""

    topic_name: ClassVar[str] = "catalog"


class ScorerVersionEvent(ItemEvent):
    """Anything that happens to one version of a scorer; ``version_uid`` is its writer's."""

    kind: ClassVar[str] = "scorer_versions"
    id_field: ClassVar[str] = "version_uid"
    version_uid: str


class ScorerVersionContent(Content):
    """The scorer as MLflow writes it in JSON."""

    serialized_scorer: Text = None


class ScorerVersionCreated(ScorerVersionEvent):
    """A version was registered; the fold gives it the next number of its scorer."""

    topic_name: ClassVar[str] = "catalog"
    scorer_id: str
    content: ScorerVersionContent | None = None


class ScorerVersionDeleted(ScorerVersionEvent):
    """A version was deleted; its scorer stays."""

    topic_name: ClassVar[str] = "catalog"
