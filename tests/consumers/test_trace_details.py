"""What the state says twice of a trace says the same, whatever happened to the trace."""

from __future__ import annotations

import json

from mlflow_ledger.consumers import ask_trace_details

from .folding import State
from .test_replay import logged

LONG = 8192


def test_details_are_what_the_tables_hold() -> None:
    told = assessed = 0
    for seed in range(40):
        state = State()
        state.apply(logged(seed, 400)[1])
        for trace_id, experiment_id, timestamp_ms, details in state.rows(
            "SELECT trace_id, experiment_id, timestamp_ms, details FROM traces"
        ):
            try:
                found = ask_trace_details(state.db, trace_id)()
            except ValueError:  # the value of an assessment is no JSON: an event may say anything
                assert details is None
            else:
                assert details is None or json.loads(details) == found
                assert details or len(json.dumps(found, ensure_ascii=False)) > LONG
                told += details is not None
            moved = state.rows(
                "SELECT DISTINCT experiment_id, trace_ms FROM assessments "
                f"WHERE trace_id = '{trace_id}'"
            )
            assert set(moved) <= {(experiment_id, timestamp_ms)}
            assessed += len(moved)
            spans = f"SELECT DISTINCT experiment_id FROM spans WHERE trace_id = '{trace_id}'"
            assert set(state.rows(spans)) <= {(experiment_id,)}
        state.close()
    assert told
    assert assessed
