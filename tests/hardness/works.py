"""What other processes do for tests; each function works on one ledger that stays open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mlflow_ledger.consumers import Analytics, Ledger, open_ledger
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.sql import run_sql
from tests.bus.programs import created, say, tagged

_analytics: dict[Path, Analytics] = {}


def ledger_in(folder: Path) -> Ledger:
    return open_ledger(f"ledger:{folder}")


def analytics_in(folder: Path) -> Analytics:
    if folder not in _analytics:
        _analytics[folder] = Analytics(ledger_in(folder))
    return _analytics[folder]


def write(folder: Path, *runs: str) -> None:
    ledger = ledger_in(folder)
    for run in runs:
        say(ledger, created(run), tagged(run, "t", run))


def runs(folder: Path) -> list[str]:
    """The runs that the state shows, once the log shows as many."""
    found: list[str] = ledger_in(folder).query(
        lambda db: [run for (run,) in db.execute("SELECT run_id FROM runs ORDER BY run_no")]
    )
    return found


def runs_as_of(folder: Path, moment: str) -> tuple[list[str], int]:
    """The runs as of a moment, by the state and by analytics."""
    past = open_ledger(f"ledger:{folder}?as_of={moment}")
    found: list[str] = past.query(
        lambda db: [run for (run,) in db.execute("SELECT run_id FROM runs ORDER BY run_no")]
    )
    return found, int(run_sql(past, "SELECT count(*) FROM runs_latest")[1][0][0])


def overwritten(folder: Path) -> int:
    """How many values of tags the history tells."""
    return int(sql(folder, "SELECT count(*) FROM run_tags_history")[0][0])


def searched(folder: Path) -> int:
    """How many runs analytics show, by the clone that this process keeps."""
    with analytics_in(folder).view() as view:
        (count,) = view.columns.execute("SELECT count(*) FROM fold.runs").fetchone() or (0,)
    return int(count)


def sql(folder: Path, statement: str) -> list[Any]:
    return run_sql(ledger_in(folder), statement)[1]


def publish(folder: Path) -> bool:
    return analytics_in(folder).publish() is not None


def put(folder: Path, data: bytes) -> str:
    return ledger_in(folder).blobs.put(data)[0]


def get(folder: Path, digest: str) -> bytes:
    return ledger_in(folder).blobs.get(digest)


def close(folder: Path) -> None:
    if folder in _analytics:
        _analytics.pop(folder).close()
    ledger_in(folder).close()


def command(*arguments: str) -> tuple[int, str]:
    """A command of the program, as far as it goes in this process."""
    result = CliRunner().invoke(program, arguments)
    return result.exit_code, result.output


def rebuild(folder: Path) -> None:
    ledger_in(folder).rebuild()


def warm_up(folder: Path) -> None:
    """Do everything once."""
    write(folder, "r")
    put(folder, b"")
    publish(folder)
    sql(folder, "SELECT * FROM runs_latest")
    for name in ("log", "audit", "verify", "stats"):
        command(name, f"ledger://{folder}")
    command("lineage", f"ledger://{folder}", "runs:/r")
    command("log", "ledger:///nowhere")
    close(folder)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """What is in a folder: sizes and times of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
    }


def identity() -> int:
    return os.getuid()
