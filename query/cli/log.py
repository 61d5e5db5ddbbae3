"""``mlflow-ledger log``: the events as they stand in the log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from .arguments import as_json, ledger_at, limit, since, uri
from .output import on_terminal, print_json_line, safe, said, wait

if TYPE_CHECKING:
    from mlflow_ledger.bus import Stored
    from mlflow_ledger.consumers import Ledger
    from mlflow_ledger.query.moment import Since

__all__ = ["log"]

_POLL_SECONDS = 0.2


@click.command(
    short_help="The events as they stand in the log.",
    epilog="""\b
Examples:
  mlflow-ledger log ledger:./store --limit 20
  mlflow-ledger log ledger:./store --since 2026-03-03T12:00:00Z --json
  mlflow-ledger log ledger:./store --follow""",
)
@uri
@click.option("--follow", is_flag=True, help="Go on as events are appended, until Ctrl-C.")
@since
@limit
@as_json("one document a line, with everything an event says")
def log(uri: str, follow: bool, since: str | None, limit: int | None, as_json: bool) -> None:
    """Print the events of the log, in their order: position, time, actor, type, entity, content.

    These are the events that were accepted, and the commands that were refused; `audit` tells
    which is which.
    """
    from mlflow_ledger.query.moment import Since

    ledger = ledger_at(uri)
    begin = Since.read(ledger.log, since)
    try:
        for stored in islice(_events(ledger, begin, follow), limit):
            if as_json:
                print_json_line(_document(ledger, stored))
            else:
                _print(ledger, stored)
    except KeyboardInterrupt:
        if not follow:
            raise


def _events(ledger: Ledger, since: Since, follow: bool) -> Iterator[Stored]:
    from mlflow_ledger.bus import EMBEDDED, Position
    from mlflow_ledger.schemas import LogMissing

    position = since.position
    while True:
        for stored in ledger.log.read(position):
            if since.holds(stored):
                yield stored
            position = Position(ledger.ledger_id, {EMBEDDED: stored.offset + 1})
        if not follow or not wait(_POLL_SECONDS):
            return
        ledger.follow()
        if ledger.log.replaced():
            msg = f"the log in {ledger.folder} was removed or replaced while it was followed"
            raise LogMissing(msg)


def _document(ledger: Ledger, stored: Stored) -> dict[str, Any]:
    """An event as JSON: position, times, CloudEvents attributes, digest, and what it says."""
    from mlflow_ledger.query.detail import full
    from mlflow_ledger.schemas import DecodeError, decode, format_time

    record = stored.record
    document: dict[str, Any] = {
        "position": _position(ledger, stored),
        "appended": format_time(stored.append_ms),
        **record.envelope.attributes(),
        "digest": record.digest().hex(),
        "redacted": record.redacted,
    }
    try:
        document["data"] = full(decode(record.envelope.type, record.head, record.clear()))
    except DecodeError as error:
        document |= {"data": None, "error": str(error)}
    return document


def _print(ledger: Ledger, stored: Stored) -> None:
    from mlflow_ledger.query.detail import short
    from mlflow_ledger.schemas import CommandRejected, DecodeError, decode, format_time

    record = stored.record
    envelope = record.envelope
    try:
        event = decode(envelope.type, record.head, record.clear())
        text = said(short(event, record.redacted))
        if isinstance(event, CommandRejected):
            text = f"{event.command}: {event.content.message if event.content else event.code}"
    except DecodeError as error:
        text = str(error)
    parts = (
        _position(ledger, stored), format_time(envelope.time_ms), envelope.actor, envelope.type,
        envelope.subject, text,
    )  # fmt: skip
    fields = [safe(part) for part in parts]
    if on_terminal():
        fields[3] = click.style(fields[3], fg="red" if "Rejected" in fields[3] else "cyan")
        fields[0] = click.style(fields[0], dim=True)
    click.echo("  ".join(fields).rstrip())


def _position(ledger: Ledger, stored: Stored) -> str:
    return ledger.log.place(stored)
