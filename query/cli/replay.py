"""``mlflow-ledger replay``: how a model version was made, from the first event to now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import LINEAGE, as_json, ledger_at, uri, workspace
from .output import human_bytes, print_json_line, progress_bar, safe, said

if TYPE_CHECKING:
    from mlflow_ledger.query.story_rows import StoryRow

__all__ = ["replay"]

_SHOWN = 160


@click.command(
    short_help="How a model version was made; as a bundle, too.",
    epilog="""\b
Examples:
  mlflow-ledger replay ledger:./store models:/wine/2
  mlflow-ledger replay ledger:./store models:/wine@champion --bundle wine.zip""",
)
@uri
@click.argument("version", metavar="MODEL_URI", type=LINEAGE)
@click.option(
    "--bundle",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write events, schemas, digests, environment and provenance to a zip instead.",
)
@workspace
@as_json("one document a line")
def replay(
    uri: str, version: str, target: Path | None, workspace: str | None, as_json: bool
) -> None:
    """Tell the story of a model version in order: data, runs, results, files, promotions.

    MODEL_URI is models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE or
    models:/NAME/latest.
    """
    from mlflow_ledger.query.story import story_of

    story = story_of(ledger_at(uri), version, workspace)
    if target is None:
        for row in story.rows():
            if as_json:
                print_json_line(row)
            else:
                click.echo(_line(row))
        return
    from mlflow_ledger.query.bundling import bundle

    with progress_bar() as progress:
        done = bundle(story, target, progress)
    if as_json:
        print_json_line(done._asdict())
        return
    size = human_bytes(done.path.stat().st_size)
    click.echo(f"{done.path}: {done.events} events, {done.files} files, {size}")
    click.echo(f"sha256 of SHA256SUMS: {done.digest}")
    if done.unproved is not None:
        click.echo(f"without a proof: {done.unproved}", err=True)
    click.echo(f"check it: unzip {done.path} and run python3 check.py")


def _line(row: StoryRow) -> str:
    actor = row.actor if row.actorkind == "os" else f"{row.actor} ({row.actorkind})"
    action = row.action + (f" ({row.events} events)" if row.events > 1 else "")
    told = "" if row.verdict == "accepted" else f"{row.verdict}: {row.message} "
    hidden = ("model_uid", "version_uid")
    told += said({name: value for name, value in row.detail.items() if name not in hidden})
    shown = told if len(told) <= _SHOWN else f"{told[: _SHOWN - 1]}…"
    parts = (row.time, row.chapter.ljust(12), actor, action, row.entity, shown)
    return "  ".join(safe(part) for part in parts).rstrip()
