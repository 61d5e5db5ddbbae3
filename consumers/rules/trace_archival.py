"""The rule about traces whose spans moved to a file of their own."""

from __future__ import annotations

from mlflow_ledger.schemas import KeyValue, Reason, Refused, TraceArchived

from .context import Context, rule
from .traces import SPANS_LOCATION, refuse_elsewhere, set_pairs

__all__: list[str] = []

_ARCHIVE = "mlflow.trace.archiveLocation"
_FAILURE = "mlflow.trace.archivalFailure"


@rule(TraceArchived)
def _archived(context: Context, event: TraceArchived) -> None:
    """What the file holds is all there is: a trace that went on is not archived."""
    trace_id = event.trace_id
    row = context.row("SELECT status, generation FROM traces WHERE trace_id = ?", trace_id)
    if row is None:
        raise Refused(Reason.MISSING, f"Trace with ID '{trace_id}' not found.")
    refuse_elsewhere(context, trace_id, f"The trace '{trace_id}' is archived already.")
    status, generation = row
    if status == "IN_PROGRESS" or generation != event.generation:
        raise Refused(Reason.STATE, f"The trace '{trace_id}' went on while it was archived.")
    if _has_tag(context, trace_id, _FAILURE):
        raise Refused(Reason.STATE, f"The trace '{trace_id}' is marked as one not to archive.")
    context.write("UPDATE spans SET text = '', excerpt = NULL WHERE trace_id = ?", trace_id)
    places = {SPANS_LOCATION: "ARCHIVE_REPO", _ARCHIVE: event.archive_uri}
    pairs = [KeyValue(key=key, value=value) for key, value in places.items()]
    set_pairs(context, "trace_tags", trace_id, pairs)
    context.retell(trace_id)


def _has_tag(context: Context, trace_id: str, key: str) -> bool:
    sql = "SELECT 1 FROM trace_tags WHERE trace_id = ? AND key = ?"
    return bool(context.row(sql, trace_id, key))
