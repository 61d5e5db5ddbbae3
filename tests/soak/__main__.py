"""``python -m tests.soak``: long runs, their figures, and whether what they promise holds."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from .day import Day
from .day import Outcome as DayOutcome
from .day import run as run_day
from .kills import Killing, Outcome
from .kills import run as run_kills
from .watch import percentile

T = TypeVar("T")
_MIB = 1024 * 1024


@click.group()
def main() -> None:
    """Soak a ledger; exits with 1 if anything that it promises does not hold."""


@main.command()
@click.option("--seconds", default=300.0, show_default=True, help="How long at least.")
@click.option("--kills", default=600, show_default=True, help="How many kills.")
@click.option("--loggers", default=8, show_default=True, help="Processes that log.")
@click.option("--searchers", default=2, show_default=True, help="Processes that search.")
@click.option("--log-rate", default=20.0, show_default=True, help="Calls a second of a logger.")
@click.option("--search-rate", default=4.0, show_default=True, help="Calls a second of a searcher.")
@click.option("--longest", default=0.5, show_default=True, help="Seconds that a call may take.")
@click.option(
    "--forgive-starving",
    is_flag=True,
    help="On a machine that others use as well: do "
    "not count the time that a call was ready to run and had no processor.",
)
@click.option("--seed", default=1, show_default=True, help="Of all that is random.")
def kills(
    seconds: float,
    kills: int,
    loggers: int,
    searchers: int,
    log_rate: float,
    search_rate: float,
    longest: float,
    forgive_starving: bool,
    seed: int,
) -> None:
    """Log and search while processes are killed: nothing is lost, nobody waits long."""
    plan = Killing(seconds, kills, loggers, searchers, log_rate, search_rate, seed)
    outcome = _in_folder(lambda folder: run_kills(plan, folder))
    _show_kills(outcome)
    for kind, times in outcome.times.items():
        worst = max(took.wall - took.starved * forgive_starving for took in times)
        if worst > longest:
            outcome.failures.append(f"{kind} took {worst:.3f} s; nothing may take {longest} s")
    _end(outcome.failures)


@main.command()
@click.option("--runs", default=50_000, show_default=True, help="How many runs are logged.")
@click.option("--points", default=5_000_000, show_default=True, help="How many points, in all.")
@click.option("--loggers", default=2, show_default=True, help="Processes that log.")
@click.option("--growth", default=1.1, show_default=True, help="How much a process may grow to.")
@click.option("--seed", default=1, show_default=True, help="Of all that is random.")
def day(runs: int, points: int, loggers: int, growth: float, seed: int) -> None:
    """Log, search, delete and collect: neither memory nor open files grow."""
    outcome = _in_folder(lambda folder: run_day(Day(runs, points, loggers, growth, seed), folder))
    _show_day(outcome)
    _end(outcome.failures)


def _in_folder(work: Callable[[Path], T]) -> T:
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder)


def _show_kills(outcome: Outcome) -> None:
    rate = outcome.calls / outcome.seconds
    print(
        f"{outcome.kills} kills in {outcome.seconds:.0f} s, {outcome.struck} of them within a call "
        f"that logs; {outcome.calls} such calls, {rate:.0f} a second; "
        f"processors {outcome.busy:.0%} busy"
    )
    print(
        f"\n{'ms':22}{'calls':>7}{'p50':>8}{'p99':>8}{'longest':>10}{'cpu':>8}{'starved':>8}"
        f"{'rest':>8}{'longest but for starving':>26}"
    )
    for kind, times in outcome.times.items():
        walls = [took.wall for took in times]
        longest = max(times)
        print(
            f"{kind:22}{len(walls):7}{_ms(percentile(walls, 50))}{_ms(percentile(walls, 99))}  "
            f"{''.join(map(_ms, (*longest, longest.rest)))}"
            f"{'':18}{_ms(max(took.wall - took.starved for took in times))}"
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:8.1f}"


def _show_day(outcome: DayOutcome) -> None:
    print(f"{outcome.seconds:.0f} s")
    for title, found in (("median", outcome.typical), ("peak", outcome.peaks)):
        for kind in ("rss", "own", "files"):
            print(f"\n{kind}, {title} of each tenth" + (", MiB" if kind != "files" else ""))
            for name, tenths in found.items():
                values = [getattr(look, kind) for look in tenths.values()]
                shown = values if kind == "files" else [round(value / _MIB) for value in values]
                print(f"{name:12}{''.join(f'{value:7}' for value in shown)}")
    print("\nat the end of each tenth: s, then MiB on disk, of the log, of the largest WAL since")
    for number, folder in enumerate(outcome.folders, start=1):
        sizes = "".join(f"{n / _MIB:8.1f}" for n in (folder.disk, folder.log, folder.wal))
        print(
            f"{number:3}{folder.seconds:8.0f}{sizes}   {folder.snapshots} snapshots, "
            f"{folder.changes} changes, {folder.clones} clones"
        )
    for said, measured in outcome.explained:
        print(f"stats explains {said / _MIB:.1f} MiB of {measured / _MIB:.1f}")


def _end(failures: list[str]) -> None:
    print()
    for failure in failures:
        print(failure)
    print(f"{len(failures)} findings" if failures else "all holds")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
