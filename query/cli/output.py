"""How answers are printed: tables and colours on a terminal, plain lines elsewhere, JSON."""

from __future__ import annotations

import json
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from mlflow_ledger.query.plainly import plainly as plain

__all__ = [
    "Line",
    "human_bytes",
    "on_terminal",
    "plain",
    "print_json",
    "print_json_line",
    "print_table",
    "print_tree",
    "progress_bar",
    "safe",
    "said",
    "wait",
]

_STYLES = {
    "accepted": "green",
    "rejected": "red",
    "conflict": "red",
    "unreadable": "red",
    "holds": "green",
    "DOES NOT HOLD": "red",
}


class Line(NamedTuple):
    """A line of a tree: how deep it stands, its label and its text."""

    depth: int
    label: str
    text: str = ""


def on_terminal() -> bool:
    """Whether somebody is looking."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(plain(value), ensure_ascii=False, indent=2))


def print_json_line(value: Any) -> None:
    """Print one of several JSON documents, on one line."""
    click.echo(json.dumps(plain(value), ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; on a terminal as wide as that is, elsewhere as wide as it needs to be."""
    right = [
        all(isinstance(row[i], (int, float)) and not isinstance(row[i], bool) for row in rows)
        and bool(rows)
        for i in range(len(columns))
    ]
    cells = [[safe(_cell(value)) for value in row] for row in rows]
    if on_terminal():
        _rich_table(columns, cells, right)
        return
    widths = [max(len(cell) for cell in column) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        aligned = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        click.echo("  ".join(aligned).rstrip())


def print_tree(title: str, lines: Sequence[Line]) -> None:
    """Print a title and the lines below it, each indented by its depth."""
    if on_terminal():
        _rich_tree(title, lines)
        return
    click.echo(safe(title))
    width = max((len(line.label) for line in lines if line.text), default=0)
    for line in lines:
        text = f"{line.label.ljust(width)}  {line.text}" if line.text else line.label
        click.echo(safe("  " * (line.depth + 1) + text).rstrip())


def said(detail: Mapping[str, Any]) -> str:
    """A detail in one line: ``key=value``, changes of versions in words."""
    changes = [_changed(change) for change in detail.get("changes", ())]
    told = {"changes"} | ({"stage", "alias", "version", "archive_existing"} if changes else set())
    rest = [f"{name}={_said(value)}" for name, value in detail.items() if name not in told]
    return ", ".join(changes + rest)


def safe(text: str) -> str:
    """A text without control characters: what an event says must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def human_bytes(size_bytes: int) -> str:
    """A size in the largest unit that leaves a number of 1 or more."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004  # units are decimal
            return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def wait(seconds: float) -> bool:
    """Wait; false at once where nobody reads our output any more."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        time.sleep(seconds)
        return True
    watch = select.poll()
    watch.register(descriptor, 0)
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return not any(event & gone for _, event in watch.poll(int(seconds * 1000)))


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function to be told of progress; it draws bars where the error stream is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done, total=of)

        yield tell


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return said(value) if isinstance(value, Mapping) else str(plain(value))


def _changed(change: Mapping[str, Any]) -> str:
    """One change of a version in words."""
    what = f"alias {change['alias']}" if change.get("alias") else change["what"]
    before, after = change["from"] or "nothing", change["to"] or "nothing"
    if change["what"] == "deleted":
        return f"version {change['version']} deleted"
    return f"version {change['version']}: {what} {before} → {after}"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_said(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_said(entry) for entry in value) + "]"
    return str(value)


def _rich_table(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column, to_right in zip(columns, right, strict=True):
        table.add_column(Text(column), justify="right" if to_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def _rich_tree(title: str, lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    branches = [Tree(Text(safe(title), style="bold"))]
    for line in lines:
        label = Text(safe(line.label), style="cyan")
        text = label.append(f"  {safe(line.text)}", style="default") if line.text else label
        del branches[line.depth + 1 :]
        branches.append(branches[-1].add(text))
    Console().print(branches[0])
