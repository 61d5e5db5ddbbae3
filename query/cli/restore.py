"""``mlflow-ledger restore``: a ledger from a backup, checked before it is said to be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import MOMENT, any_uri, as_json
from .backup import place_at
from .output import human_bytes, plain, print_json, progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow_ledger.consumers import Restored

__all__ = ["restore"]


@click.command(
    short_help="Make a ledger from a backup.",
    epilog="""\b
Examples:
  mlflow-ledger restore /backups/store ledger:./restored
  mlflow-ledger restore s3://bucket/team ledger+kafka://host:9092/team2""",
)
@click.argument("source", metavar="SOURCE")
@any_uri
@click.option(
    "--to",
    type=MOMENT,
    metavar="TIME|POSITION",
    help="Leave out what was appended after this time (RFC 3339, with Z or an offset), or what "
    "stands at this position or behind it. Default: the newest backup.",
)
@click.option("--allow-missing", is_flag=True, help="Restore without artifacts that are missing.")
@as_json("one document")
def restore(source: str, uri: str, to: str | None, allow_missing: bool, as_json: bool) -> None:
    """Make the ledger URI from the backup at SOURCE, where there is none yet.

    Everything is checked on the way: digests of segments and artifacts, and the state that the
    events fold to. A restore that breaks off leaves no ledger, or goes on when it is repeated.
    """
    place = place_at(source)
    with progress_bar() as progress:
        done = _restored(place, uri, to, allow_missing, progress)
    if as_json:
        print_json({"uri": uri} | plain(done))
        return
    click.echo(
        f"restored {done.events} events up to {done.position} and {done.blobs} artifacts, "
        f"{human_bytes(done.blob_bytes)}, to {uri}; checked: state {done.state_digest[:16]}…"
    )
    if done.missing:
        click.echo(f"{len(done.missing)} artifacts were not in the backup: {done.missing[0]} …")
    click.echo(f"it has the id of the original, {done.ledger_id}: go on with one of the two only")


def _restored(
    place: Path | str,
    uri: str,
    to: str | None,
    allow_missing: bool,
    told: Callable[[str, int, int], None],
) -> Restored:
    from mlflow_ledger.bus import (
        KAFKA_SCHEME,
        KafkaSettings,
        Settings,
        folder_of,
        kafka_place,
        options_of,
    )
    from mlflow_ledger.consumers import restore_to_folder, source_at
    from mlflow_ledger.query.moment import parse_moment

    source = source_at(place)
    cut = source.cut(parse_moment(to) if to is not None else None)
    if not uri.startswith(f"{KAFKA_SCHEME}:"):
        return restore_to_folder(
            source, folder_of(uri), cut, Settings.read(), allow_missing=allow_missing, told=told
        )
    from mlflow_ledger.consumers import restore_to_topics

    return restore_to_topics(
        source, kafka_place(uri), cut, Settings.read(**options_of(uri)), KafkaSettings.read(),
        allow_missing=allow_missing, told=told,
    )  # fmt: skip
