"""How the rows are shown: a table on a terminal, a page, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from .rows import Kind, Row, Verdict

__all__ = ["Report"]

_STYLES = {Verdict.MET: "green", Verdict.NOT_MET: "bold red", Verdict.NOT_MEASURED: "yellow"}
_LARGE = 100
_MIDDLE = 10
_SMALL = 0.1

_PAGE = """\
# Benchmarks

The ledger, in a folder and in Kafka, against MLflow's own stores, through `MlflowClient`, in one
run on one machine. Written by `python -m benchmarks --write FILE`; what was not
reached says **NOT MET**.

## How to run it

| command | does |
|---|---|
| `make bench` | all rows but those of the large store, as a table on the terminal |
| `python -m benchmarks --quick` | a small run in about a minute; its figures say nothing |
| `python -m benchmarks --large` | also large stores: 100,000 runs, and a past of a million |
| `python -m benchmarks --kafka`, `--no-kafka` | only the ledger in Kafka, or all but that |
| `python -m benchmarks --only singles` | one group of rows; may be given several times |
| `python -m benchmarks --write FILE`, `--json` | the page you read; the same as JSON |

PostgreSQL takes part where `initdb` and `pg_ctl` are found (on the PATH or where Debian puts them)
and `psycopg2-binary` is installed beside MLflow: a private cluster with PostgreSQL's own settings
is started on a free loopback port and removed afterwards. MLflow's retired file store takes part
where `MLFLOW_ALLOW_FILE_STORE` still brings it back.

The ledger in Kafka is measured where Java and Maven are found: one broker is started on the same
machine and ended afterwards, and shares its cores with what is measured. `MLFLOW_LEDGER_TEST_KAFKA`
names another one. Each client library that is installed and can be chosen has a column of its own.

## How it is measured

- Stores take turns (A B A B), caches are warm, the first call of each kind is discarded. A figure
  is the median of several repetitions; p50 and p99 are medians over rounds; a worst operation is
  the worst of all.
- The searched runs are the same in every store, and a search counts only if all stores give the
  same answer. The ledger is loaded through `MlflowClient`, a `create_run` and four `log_batch` a
  run; MLflow's tables by bulk inserts that leave the same rows.
- All stores run with the settings they come with. MLflow's SQL stores therefore sync the disk at
  every call and the ledger does not; the row `synchronous=full` shows what that is worth.
- *SQLite, ANALYZEd* is a copy of the loaded SQLite store after `ANALYZE`; PostgreSQL was
  vacuumed and analyzed after loading, as autovacuum does within a minute. ANALYZE makes no
  difference to writes. In the large store SQLite takes part after ANALYZE only.
- A ledger with a past is made of runs of five events each, said many at a time, and searched as
  often as a snapshot is due. A million take an hour and 6 GB. *ledger, live* is the same question
  to it as it is.
- Traces are loaded by `log_spans` into a ledger, by bulk inserts elsewhere. Searches for spans take
  MLflow's SQLite store minutes where it was never ANALYZEd, so its answer is waited for no longer
  than 20 seconds: what takes longer is shown as *over* that, and the ratio as *at least* that.
- In Kafka each row has topics of its own, as a new ledger gets them. What a process has spooled is
  sent before another store has its turn. A fresh replica, a reader on another host and a cold start
  are processes of their own with a `MLFLOW_LEDGER_HOME` of their own.
- *Ratio* is how many times as good as the peer it names: the best of those that the target is
  about.
"""


@dataclass(frozen=True)
class Report:
    """The rows, and what they were taken on."""

    rows: Sequence[Row]
    facts: Mapping[str, str]
    skipped: Sequence[str]
    quick: bool

    def print(self, console: Console) -> None:
        """Print the table for people."""
        console.print(", ".join(f"{name} {value}" for name, value in self.facts.items()))
        for title, rows in self._sections():
            kinds = _kinds(rows)
            said = "; a quick run: its figures say nothing" if self.quick else ""
            table = Table(title=title + said)
            table.add_column("work")
            for kind in kinds:
                table.add_column(kind, justify="right", no_wrap=True)
            for name in ("ratio", "target", "reached"):
                table.add_column(name)
            for row in rows:
                style = _STYLES.get(row.verdict, "")
                *cells, verdict = _cells(row, kinds)
                table.add_row(*cells, f"[{style}]{verdict}[/]" if style else verdict)
            console.print(table)
        for line in self._remarks():
            console.print(line)

    def markdown(self) -> str:
        """The page for the documentation."""
        lines = [_PAGE, "## Figures", ""]
        if self.quick:
            lines += ["**A quick run: its figures say nothing.**", ""]
        lines += [f"{name} {value}, " for name, value in list(self.facts.items())[:-1]]
        lines += [f"{name} {value}." for name, value in list(self.facts.items())[-1:]]
        for title, rows in self._sections():
            kinds = _kinds(rows)
            titles = ["work", *kinds, "ratio", "target", "reached"]
            lines += ["", f"### {title}", ""]
            lines += [_line(titles), _line(["---", *("--:" for _ in kinds), "--:", "---", "---"])]
            lines += [_line(_cells(row, kinds, bold=True)) for row in rows]
        lines += ["", *(f"- {remark}" for remark in self._remarks())]
        lines += ["", "## What each row means", "", _line(["row", "meaning"]), _line(["---"] * 2)]
        lines += [_line([row.work, row.meaning]) for row in self.rows]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def json(self) -> str:
        """All of it for programs."""
        return json.dumps(
            {
                "quick": self.quick,
                "facts": dict(self.facts),
                "skipped": list(self.skipped),
                "rows": [
                    {
                        "id": row.id,
                        "work": row.work,
                        "unit": row.unit,
                        "figures": {str(kind): value for kind, value in row.figures.items()},
                        "ratios": [
                            {"of": str(kind), "times": times, "peer": str(peer)}
                            for kind in row.ours
                            for times, peer in row.ratios_of(kind)
                        ],
                        "target": row.target,
                        "verdict": str(row.verdict),
                        "verdicts": {str(kind): str(row.verdict_of(kind)) for kind in row.ours},
                        "missing": [str(kind) for kind in row.missing],
                        "notes": list(row.notes),
                        "over": [str(kind) for kind in row.over],
                    }
                    for row in self.rows
                ],
            },
            indent=2,
        )

    def _sections(self) -> list[tuple[str, list[Row]]]:
        """A table for each way in which a ledger can be kept."""
        parts = {
            "A ledger in a folder": [row for row in self.rows if not row.in_kafka],
            "A ledger in Kafka": [row for row in self.rows if row.in_kafka],
        }
        return [(title, rows) for title, rows in parts.items() if rows]

    def _remarks(self) -> list[str]:
        counts = [
            f"{sum(row.verdict is verdict for row in self.rows)} {verdict}"
            for verdict in (Verdict.MET, Verdict.NOT_MET, Verdict.NOT_MEASURED)
        ]
        notes = [note for row in self.rows for note in row.notes]
        return [*notes, *(f"skipped: {reason}" for reason in self.skipped), ", ".join(counts)]


def _kinds(rows: Sequence[Row]) -> list[Kind]:
    return [kind for kind in Kind if any(kind in row.figures for row in rows)]


def _cells(row: Row, kinds: Sequence[Kind], *, bold: bool = False) -> list[str]:
    figures = [
        ("over " if kind in row.over else "") + _figure(row.figures.get(kind), row.unit)
        for kind in kinds
    ]
    many = len(row.ours) > 1
    ratios = "; ".join(
        f"{_short(kind)}: {said}" if many else said
        for kind in row.ours
        if (
            said := "; ".join(
                f"{'at least ' if peer in row.over else ''}{_number(n)}x {peer}"
                for n, peer in row.ratios_of(kind)
            )
        )
    )
    verdicts = {kind: _bold(row.verdict_of(kind), bold=bold) for kind in row.ours}
    reached = "; ".join(f"{_short(kind)}: {said}" for kind, said in verdicts.items())
    if len(set(verdicts.values())) == 1:
        reached = _bold(row.verdict, bold=bold)
    if row.missing:
        reached += f" (without {', '.join(row.missing)})"
    return [row.work, *figures, ratios or "-", row.target, reached]


def _bold(verdict: Verdict, *, bold: bool) -> str:
    return f"**{verdict}**" if bold and verdict is Verdict.NOT_MET else str(verdict)


def _short(kind: Kind) -> str:
    """One of ours, among others of ours."""
    return kind.removeprefix("ledger, ")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "ms" and value >= 1000:  # noqa: PLR2004  # milliseconds in a second
        return f"{_number(value / 1000)} s"
    return _number(value) if unit == "errors" else f"{_number(value)} {unit}"


def _number(value: float) -> str:
    """Three digits that count, or all before the point."""
    if value == int(value) and abs(value) < _LARGE:
        return str(int(value))
    if value >= _LARGE:
        return f"{value:,.0f}"
    if value >= _MIDDLE:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= _SMALL else f"{value:.3f}"
