"""``mlflow-ledger archive``: the log as sealed segments in the blob store."""

from __future__ import annotations

import click

from .arguments import as_json, ledger_at, uri
from .output import human_bytes, print_json, progress_bar

__all__ = ["archive"]


@click.command(
    short_help="Seal the log into segments in the blob store.",
    epilog="""\b
Examples:
  mlflow-ledger archive ledger:./store
  mlflow-ledger archive ledger:./store --check""",
)
@uri
@click.option("--check", is_flag=True, help="Then read all of it, and compare it with the log.")
@as_json("one document")
def archive(uri: str, check: bool, as_json: bool) -> None:
    """Put what stands in the log and not yet in the archive there, as compressed segments.

    A segment is never changed, holds the schemas of its events, and is chained to the one before.
    Hosts read them where topics have forgotten their beginning.
    """
    from mlflow_ledger.consumers import archive_of, check_archive, seal

    ledger = ledger_at(uri, present=True)
    ledger.catch_up()
    place = archive_of(ledger)
    with progress_bar() as progress:
        sealed = seal(ledger, place, told=progress)
        checked = check_archive(ledger, place, progress) if check else None
    if as_json:
        print_json(
            {
                "archive": str(place),
                "position": str(sealed.position),
                "events": sealed.events,
                "packed_bytes": sealed.packed_bytes,
                "segments": [segment.key for segment in sealed.segments],
                "checked_events": checked,
            }
        )
        return
    click.echo(
        f"sealed {sealed.events} events in {len(sealed.segments)} segments, "
        f"{human_bytes(sealed.packed_bytes)}; {place} reaches up to {sealed.position}"
    )
    if checked is not None:
        click.echo(f"{checked} events in it are what the log says")
