"""Reading data sets from the keyed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

__all__ = ["dataset_summaries"]

_CONTEXT_TAG = "mlflow.data.context"
_MOST = 1000


def dataset_summaries(
    db: sqlite3.Connection, experiment_ids: Sequence[int]
) -> list[tuple[int, str, str, str | None]]:
    """(experiment id, name, digest, context) of the data sets that runs use, each once."""
    return db.execute(
        "SELECT DISTINCT r.experiment_id, i.name, i.digest, "
        "(SELECT t.value ->> 1 FROM json_each(i.tags) t WHERE t.value ->> 0 = ?) "
        "FROM run_inputs i JOIN live_runs r USING (run_no) "
        "WHERE r.experiment_id IN (SELECT value FROM json_each(?)) "
        "ORDER BY 1, 2, 3, 4 LIMIT ?",
        (_CONTEXT_TAG, json.dumps(list(experiment_ids)), _MOST),
    ).fetchall()
