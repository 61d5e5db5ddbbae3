"""Issues as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from mlflow.entities.issue import Issue, IssueSeverity, IssueStatus
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_ISSUES_DEFAULT_MAX_RESULTS
from mlflow.utils.search_utils import SearchIssuesUtils

from mlflow_ledger.query import (
    Filter,
    IssueRow,
    IssueSearch,
    count_issues,
    find_issues,
    issue_row,
    run_row,
)
from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    IssueContent,
    IssueCreated,
    IssueCreatedContent,
    IssueMetadata,
    IssueUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore
from .experiments import check_max_results, experiment_no, seen_experiment
from .issue_fields import category_hashes, check_fields, issue_orders, issue_page, known_of
from .items import of_experiment
from .runs import existing_run

__all__ = ["Issues"]

_CLAIM_BYTES = 64 * 1024
"""From here on a text travels apart: four of them go into one event, whatever they are."""

_ENTRY_CLAIM_BYTES = 1024
"""From here on a value of metadata travels apart: there may be a hundred."""


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
        *,
        issue_id: str | None = None,
        last_seen_timestamp: int | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Issue:
        """Create an issue of an experiment."""
        newer = check_fields(
            name=name,
            status=status,
            severity=severity,
            categories=categories,
            metadata=metadata,
            last_seen_timestamp=last_seen_timestamp,
            issue_id=issue_id,
            created_by=created_by,
        )
        if newer:
            status = IssueStatus(status)
            severity = None if severity is None else IssueSeverity(severity)
        identity = issue_id or f"iss-{uuid.uuid4().hex}"
        content = IssueCreatedContent(
            name=self._issue_text(name),
            description=self._issue_text(description),
            root_causes=self._issue_text(json.dumps(root_causes) if root_causes else None),
            categories=self._issue_text(json.dumps(categories) if categories else None),
            created_by=created_by,
            category_hashes=category_hashes(categories),
            metadata=self._metadata(metadata),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            number = seen_experiment(db, experiment_id)
            event = IssueCreated(
                issue_id=identity,
                experiment_id=str(number),
                status=status.value,
                severity=severity.value if severity else None,
                source_run_id=source_run_id,
                last_seen_ms=last_seen_timestamp,
                content=content,
            )
            if issue_row(db, identity) is not None:
                raise Refused(Reason.EXISTS, "Issue ID already exists", event)
            if name is None or description is None:
                raise Refused(Reason.BAD_REQUEST, "An issue has a name and a description.", event)
            if source_run_id is not None:
                _check_source(db, event, source_run_id, newer=newer)
            return [event]

        return self._issue_of(self._decide_and_ask(decide, lambda db: _existing(db, identity)))

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
        *,
        categories: list[str] | None = None,
        last_seen_timestamp: int | None = None,
        last_updated_by: str | None = None,
        metadata: dict[str, str] | None = None,
        delete_metadata_keys: list[str] | None = None,
    ) -> Issue:
        """Change what is given; metadata key by key, and no observation moves it back."""
        if check_fields(
            name=name,
            status=status,
            severity=severity,
            categories=categories,
            metadata=metadata,
            last_seen_timestamp=last_seen_timestamp,
            delete_metadata_keys=delete_metadata_keys,
            last_updated_by=last_updated_by,
        ):
            status = None if status is None else IssueStatus(status)
            severity = None if severity is None else IssueSeverity(severity)
        attempt = IssueUpdated(issue_id=issue_id)
        content = IssueContent(
            name=self._issue_text(name),
            description=self._issue_text(description),
            categories=self._issue_text(_categories_text(categories)),
            category_hashes=category_hashes(categories),
            metadata=self._metadata({} if delete_metadata_keys and metadata is None else metadata),
            metadata_deleted=delete_metadata_keys,
            last_updated_by=last_updated_by,
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = _existing(db, issue_id, attempt)
            if content.metadata:
                known = row.fields.get("metadata", {}).keys() - set(delete_metadata_keys or ())
                check_fields(metadata=dict.fromkeys(known | (metadata or {}).keys(), ""))
            update = {
                "status": None if status is None else status.value,
                "severity": None if severity is None else severity.value,
                "last_seen_ms": last_seen_timestamp,
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
        *,
        name: str | None = None,
        statuses: list[str] | None = None,
        severities: list[str] | None = None,
        categories: list[str] | None = None,
        order_by: list[str] | None = None,
        include_total_count: bool = False,
        view: Literal["basic", "full"] | None = None,
    ) -> PagedList[Issue]:
        """A page of the issues that match, the most severe first where no order is asked for."""
        check_max_results(max_results, allow_null=True)
        size = SEARCH_ISSUES_DEFAULT_MAX_RESULTS if max_results is None else max_results
        page = issue_page(
            page_token,
            {
                "name": name,
                "statuses": statuses,
                "severities": severities,
                "categories": categories,
                "order_by": order_by,
                "include_total_count": include_total_count,
                "view": view,
            },
            plain={
                "experiment_id": experiment_id,
                "filter_string": filter_string,
                "include_trace_count": include_trace_count,
            },
        )
        search = IssueSearch(
            parent=None if experiment_id is None else of_experiment(experiment_no(experiment_id)),
            filters=[
                Filter(parsed["type"], parsed["key"], parsed["comparator"], parsed["value"])
                for parsed in SearchIssuesUtils.parse_search_filter(filter_string)
            ],
            all_severities=[severity.value for severity in IssueSeverity],
            by_trace_count=include_trace_count,
            name=name,
            statuses=statuses or (),
            severities=severities or (),
            category_hashes=category_hashes(categories) or (),
            categories=[category.strip().lower() for category in categories or ()],
            orders=issue_orders(order_by or ()),
            after=page.after,
        )

        def ask(db: sqlite3.Connection) -> tuple[list[IssueRow], int | None]:
            total = count_issues(db, search) if include_total_count else None
            return find_issues(db, search, size + 1, page.offset), total

        rows, total = self._ask(ask)
        token = page.following(size, rows[size - 1].keys) if len(rows) > size else None
        issues = [
            self._issue_of(row, counted=include_trace_count, basic=view == "basic")
            for row in rows[:size]
        ]
        counted = {} if total is None else {"total_count": total}
        return PagedList(issues, token, **counted)

    def _issue_text(self, text: str | None) -> str | ClaimCheck | None:
        # What is no text the event refuses, and names.
        return self._travelling(text, _CLAIM_BYTES) if isinstance(text, str) else text

    def _metadata(self, metadata: dict[str, str] | None) -> list[IssueMetadata] | None:
        if metadata is None:
            return None
        return [
            IssueMetadata(key=key, value=self._travelling(value, _ENTRY_CLAIM_BYTES))
            for key, value in metadata.items()
        ]

    def _issue_of(self, row: IssueRow, *, counted: bool = False, basic: bool = False) -> Issue:
        fields = row.fields
        created_by = fields.get("created_by")
        metadata = None if basic else fields.get("metadata")
        newer = known_of(
            last_seen_timestamp=fields.get("last_seen_ms", row.created_ms),
            last_updated_by=fields.get("last_updated_by", created_by),
            metadata=metadata and {key: self._arrived(metadata[key]) for key in metadata},
        )
        return Issue(
            issue_id=row.issue_id,
            experiment_id=row.experiment_id,
            name=self._arrived(fields.get("name")) or "",
            description="" if basic else self._arrived(fields.get("description")) or "",
            status=IssueStatus(fields["status"]),
            severity=IssueSeverity(fields["severity"]) if fields.get("severity") else None,
            root_causes=None if basic else self._issue_list(fields.get("root_causes")),
            source_run_id=row.source_run_id,
            categories=self._issue_list(fields.get("categories")) or None,
            created_timestamp=row.created_ms,
            last_updated_timestamp=row.updated_ms,
            created_by=created_by,
            trace_count=row.trace_count if counted else None,
            **newer,
        )

    def _issue_list(self, text: Any) -> list[str] | None:
        found: list[str] | None = json.loads(self._arrived(text) or "null")
        return found


def _categories_text(categories: Sequence[str] | None) -> str | None:
    """Categories as JSON, each once; none at all where they are cleared."""
    return None if categories is None else json.dumps(list(dict.fromkeys(categories)))


def _check_source(db: sqlite3.Connection, event: IssueCreated, run_id: str, *, newer: bool) -> None:
    run = run_row(db, run_id)
    if not newer:
        if run is None:
            raise Refused(Reason.BAD_REQUEST, f"There is no run {run_id}.", event)
    elif str(existing_run(db, run_id, event).experiment_id) != event.experiment_id:
        raise MlflowException.invalid_parameter_value(
            "Source run must belong to the Issue experiment"
        )


def _existing(db: sqlite3.Connection, issue_id: str, event: Event | None = None) -> IssueRow:
    row = issue_row(db, issue_id)
    if row is None:
        raise Refused(Reason.MISSING, f"Issue with ID '{issue_id}' not found", event)
    return row
