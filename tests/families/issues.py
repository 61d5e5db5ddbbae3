"""Issues."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    IssueContent,
    IssueCreated,
    IssueCreatedContent,
    IssueUpdated,
)

FULL: tuple[Event, ...] = (
    IssueCreated(
        issue_id="iss1",
        experiment_id="17",
        status="pending",
        severity="high",
        source_run_id="r1",
        content=IssueCreatedContent(
            name="Wrong tongue",
            description=ClaimCheck(digest="sha256:" + "ab" * 32, size_bytes=300_000),
            root_causes='["no prompt"]',
            categories='["language"]',
            created_by="ann",
        ),
    ),
    IssueUpdated(
        issue_id="iss1",
        status="resolved",
        severity="low",
        content=IssueContent(name="Tongue", description="Answers in another language."),
    ),
)
