"""A run's lifecycle as people see it: deleting or restoring its experiment takes it along."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_ledger.consumers import RowChange

from .fields import Entity

__all__ = ["LIFECYCLE", "followed"]

LIFECYCLE = "lifecycle"

_JOINED = """
SELECT run_id, CASE WHEN e.experiment_id IS NULL THEN r.lifecycle
    WHEN e.lifecycle = 'purged' THEN NULL
    WHEN e.epoch > r.epoch THEN e.lifecycle ELSE r.lifecycle END
FROM runs r LEFT JOIN experiments e USING (experiment_id) WHERE
"""


def followed(
    db: sqlite3.Connection,
    rows: Sequence[RowChange],
    changed: Mapping[tuple[Entity, str], tuple[Any, Any]],
) -> Iterator[tuple[tuple[Entity, str], Any]]:
    """What fields are after a change, the lifecycles of runs being those with their experiment.

    ``rows`` are the rows that changed, ``changed`` the fields. A lifecycle may be told that is
    what it was.
    """
    for key, (_, after) in changed.items():
        if (key[0].kind, key[1]) != ("runs", LIFECYCLE):
            yield key, after
    for row in rows:
        now = row.after or row.before or {}
        if row.table == "runs":
            found = db.execute(f"{_JOINED} r.run_id = ?", (now["run_id"],)).fetchone()
            yield (Entity("runs", now["run_id"]), LIFECYCLE), found[1] if found else None
        elif row.table == "experiments" and _moved(row):
            of_it = db.execute(f"{_JOINED} r.experiment_id = ?", (now["experiment_id"],))
            for run_id, lifecycle in of_it:
                yield (Entity("runs", run_id), LIFECYCLE), lifecycle


def _moved(row: RowChange) -> bool:
    """Whether an experiment's lifecycle or epoch changed."""
    sides = (row.before or {}, row.after or {})
    before, after = ((side.get(LIFECYCLE), side.get("epoch")) for side in sides)
    return before != after
