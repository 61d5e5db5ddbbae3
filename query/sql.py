"""SQL for the user of the store: one read-only statement over the views of ``views.sql``."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import LedgerError

from .overwritten import HISTORY_VIEWS, load_overwritten

__all__ = ["VIEWS", "SqlError", "run_sql"]

VIEWS = (
    "experiments_latest",
    "runs_latest",
    "live_runs",
    "run_metrics_history",
    "params",
    "metrics",
    "tags",
    "model_versions",
    "audit",
    *HISTORY_VIEWS,
)
"""What a statement can select from."""

_OF_HISTORY = re.compile(rf"\b({'|'.join(HISTORY_VIEWS)})\b", re.IGNORECASE)


class SqlError(LedgerError):
    """A statement that cannot be answered."""


def run_sql(ledger: Ledger, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns and the rows of one statement.

    It runs on a clone of this process's own, which is thrown away: whatever the statement does,
    the ledger stays as it is. It can neither read nor write files, nor load extensions.

    Raises:
        SqlError: not exactly one statement, or DuckDB refuses it.
    """
    from mlflow_ledger.consumers import Analytics, AnalyticsDamaged

    analytics = Analytics(ledger)
    try:
        return analytics.query(lambda view: _answer(ledger, view.columns, statement), catalog=True)
    except AnalyticsDamaged as error:
        raise SqlError(str(error)) from error  # also of a clone built anew: it is the statement
    finally:
        analytics.close()


def _answer(ledger: Ledger, db: Any, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    import duckdb

    from mlflow_ledger.consumers import is_damage

    load_overwritten(ledger, db, asked=bool(_OF_HISTORY.search(statement)))
    db.execute(files(__package__).joinpath("views.sql").read_text("utf-8"))
    _lock_down(db)
    try:
        statements = db.extract_statements(statement)
        if len(statements) != 1:
            msg = f"expected one SQL statement, found {len(statements)}"
            raise SqlError(msg)
        if statements[0].type != duckdb.StatementType.SELECT:
            msg = f"only SELECT is answered here, not {statements[0].type.name}"
            raise SqlError(msg)
        cursor = db.execute(statements[0])
        return [column[0] for column in cursor.description or ()], cursor.fetchall()
    except duckdb.Error as error:
        if is_damage(error):
            raise
        msg = f"{error}\nThe views are {', '.join(VIEWS)}."
        raise SqlError(msg) from error


def _lock_down(db: Any) -> None:
    for setting in (
        "SET python_enable_replacements = false",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        db.execute(setting)
