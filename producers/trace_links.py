"""Links from traces to runs and to prompt versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mlflow.entities.model_registry import PromptVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mlflow_ledger.query import trace_links, trace_row
from mlflow_ledger.schemas import (
    Event,
    Reason,
    Refused,
    TracePromptsLinked,
    TraceRunLinked,
    TraceRunUnlinked,
)

from .edge import LedgerStore

__all__ = ["TraceLinks"]

_MOST = 100


class TraceLinks(LedgerStore):
    """Link traces; MLflow does not ask whether trace and run are there, and so do we not."""

    def link_traces_to_run(self, trace_ids: list[str], run_id: str) -> None:
        """Link traces to a run."""
        if len(trace_ids or ()) > _MOST:
            raise MlflowException(
                f"Cannot link more than {_MOST} traces to a run in a single request. "
                f"Provided {len(trace_ids)} traces.",
                INVALID_PARAMETER_VALUE,
            )

        def decide(db: sqlite3.Connection) -> list[Event]:
            there = trace_links(db, trace_ids, "run")
            new = [trace_id for trace_id in trace_ids if (trace_id, run_id) not in there]
            _refuse_twice(new)
            return [TraceRunLinked(trace_id=trace_id, run_id=run_id) for trace_id in new]

        if trace_ids:
            self._decide(decide)

    def unlink_traces_from_run(self, trace_ids: list[str], run_id: str) -> None:
        """Take links to a run away; what is not linked is no error."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            there = trace_links(db, trace_ids, "run")
            return [
                TraceRunUnlinked(trace_id=trace_id, run_id=run_id)
                for trace_id in dict.fromkeys(trace_ids)
                if (trace_id, run_id) in there
            ]

        if trace_ids:
            self._decide(decide)

    def link_prompts_to_trace(self, trace_id: str, prompt_versions: list[PromptVersion]) -> None:
        """Link prompt versions to a trace."""
        prompts = [f"{prompt.name}/{prompt.version}" for prompt in prompt_versions or ()]

        def decide(db: sqlite3.Connection) -> list[Event]:
            event = TracePromptsLinked(trace_id=trace_id, prompts=prompts)
            if trace_row(db, trace_id) is None:
                raise Refused(Reason.MISSING, f"Trace with ID '{trace_id}' not found.", event)
            there = trace_links(db, [trace_id], "prompt_version")
            new = [prompt for prompt in prompts if (trace_id, prompt) not in there]
            _refuse_twice(new)
            return [event.model_copy(update={"prompts": new})] if new else []

        if prompts:
            self._decide(decide)


def _refuse_twice(ids: Sequence[str]) -> None:
    """MLflow's insert fails on what is given twice, unless it is there already."""
    if len(set(ids)) < len(ids):
        raise Refused(Reason.BAD_REQUEST, "the same is given twice")
