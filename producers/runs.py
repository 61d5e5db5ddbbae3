"""Runs, as MLflow's tracking store has them."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow.entities import (
    LifecycleStage,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, _get_run_name_from_tags
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.search_utils import SearchUtils
from mlflow.utils.uri import append_to_uri_path

from mlflow_ledger.bus import without_gc
from mlflow_ledger.consumers import ExperimentFacts, Foreseen
from mlflow_ledger.query import (
    RunRow,
    RunSearch,
    deleted_run_ids,
    find_runs,
    run_details,
    run_row,
    run_rows,
)
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    Reason,
    Refused,
    RunCreated,
    RunCreatedContent,
    RunDeleted,
    RunPurged,
    RunRestored,
    RunUpdated,
    RunUpdatedContent,
)

from .edge import LedgerStore, first, now_ms, start_offset, text, whole
from .entities import run_entity, run_info
from .experiments import active_experiment, check_max_results, experiment_no
from .older_mlflow import parse_experiment_ids
from .run_search import run_filters, run_orders

if TYPE_CHECKING:
    from mlflow_ledger.consumers import RemoteView, View

__all__ = ["Runs", "active_run", "existing_run"]


class Runs(LedgerStore):
    """Create, get, update, search, delete, restore and purge runs."""

    def create_run(
        self,
        experiment_id: str,
        user_id: str | None,
        start_time: int | None,
        tags: Sequence[RunTag] | None,
        run_name: str | None,
    ) -> Run:
        """Start a run in an active experiment."""
        tags = list(tags or ())
        run_id = uuid.uuid4().hex

        def event_in(experiment: ExperimentFacts) -> RunCreated:
            name = _run_name(tags, run_name)
            if not _get_run_name_from_tags(tags):
                tags.append(RunTag(MLFLOW_RUN_NAME, name))
            _check_given("user_id", user_id)
            _check_given("start_time", start_time)
            return _run_created(run_id, experiment, name, user_id, start_time, tags)

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = active_experiment(db, experiment_id)
            return [event_in(ExperimentFacts(row.experiment_id, row.epoch, row.artifact_location))]

        number = experiment_no(experiment_id)
        facts = self._ledger.known.experiment(number)
        foreseen = Foreseen(
            [event_in(facts)] if facts else [],
            lambda known: facts is not None and known.experiment(number) == facts,
            lambda known, state: known.look_at_new_run(state, number, run_id),
        )
        event = first(self._decide(decide, foreseen))
        assert isinstance(event, RunCreated)
        assert event.content is not None
        info = RunInfo(
            run_id=run_id,
            run_name=event.content.name,
            experiment_id=str(experiment_id),
            user_id=user_id or "",
            status=RunStatus.to_string(RunStatus.RUNNING),
            start_time=event.start_time_ms or 0,
            end_time=None,
            lifecycle_stage=LifecycleStage.ACTIVE,
            artifact_uri=event.artifact_uri,
        )
        return Run(info, RunData(tags=tags), RunInputs(dataset_inputs=[]))

    def get_run(self, run_id: str) -> Run:
        """A run with its data, inputs and outputs."""

        def question(db: sqlite3.Connection) -> Run:
            row = existing_run(db, run_id)
            return run_entity(row, run_details(db, [row.run_no]), self._arrived)

        run: Run = self._ask(question)
        return run

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """Change status, end time or name; what is None, or an empty name, stays."""
        attempt = RunUpdated(run_id=run_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            active_run(db, run_id, attempt)
            update = {
                "status": None if run_status is None else RunStatus.to_string(run_status),
                "end_time_ms": whole(end_time),
                "content": RunUpdatedContent(name=run_name) if run_name else None,
            }
            return [attempt.model_copy(update=update)]

        return run_info(self._decide_and_ask(decide, lambda db: existing_run(db, run_id)))

    def delete_run(self, run_id: str) -> None:
        """Soft-delete a run; deleting it again moves its time of deletion."""
        self._decide(
            lambda db: [RunDeleted(run_id=run_id, experiment_epoch=_epoch(db, run_id, RunDeleted))]
        )

    def restore_run(self, run_id: str) -> None:
        """Restore a run."""
        self._decide(
            lambda db: [
                RunRestored(run_id=run_id, experiment_epoch=_epoch(db, run_id, RunRestored))
            ]
        )

    def _hard_delete_run(self, run_id: str) -> None:
        """Delete a run for good, with all that was logged to it (``mlflow gc``)."""
        event = RunPurged(run_id=run_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_run(db, run_id, event)
            return [event]

        self._decide(decide)

    def _get_deleted_runs(self, older_than: int = 0) -> list[str]:
        """The ids of runs that were deleted at least ``older_than`` milliseconds ago."""
        before_ms = now_ms() - older_than
        ids: list[str] = self._ask(lambda db: deleted_run_ids(db, before_ms))
        return ids

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int | None,
        order_by: list[str] | None,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        """A page of the runs that match, and the token of the next page."""
        check_max_results(max_results, allow_null=True)
        stages = LifecycleStage.view_type_to_stages(run_view_type or ViewType.ACTIVE_ONLY)
        parsed = SearchUtils.parse_search_filter(filter_string)
        orders = run_orders(order_by)
        filters = run_filters(parsed)
        offset = start_offset(page_token)
        search = RunSearch(
            experiment_ids=[whole(n) or 0 for n in parse_experiment_ids(list(experiment_ids))],
            lifecycles=stages,
            filters=filters,
            orders=orders,
            limit=None if max_results is None else max_results + 1,
            offset=offset,
        )

        def page(view: View | RemoteView) -> tuple[list[Run], str | None]:
            numbers = find_runs(view, search)
            token = None
            if max_results is not None and len(numbers) > max_results:
                token = SearchUtils.create_page_token(offset + max_results)
                numbers = numbers[:max_results]
            with without_gc():
                details = run_details(view.keyed, numbers)
                runs = [
                    run_entity(row, details, self._arrived, inputs=False)
                    for row in run_rows(view.keyed, numbers)
                ]
            return runs, token

        return self._analytics.query(page)


def existing_run(db: sqlite3.Connection, run_id: str, event: Event | None = None) -> RunRow:
    """A run, deleted or not.

    Raises:
        Refused: there is none; ``event`` is what would have been said.
    """
    row = run_row(db, run_id)
    if row is None:
        raise Refused(Reason.MISSING, f"Run with id={run_id} not found", event)
    return row


def active_run(db: sqlite3.Connection, run_id: str, event: Event | None = None) -> RunRow:
    """A run that is not deleted.

    Raises:
        Refused: there is none, or it is deleted; ``event`` is what would have been said.
    """
    row = existing_run(db, run_id, event)
    if row.lifecycle != LifecycleStage.ACTIVE:
        raise Refused(
            Reason.INVALID,
            f"The run {run_id} must be in the 'active' state. Current state is {row.lifecycle}.",
            event,
        )
    return row


def _epoch(db: sqlite3.Connection, run_id: str, kind: type[RunDeleted | RunRestored]) -> int:
    return existing_run(db, run_id, kind(run_id=run_id)).experiment_epoch


def _run_created(
    run_id: str,
    experiment: ExperimentFacts,
    name: str,
    user_id: str | None,
    start_time: int | None,
    tags: Sequence[RunTag],
) -> RunCreated:
    event = RunCreated(
        run_id=run_id,
        experiment_id=str(experiment.experiment_id),
        experiment_epoch=experiment.epoch,
        start_time_ms=whole(start_time),
        artifact_uri=append_to_uri_path(experiment.artifact_location, run_id, "artifacts"),
        content=RunCreatedContent(
            name=name,
            user_id=user_id,
            tags=[KeyValue(key=tag.key, value=text(tag.value)) for tag in tags],
        ),
    )
    if len({tag.key for tag in tags}) < len(tags):
        raise Refused(Reason.BAD_REQUEST, "a tag is given twice", event)
    return event


def _run_name(tags: Sequence[RunTag], run_name: str | None) -> str:
    from_tags = _get_run_name_from_tags(tags)
    if run_name and from_tags and run_name != from_tags:
        raise MlflowException(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
            f"different values (run_name='{run_name}', mlflow.runName='{from_tags}').",
            INVALID_PARAMETER_VALUE,
        )
    name: str = run_name or from_tags or _generate_random_name()
    return name


def _check_given(name: str, value: object) -> None:
    if value is None:
        raise MlflowException(f"{name} cannot be None", INTERNAL_ERROR)
