"""Issues as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from typing import Any

from mlflow.entities.issue import Issue, IssueSeverity, IssueStatus
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_ISSUES_DEFAULT_MAX_RESULTS
from mlflow.utils.search_utils import SearchIssuesUtils

from mlflow_ledger.query import Filter, IssueRow, find_issues, issue_row, run_row
from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    IssueContent,
    IssueCreated,
    IssueCreatedContent,
    IssueUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore, start_offset
from .experiments import check_max_results, experiment_no, seen_experiment
from .items import of_experiment

__all__ = ["Issues"]

_CLAIM_BYTES = 64 * 1024
"""From here on a text travels apart: four of them go into one event, whatever they are."""


class Issues(LedgerStore):
    """Create, get, change and search what was found wrong in traces."""

    def create_issue(
        self,
        experiment_id: str,
        name: str,
        description: str,
        status: IssueStatus = IssueStatus.PENDING,
        severity: IssueSeverity | None = None,
        root_causes: list[str] | None = None,
        source_run_id: str | None = None,
        categories: list[str] | None = None,
        created_by: str | None = None,
    ) -> Issue:
        """Create an issue of an experiment."""
        issue_id = f"iss-{uuid.uuid4().hex}"
        content = IssueCreatedContent(
            name=self._issue_text(name),
            description=self._issue_text(description),
            root_causes=self._issue_text(json.dumps(root_causes) if root_causes else None),
            categories=self._issue_text(json.dumps(categories) if categories else None),
            created_by=created_by,
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            number = seen_experiment(db, experiment_id)
            event = IssueCreated(
                issue_id=issue_id,
                experiment_id=str(number),
                status=status.value,
                severity=severity.value if severity else None,
                source_run_id=source_run_id,
                content=content,
            )
            if name is None or description is None:
                raise Refused(Reason.BAD_REQUEST, "An issue has a name and a description.", event)
            if source_run_id is not None and run_row(db, source_run_id) is None:
                raise Refused(Reason.BAD_REQUEST, f"There is no run {source_run_id}.", event)
            return [event]

        return self._issue_of(self._decide_and_ask(decide, lambda db: _existing(db, issue_id)))

    def get_issue(self, issue_id: str) -> Issue:
        """An issue by its id."""
        return self._issue_of(self._ask(lambda db: _existing(db, issue_id)))

    def update_issue(
        self,
        issue_id: str,
        status: IssueStatus | None = None,
        name: str | None = None,
        description: str | None = None,
        severity: IssueSeverity | None = None,
    ) -> Issue:
        """Change what is given."""
        attempt = IssueUpdated(issue_id=issue_id)
        content = IssueContent(
            name=self._issue_text(name), description=self._issue_text(description)
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, issue_id, attempt)
            update = {
                "status": None if status is None else status.value,
                "severity": None if severity is None else severity.value,
                "content": content,
            }
            return [attempt.model_copy(update=update)]

        return self._issue_of(self._decide_and_ask(decide, lambda db: _existing(db, issue_id)))

    def search_issues(
        self,
        experiment_id: str | None = None,
        filter_string: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
        include_trace_count: bool = False,
    ) -> PagedList[Issue]:
        """A page of the issues that match, the most severe first."""
        check_max_results(max_results, allow_null=True)
        size = SEARCH_ISSUES_DEFAULT_MAX_RESULTS if max_results is None else max_results
        offset = start_offset(page_token)
        parent = None if experiment_id is None else of_experiment(experiment_no(experiment_id))
        filters = [
            Filter(parsed["type"], parsed["key"], parsed["comparator"], parsed["value"])
            for parsed in SearchIssuesUtils.parse_search_filter(filter_string)
        ]
        rows = self._ask(
            lambda db: find_issues(
                db,
                parent,
                filters,
                [severity.value for severity in IssueSeverity],
                size + 1,
                offset,
                by_trace_count=include_trace_count,
            )
        )
        token = SearchIssuesUtils.create_page_token(offset + size) if len(rows) > size else None
        issues = [self._issue_of(row, counted=include_trace_count) for row in rows[:size]]
        return PagedList(issues, token)

    def _issue_text(self, text: str | None) -> str | ClaimCheck | None:
        # What is no text the event refuses, and names.
        return self._travelling(text, _CLAIM_BYTES) if isinstance(text, str) else text

    def _issue_of(self, row: IssueRow, *, counted: bool = False) -> Issue:
        fields = row.fields
        return Issue(
            issue_id=row.issue_id,
            experiment_id=row.experiment_id,
            name=self._arrived(fields.get("name")) or "",
            description=self._arrived(fields.get("description")) or "",
            status=IssueStatus(fields["status"]),
            severity=IssueSeverity(fields["severity"]) if fields.get("severity") else None,
            root_causes=self._issue_list(fields.get("root_causes")),
            source_run_id=row.source_run_id,
            categories=self._issue_list(fields.get("categories")),
            created_timestamp=row.created_ms,
            last_updated_timestamp=row.updated_ms,
            created_by=fields.get("created_by"),
            trace_count=row.trace_count if counted else None,
        )

    def _issue_list(self, text: Any) -> list[str] | None:
        found: list[str] | None = json.loads(self._arrived(text) or "null")
        return found


def _existing(db: sqlite3.Connection, issue_id: str, event: Event | None = None) -> IssueRow:
    row = issue_row(db, issue_id)
    if row is None:
        raise Refused(Reason.MISSING, f"Issue with ID '{issue_id}' not found", event)
    return row
