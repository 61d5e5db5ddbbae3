"""``python -m benchmarks``: run them and show the table."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from .sizes import FULL, QUICK, Sizes

if TYPE_CHECKING:
    from .bench import Bench
    from .brokers import Brokers
    from .postgres import Postgres
    from .report import Report
    from .rows import Row

# MLflow reads these when it is imported, here and in the writer processes.
_ENVIRONMENT = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}
_GROUPS = (
    "singles", "creates", "batches", "writers", "searches", "pandas", "history", "disk", "signing",
    "past", "large", "past-large",
    "trace-writes", "trace-searches",
    "kafka-singles", "kafka-decisions", "kafka-writers", "kafka-folds", "kafka-lag", "kafka-reads",
    "kafka-cold", "kafka-serve",
)  # fmt: skip
_TERMINAL_WIDTH = 170


def _sizes(
    _context: click.Context, _parameter: click.Parameter, settings: Sequence[str]
) -> dict[str, Any]:
    """What ``--set NAME=NUMBER`` says."""
    names = {field.name: field.type for field in fields(Sizes)}
    changed: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in names:
            raise click.BadParameter(f"{name!r} is none of {', '.join(names)}")
        try:
            changed[name] = float(value) if names[name] == "float" else int(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no number") from None
    return changed


@click.command()
@click.option("--quick", is_flag=True, help="A small run in about a minute.")
@click.option("--large", is_flag=True, help="Also questions to large stores.")
@click.option(
    "--kafka/--no-kafka", default=None, help="Only the rows of a ledger in Kafka, or none of them."
)
@click.option("--only", multiple=True, type=click.Choice(_GROUPS), help="Only these rows.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")
@click.option("--write", type=click.Path(path_type=Path, dir_okay=False), help="Write a page.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the stores are made and removed again; the temporary folder if not given.",
)
@click.option(
    "--set", "changed", multiple=True, callback=_sizes, metavar="NAME=NUMBER",
    help="Change one size of the run, such as runs=2000.",
)  # fmt: skip
def main(
    quick: bool,
    large: bool,
    kafka: bool | None,
    only: Sequence[str],
    as_json: bool,
    write: Path | None,
    folder: Path | None,
    changed: dict[str, Any],
) -> None:
    """Compare the ledger, in a folder and in Kafka, with MLflow's own stores, in one run."""
    sizes = replace(QUICK if quick else FULL, **changed)
    groups = wanted(only, large=large, kafka=kafka)
    page = write.absolute() if write is not None else None
    os.environ.update(_ENVIRONMENT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parent = (folder or Path(tempfile.gettempdir())).absolute()
    report = _run(parent, sizes, groups, quick=quick)
    if page is not None:
        page.write_text(report.markdown(), "utf-8")
    if as_json:
        print(report.json())
    else:
        console = Console()
        report.print(console if console.is_terminal else Console(width=_TERMINAL_WIDTH))


def wanted(only: Sequence[str], *, large: bool, kafka: bool | None) -> list[str]:
    """The groups of rows that were asked for, in their order."""
    if only:
        return [group for group in _GROUPS if group in only]
    return [
        group
        for group in _GROUPS
        if kafka in (None, group.startswith("kafka-")) and (not group.endswith("large") or large)
    ]


def _run(parent: Path, sizes: Sizes, groups: Sequence[str], *, quick: bool) -> Report:
    """All groups of rows, one after the other."""
    from . import machine, stores
    from .bench import Bench
    from .report import Report

    logging.getLogger("alembic").setLevel(logging.ERROR)
    skipped: list[str] = []
    with ExitStack() as stack:
        folder = stack.enter_context(_work_folder(parent))
        postgres = _postgres(stack, parent, skipped)
        brokers = None
        if any(group.startswith("kafka-") for group in groups):
            brokers = _brokers(stack, parent, folder, skipped)
            groups = [g for g in groups if brokers is not None or not g.startswith("kafka-")]
        no_files = stores.file_store_works(folder)
        if no_files is not None:
            _skip(skipped, "MLflow's file store", no_files)
        made = stores.Stores(folder, postgres, brokers, files=no_files is None)
        stack.callback(made.close)
        found = machine.facts(folder, postgres.version() if postgres else None)
        found |= brokers.facts() if brokers is not None else {"Kafka": "none"}
        bench = Bench(sizes, made)
        rows: list[Row] = []
        for group in groups:
            rows += _group(group)(bench)
            made.let_go()
        bench.say("done")
    return Report(rows, found, skipped, quick=quick)


def _group(name: str) -> Callable[[Bench], list[Row]]:
    from . import (
        disk,
        kafka_reads,
        kafka_replicas,
        kafka_services,
        kafka_writes,
        past,
        searches,
        signing,
        traces,
        writers,
        writes,
    )

    return {
        "singles": writes.singles,
        "creates": writes.creates,
        "batches": writes.batches,
        "writers": writers.writers,
        "searches": searches.searches,
        "pandas": searches.tables,
        "history": searches.histories,
        "disk": disk.disk,
        "signing": signing.signing,
        "past": past.past,
        "past-large": past.large_past,
        "large": searches.large_searches,
        "trace-writes": traces.trace_writes,
        "trace-searches": traces.trace_searches,
        "kafka-singles": kafka_writes.singles,
        "kafka-decisions": kafka_writes.decisions,
        "kafka-writers": kafka_writes.writers,
        "kafka-folds": kafka_replicas.folds,
        "kafka-lag": kafka_replicas.lags,
        "kafka-reads": kafka_reads.reads,
        "kafka-cold": kafka_replicas.cold_starts,
        "kafka-serve": kafka_services.starts,
    }[name]


def _postgres(stack: ExitStack, parent: Path, skipped: list[str]) -> Postgres | None:
    from .postgres import PostgresMissing, running_postgres

    try:
        return stack.enter_context(running_postgres(parent))
    except PostgresMissing as error:
        _skip(skipped, "PostgreSQL", str(error))
        return None


def _brokers(stack: ExitStack, parent: Path, folder: Path, skipped: list[str]) -> Brokers | None:
    from .brokers import HOME, KafkaMissing, environment, running_brokers

    try:
        brokers = stack.enter_context(running_brokers(parent))
    except KafkaMissing as error:
        _skip(skipped, "a ledger in Kafka", str(error))
        return None
    stack.enter_context(environment({HOME: str(folder / "hosts" / "this")}))
    return brokers


def _skip(skipped: list[str], peer: str, reason: str) -> None:
    skipped.append(f"{peer}: {reason}")
    print(f"*** {peer} IS NOT MEASURED: {reason} ***", file=sys.stderr, flush=True)


@contextmanager
def _work_folder(parent: Path) -> Iterator[Path]:
    """A folder for all stores and clones; MLflow makes its own folders where a program runs."""
    before = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="mlflow-ledger-bench-", dir=parent))
    clones = folder / "temporary"
    clones.mkdir()
    tempfile.tempdir = str(clones)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
