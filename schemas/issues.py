"""Events about issues: problems that were found in traces."""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Part, Text
from .items import ItemEvent

__all__ = [
    "IssueContent",
    "IssueCreated",
    "IssueCreatedContent",
    "IssueEvent",
    "IssueMetadata",
    "IssueUpdated",
]


class IssueEvent(ItemEvent):
    """Anything that happens to one issue; which traces it is about, their assessments say."""

    kind: ClassVar[str] = "issues"
    id_field: ClassVar[str] = "issue_id"
    issue_id: str


class IssueMetadata(Part):
    """One entry of an issue's metadata."""

    key: str
    value: Text = None


class IssueSaid(Content):
    """What the issue is; the categories are JSON.

    They are searched by ``category_hashes``: the SHA-256 of each, in lower case and without white
    space around it.
    """

    name: Text = None
    description: Text = None
    categories: Text = None
    category_hashes: list[str] | None = None
    metadata: list[IssueMetadata] | None = None


class IssueContent(IssueSaid):
    """What the issue is; entries of metadata that are not named stay as they were."""

    metadata_deleted: list[str] | None = None
    last_updated_by: str | None = None


class IssueCreatedContent(IssueSaid):
    """What the issue is and comes from; the lists are JSON."""

    root_causes: Text = None
    created_by: str | None = None


class IssueCreated(IssueEvent):
    """An issue was found in traces, perhaps by a run.

    ``last_seen_ms`` is its latest observation: when it was created, if absent.
    """

    topic_name: ClassVar[str] = "catalog"
    experiment_id: str
    status: str
    severity: str | None = None
    source_run_id: str | None = None
    last_seen_ms: int | None = None
    content: IssueCreatedContent | None = None


class IssueUpdated(IssueEvent):
    """An issue changed; what is absent stays as it was, and no observation moves it back."""

    topic_name: ClassVar[str] = "catalog"
    status: str | None = None
    severity: str | None = None
    last_seen_ms: int | None = None
    content: IssueContent | None = None
