"""Workspaces."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    WorkspaceContent,
    WorkspaceCreated,
    WorkspaceDeleted,
    WorkspaceUpdated,
)

FULL: tuple[Event, ...] = (
    WorkspaceCreated(
        name="team-a",
        default_artifact_root="s3://team-a",
        trace_archival_location="s3://team-a/traces",
        trace_archival_retention="30d",
        content=WorkspaceContent(description="What team A does"),
    ),
    WorkspaceUpdated(
        name="team-a",
        default_artifact_root="s3://team-b",
        trace_archival_location="s3://team-b/traces",
        trace_archival_retention="12h",
        cleared=["trace_archival_retention"],
        content=WorkspaceContent(description="What team A did"),
    ),
    WorkspaceDeleted(name="team-a", mode="RESTRICT"),
)
