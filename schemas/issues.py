"""Events about issues: problems that were found in traces."""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Text
from .items import ItemEvent

__all__ = ["IssueContent", "IssueCreated", "IssueCreatedContent", "IssueEvent", "IssueUpdated"]


class IssueEvent(ItemEvent):
    """Anything that happens to one issue; which traces it is about, their assessments say."""

    kind: ClassVar[str] = "issues"
    id_field: ClassVar[str] = "issue_id"
    issue_id: str


class IssueContent(Content):
    """What the issue is."""

    name: Text = None
    description: Text = None


class IssueCreatedContent(IssueContent):
    """What the issue is and comes from; the lists are JSON."""

    root_causes: Text = None
    categories: Text = None
    created_by: str | None = None


class IssueCreated(IssueEvent):
    """An issue was found in traces, perhaps by a run."""

    topic_name: ClassVar[str] = "catalog"
    experiment_id: str
    status: str
    severity: str | None = None
    source_run_id: str | None = None
    content: IssueCreatedContent | None = None


class IssueUpdated(IssueEvent):
    """An issue changed; what is absent stays as it was."""

    topic_name: ClassVar[str] = "catalog"
    status: str | None = None
    severity: str | None = None
    content: IssueContent | None = None
