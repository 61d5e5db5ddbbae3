"""Issues."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    IssueContent,
    IssueCreated,
    IssueCreatedContent,
    IssueMetadata,
    IssueUpdated,
)

FULL: tuple[Event, ...] = (
    IssueCreated(
        issue_id="iss1",
        experiment_id="17",
        status="pending",
        severity="high",
        source_run_id="r1",
        last_seen_ms=1,
        content=IssueCreatedContent(
            name="Wrong tongue",
            description=ClaimCheck(digest="sha256:" + "ab" * 32, size_bytes=300_000),
            root_causes='["no prompt"]',
            categories='["language"]',
            category_hashes=["ab" * 32],
            metadata=[
                IssueMetadata(key="team", value="tongues"),
                IssueMetadata(
                    key="log", value=ClaimCheck(digest="sha256:" + "cd" * 32, size_bytes=2000)
                ),
            ],
            created_by="ann",
        ),
    ),
    IssueUpdated(
        issue_id="iss1",
        status="resolved",
        severity="low",
        last_seen_ms=2,
        content=IssueContent(
            name="Tongue",
            description="Answers in another language.",
            categories='["language", "style"]',
            category_hashes=["ab" * 32, "ef" * 32],
            metadata=[IssueMetadata(key="team", value="style")],
            metadata_deleted=["log"],
            last_updated_by="ben",
        ),
    ),
)
