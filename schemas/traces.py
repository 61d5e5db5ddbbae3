"""Events about traces: what an application did for one request, span by span."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Event, KeyValue, Part, Text

__all__ = [
    "TRACE_COSTS",
    "TRACE_TOKENS",
    "Figure",
    "SpanHead",
    "SpanText",
    "SpansLogged",
    "SpansLoggedContent",
    "TraceArchived",
    "TraceDeleted",
    "TraceEvent",
    "TracePromptsLinked",
    "TraceRunLinked",
    "TraceRunUnlinked",
    "TraceStarted",
    "TraceStartedContent",
    "TraceTagDeleted",
    "TraceTagSet",
    "TraceTagSetContent",
]


TRACE_TOKENS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
)
TRACE_COSTS = ("input_cost", "output_cost", "total_cost")
"""What a trace counts and costs, by MLflow's names."""


class TraceEvent(Event):
    """Anything that happens to one trace."""

    trace_id: str

    @property
    def key(self) -> str:
        """The trace's id."""
        return self.trace_id

    @property
    def subject(self) -> str:
        """``traces:/<id>``."""
        return f"traces:/{self.trace_id}"


class Figure(Part):
    """A count of tokens or a cost, by what it counts; without a value it is not known."""

    key: str
    value: float | None = None


class TraceStartedContent(Content):
    """Name, previews, tags and metadata; session, counts of tokens and costs apart."""

    name: str | None = None
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    tags: list[KeyValue] = Field(default_factory=list)
    metadata: list[KeyValue] = Field(default_factory=list)
    session_id: str | None = None
    figures: list[Figure] = Field(default_factory=list)


class TraceStarted(TraceEvent):
    """A trace as a whole was told; it is made, or what its spans had told is corrected.

    ``spans_location`` says where its spans lie, if not in the ledger.
    """

    topic_name: ClassVar[str] = "traces"
    experiment_id: str
    artifact_uri: str
    start_ms: int
    duration_ms: int | None = None
    state: str
    spans_location: str | None = None
    content: TraceStartedContent | None = None


class SpanHead(Part):
    """Where a span stands in its trace, and how it went."""

    span_id: str
    parent_id: str | None = None
    status: str
    start_ns: int
    end_ns: int | None = None


class SpanText(Part):
    """What a span says: ``text`` is all of it, as MLflow writes it in JSON.

    Of a span so large that its text is a claim check, ``excerpt`` is what is searched. ``usage``
    and ``cost`` are absent where the span counts no tokens, or has no cost.
    """

    name: str | None = None
    span_type: str | None = None
    text: Text
    excerpt: str | None = None
    usage: list[Figure] | None = None
    cost: list[Figure] | None = None
    model_name: str | None = None
    model_provider: str | None = None


class SpansLoggedContent(Content):
    """The spans' texts, in the order of their heads, and what the root span says of the trace."""

    spans: list[SpanText] = Field(default_factory=list)
    name: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    tags: list[KeyValue] = Field(default_factory=list)


class SpansLogged(TraceEvent):
    """Spans of a trace were logged; the first make it where it was not told as a whole.

    Times and state are those that all spans of the call give to the trace. Where a call takes
    several events, all but the last have ``more``. ``has_usage`` and ``has_cost`` say whether any
    span of the call counts tokens or costs something.
    """

    topic_name: ClassVar[str] = "traces"
    experiment_id: str | None = None
    artifact_uri: str | None = None
    start_ms: int
    end_ms: int | None = None
    state: str | None = None
    has_usage: bool = False
    has_cost: bool = False
    more: bool = False
    spans_location: str | None = None
    spans: list[SpanHead] = Field(default_factory=list)
    content: SpansLoggedContent | None = None


class TraceTagSetContent(Content):
    """The value."""

    value: str | None = None


class TraceTagSet(TraceEvent):
    """A tag of a trace was set; ``spans_location`` repeats the value of the one that says that."""

    topic_name: ClassVar[str] = "traces"
    tag: str
    spans_location: str | None = None
    content: TraceTagSetContent | None = None


class TraceTagDeleted(TraceEvent):
    """A tag of a trace was deleted."""

    topic_name: ClassVar[str] = "traces"
    tag: str


class TraceDeleted(TraceEvent):
    """A trace was deleted, with its spans, tags and assessments."""

    topic_name: ClassVar[str] = "traces"


class TraceArchived(TraceEvent):
    """The spans' texts of a trace lie in a file of their own, and in the ledger no more.

    ``generation`` is how often spans were logged that the file holds.
    """

    topic_name: ClassVar[str] = "traces"
    archive_uri: str
    generation: int


class TraceRunLinked(TraceEvent):
    """A trace was linked to a run, whether or not either is there."""

    topic_name: ClassVar[str] = "traces"
    run_id: str


class TraceRunUnlinked(TraceEvent):
    """A trace is not linked to a run any more."""

    topic_name: ClassVar[str] = "traces"
    run_id: str


class TracePromptsLinked(TraceEvent):
    """Prompt versions, each ``<name>/<version>``, were linked to a trace."""

    topic_name: ClassVar[str] = "traces"
    prompts: list[str]
