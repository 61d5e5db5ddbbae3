"""Archiving traces as MLflow's scheduler asks for it: old ones, or those that a tag names."""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mlflow.exceptions import MlflowException
from mlflow.tracing.constant import TraceTagKey
from mlflow.utils.uri import append_to_uri_path

from mlflow_ledger.query import (
    ArchivalCandidate,
    ArchivalPayload,
    archival_candidates,
    archival_generation,
    archival_payload,
    archival_rest,
    archival_tags,
    experiment_row,
)
from mlflow_ledger.schemas import (
    Event,
    ExperimentTagDeleted,
    LedgerError,
    Refused,
    TraceArchived,
    TraceTagSet,
    TraceTagSetContent,
)

from .edge import LedgerStore, now_ms
from .trace_archive import Malformed, discard_archived, in_otlp, put_archived
from .traces import trace_artifacts

__all__ = ["TraceArchival"]

_logger = logging.getLogger(__name__)


class _Request(NamedTuple):
    """An experiment whose tag asks to archive its traces now, those until a time or all."""

    experiment_id: str
    tag: str
    until_ms: int | None


class TraceArchival(LedgerStore):
    """Move the spans of traces out of the ledger into files of their own."""

    @property
    def supports_trace_archival(self) -> bool:
        """MLflow's server may run its scheduler on this store."""
        return True

    def archive_traces(
        self,
        *,
        resolved_trace_archival_location: str,
        broader_retention: str,
        long_retention_allowlist: set[str] | list[str] | None = None,
        max_traces_per_pass: int | None = None,
    ) -> int:
        """Archive the traces that are old enough; returns how many there were."""
        location, retention = _checked(
            resolved_trace_archival_location, broader_retention, max_traces_per_pass
        )
        allowlist = {str(experiment_id) for experiment_id in long_retention_allowlist or ()}
        at_ms = now_ms()

        def plan(db: sqlite3.Connection) -> tuple[list[_Request], list[ArchivalCandidate]]:
            return _plan(db, at_ms, retention, allowlist, max_traces_per_pass)

        requests, candidates = self._ask(plan)
        unfinished: set[str] = set()
        archived = 0
        try:
            for candidate in candidates[:max_traces_per_pass]:
                try:
                    archived += self._archive(candidate.trace_id, location)
                except (MlflowException, LedgerError):
                    _logger.warning(
                        "Failed to archive trace %s; leaving it eligible for retry.",
                        candidate.trace_id,
                        exc_info=True,
                    )
                    unfinished.add(candidate.experiment_id)
        finally:
            for request in requests:
                if request.experiment_id not in unfinished:
                    self._clear_request(request)
        return archived

    def _archive(self, trace_id: str, location: str) -> bool:
        """Whether a trace was archived; it was not where its spans changed meanwhile."""
        payload: ArchivalPayload | None = self._ask(lambda db: archival_payload(db, trace_id))
        if payload is None:
            return False
        try:
            data = in_otlp([self._arrived(text) or "" for text in payload.texts])
        except Malformed:
            _logger.warning("Marking trace %s as MALFORMED_TRACE during archival.", trace_id)
            self._mark_malformed(trace_id, payload.generation)
            return False
        place = trace_artifacts(append_to_uri_path(location, payload.experiment_id), trace_id)
        try:
            put_archived(place, data)
            done = self._say_archived(trace_id, place, payload.generation)
        except Exception as error:
            discard_archived(trace_id, place)
            if isinstance(error, MlflowException | LedgerError):
                raise
            raise MlflowException(f"Trace archival to {place} failed: {error}") from error
        if not done:
            discard_archived(trace_id, place)
        return done

    def _say_archived(self, trace_id: str, place: str, generation: int) -> bool:
        event = TraceArchived(trace_id=trace_id, archive_uri=place, generation=generation)

        def decide(db: sqlite3.Connection) -> list[Event]:
            return [event] if archival_generation(db, trace_id) == generation else []

        try:
            return bool(self._decide(decide))
        except Refused:  # another host was first
            return False

    def _mark_malformed(self, trace_id: str, generation: int) -> None:
        event = TraceTagSet(
            trace_id=trace_id,
            tag=TraceTagKey.ARCHIVAL_FAILURE,
            content=TraceTagSetContent(value="MALFORMED_TRACE"),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            return [event] if archival_generation(db, trace_id) == generation else []

        self._decide(decide)

    def _clear_request(self, request: _Request) -> None:
        """Delete the tag that asked, unless it says something else now or more is to be done."""
        from mlflow.tracing.constant import TraceExperimentTagKey

        number, tag = int(request.experiment_id), TraceExperimentTagKey.ARCHIVE_NOW
        rest = self._ask(lambda db: archival_rest(db, request.experiment_id, request.until_ms))
        if rest.archivable or rest.open:
            return
        if rest.unmarked:
            _logger.warning(
                "Clearing archive-now request %r on experiment %s. Some matching traces still "
                "remain in the tracking store but are not currently archivable and are not marked "
                "with an archival failure.",
                request.tag,
                request.experiment_id,
            )

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = experiment_row(db, number)
            if row is None or dict(row.tags).get(tag) != request.tag:
                return []
            return [ExperimentTagDeleted(experiment_id=request.experiment_id, tag=tag)]

        self._decide(decide)


def _checked(location: str, retention: str, most: int | None) -> tuple[str, str]:
    """MLflow's checks of what archival is asked for; location and retention as it reads them."""
    from mlflow.utils.validation import (
        _validate_trace_archival_location,
        _validate_trace_archival_retention_string,
    )

    if most is not None and most <= 0:
        raise MlflowException.invalid_parameter_value(
            f"`max_traces_per_pass` must be a positive integer, received {most}."
        )
    if not location:
        raise MlflowException.invalid_parameter_value(
            "`resolved_trace_archival_location` must be provided."
        )
    checked = _validate_trace_archival_location(
        location, parameter_name="resolved_trace_archival_location"
    )
    if not retention:
        raise MlflowException.invalid_parameter_value("`broader_retention` must be provided.")
    return checked, _validate_trace_archival_retention_string(
        retention, parameter_name="broader_retention"
    )


def _plan(
    db: sqlite3.Connection, at_ms: int, retention: str, allowlist: set[str], most: int | None
) -> tuple[list[_Request], list[ArchivalCandidate]]:
    """What tags ask for, and the traces to archive: what is asked for first, the oldest first."""
    from mlflow.store.tracking.utils.trace_archival import (
        _ArchiveNowRequest,
        _parse_trace_archival_duration_millis,
        _resolve_effective_trace_archival_retention,
    )
    from mlflow.tracing.constant import TraceExperimentTagKey

    keys = (TraceExperimentTagKey.ARCHIVE_NOW, TraceExperimentTagKey.ARCHIVAL_RETENTION)
    requests: list[_Request] = []
    asked: dict[int | None, list[str]] = defaultdict(list)
    regular: dict[int | None, list[str]] = defaultdict(list)
    for experiment_id, tags in archival_tags(db, keys):
        kept = _resolve_effective_trace_archival_retention(
            experiment_id=experiment_id,
            experiment_tags=tags,
            broader_retention=retention,
            long_retention_allowlist=allowlist,
        )
        kept_ms = _parse_trace_archival_duration_millis(kept) or 0
        now = _ArchiveNowRequest.from_tag_value(tags.get(TraceExperimentTagKey.ARCHIVE_NOW))
        if now is not None:
            older_ms = now.older_than_millis
            until_ms = None if older_ms is None else at_ms - older_ms
            requests.append(_Request(experiment_id, tags[keys[0]], until_ms))
            asked[until_ms].append(experiment_id)
            if older_ms is None or older_ms <= kept_ms:
                continue
        if kept_ms:
            regular[at_ms - kept_ms].append(experiment_id)
    found = [_oldest(db, groups, most) for groups in (asked, regular)]
    return requests, list(dict.fromkeys(found[0] + found[1]))


def _oldest(
    db: sqlite3.Connection, groups: Mapping[int | None, Iterable[str]], most: int | None
) -> list[ArchivalCandidate]:
    found = [
        candidate
        for until_ms, experiment_ids in groups.items()
        for candidate in archival_candidates(db, experiment_ids, until_ms, most)
    ]
    return sorted(found, key=lambda candidate: (candidate.timestamp_ms, candidate.trace_id))[:most]
