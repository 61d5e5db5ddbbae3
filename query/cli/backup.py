"""``mlflow-ledger backup``: a copy of a ledger, checked before it is said to be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import as_json, ledger_at, uri
from .output import human_bytes, plain, print_json, progress_bar

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Backup

__all__ = ["backup", "place_at"]


@click.command(
    short_help="Copy log and artifacts to a folder or an object store.",
    epilog="""\b
Examples:
  mlflow-ledger backup ledger:./store /backups/store
  mlflow-ledger backup ledger+kafka://host:9092/team s3://bucket/team""",
)
@uri
@click.argument("target", metavar="TARGET")
@as_json("one document")
def backup(uri: str, target: str, as_json: bool) -> None:
    """Copy a ledger as it is now to TARGET: only what is not there yet, while others write on.

    TARGET is a folder or an object store's URL, of one ledger alone. At last everything in it is
    read back and folded, and compared with the ledger.
    """
    from mlflow_ledger import consumers

    place = place_at(target)
    ledger = ledger_at(uri)
    with progress_bar() as progress:
        done = consumers.backup(ledger, place, progress)
    if as_json:
        print_json({"target": str(place)} | plain(done))
    else:
        _print(done, place)
    if done.missing:
        raise click.exceptions.Exit(1)


def _print(done: Backup, place: Path | str) -> None:
    point = done.point
    click.echo(
        f"added {done.new_events} events and {done.new_blobs} artifacts, "
        f"{human_bytes(done.new_bytes)}, to {place}"
    )
    click.echo(
        f"it holds {point.events} events up to {point.position} and {point.blobs} artifacts, "
        f"{human_bytes(point.blob_bytes)}; checked: state {point.state_digest[:16]}…"
    )
    if done.missing:
        click.echo(
            f"{len(done.missing)} artifacts that the ledger names are lost, for instance "
            f"{done.missing[0]}; `mlflow-ledger verify` names their paths"
        )


def place_at(text: str) -> Path | str:
    """A folder, or an object store's URL.

    Raises:
        SettingsError: it is neither, or holds a secret.
    """
    from mlflow_ledger.consumers import place_of

    return place_of(text, Path(), "the place") if "://" in text else Path(text).absolute()
