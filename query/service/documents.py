"""The documents of the query service's interface, as its OpenAPI page shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Asked",
    "EventDocument",
    "Failure",
    "Health",
    "LedgerFacts",
    "Opened",
    "Opening",
    "Problem",
    "Reached",
    "Rehearsal",
    "Rehearsed",
    "Result",
    "Results",
    "Said",
    "Search",
    "Since",
    "Speaker",
    "Statement",
    "VerdictDocument",
    "Verdicts",
    "Waiting",
    "Where",
]

_MOST_STATEMENTS = 200
_MOST_EVENTS = 10_000
_MOST_WAIT_S = 60.0


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Document):
    """What went wrong: the kind of error, MLflow's code where it is a refusal, and words."""

    kind: str
    message: str
    code: str | None = None


class Failure(_Document):
    """The answer where something went wrong."""

    error: Problem


class Health(_Document):
    """The service answers."""

    status: Literal["ok"] = "ok"


class Where(_Document):
    """The position that the state has come to."""

    position: str = Field(examples=["v1~6a8820c505e58050~c120~r5.7"])


class LedgerFacts(_Document):
    """Which ledger this is, and what its answers mean.

    A client of another protocol or fold version is refused: its questions would mean another state.
    """

    ledger_id: str
    cluster_id: str | None = Field(description="The Kafka cluster; none where it is a folder.")
    topic_ids: dict[str, str]
    protocol: int
    fold_version: int
    version: str = Field(description="Of mlflow-ledger.")


class Speaker(_Document):
    """Who asks: for which ledger, in which version, having said what."""

    ledger_id: str
    protocol: int
    fold_version: int
    position: str | None = Field(
        None, description="The answer shows at least what stands before this position."
    )


class Statement(_Document):
    """One SELECT over the keyed state. Values that JSON lacks: `{"$bytes": …}`, `{"$float": …}`."""

    sql: str
    values: list[Any] = []


class Search(_Document):
    """A search of runs: filters [kind, key, comparator, value], orders [kind, key, ascending]."""

    experiment_ids: list[int]
    lifecycles: list[str]
    filters: list[tuple[str, str, str, Any]]
    orders: list[tuple[str, str, bool]]
    limit: int | None
    offset: int


class Since(_Document):
    """What the asker knows of what others have said: up to where, of which replica."""

    reader: str
    offset: int
    voice: str


class Opening(Speaker):
    """Open a view, ask statements in it, and perhaps search runs at the same cut."""

    since: Since | None = None
    search: Search | None = None
    statements: list[Statement] = Field([], max_length=_MOST_STATEMENTS)


class Result(_Document):
    """What a statement gave: rows, or an error."""

    rows: list[list[Any]] | None = None
    error: Problem | None = None


class Opened(_Document):
    """A view that is open for some seconds, and what was asked in it.

    `others` are type and subject of what others have said since; null where that is not known.
    """

    view: str
    reader: str
    offset: int
    others: list[tuple[str, str]] | None
    found: list[int] | None = Field(description="The numbers of the runs that the search found.")
    results: list[Result]


class Asked(_Document):
    """Statements for a view that is open."""

    statements: list[Statement] = Field(max_length=_MOST_STATEMENTS)


class Results(_Document):
    """What they gave, in their order."""

    results: list[Result]


class EventDocument(_Document):
    """An event as it would stand in the log."""

    type: str
    head: Any = Field(description='The structure, as Avro single object: `{"$bytes": …}`.')
    content: Any = Field(description='The content after its nonce: `{"$bytes": …}`, or null.')


class Rehearsal(Speaker):
    """Would the rules take these events if they were next in the log? Nothing of it stays."""

    workspace: str = Field("default", description="The workspace they would be said in.")
    events: list[EventDocument] = Field(max_length=_MOST_EVENTS)
    actor: tuple[str, str] | None = None
    """Who would say them, and what that is worth: some rules ask. The log's verdict asks itself."""


class Rehearsed(_Document):
    """They would be taken."""

    verdict: Literal["accepted"] = "accepted"


class Said(_Document):
    """What was said to the log, each as [source, id]."""

    said: list[tuple[str, int]] = Field(max_length=_MOST_EVENTS)
    timeout_s: float = Field(30.0, ge=0, le=_MOST_WAIT_S)


class VerdictDocument(_Document):
    """What became of an event; unknown where it was not folded in time."""

    verdict: Literal["accepted", "refused", "unknown"]
    code: str | None = None
    message: str | None = None


class Verdicts(_Document):
    """Verdicts in the order in which they were asked for."""

    verdicts: list[VerdictDocument]


class Waiting(_Document):
    """Wait until a position is folded."""

    position: str
    timeout_s: float = Field(30.0, ge=0, le=_MOST_WAIT_S)


class Reached(Where):
    """Whether it is folded, and how far the state has come."""

    reached: bool
