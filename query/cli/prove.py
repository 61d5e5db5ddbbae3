"""``mlflow-ledger prove``: a proof of what a ledger says, for whoever does not have it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .arguments import ledger_at, uri, workspace
from .files import write_file
from .output import print_json

__all__ = ["prove"]


@click.command(
    short_help="Write a proof that can be checked offline.",
    epilog="""\b
Examples:
  mlflow-ledger prove ledger:./store models:/wine@champion -o proof.json
  mlflow-ledger prove ledger:./store runs:/4ba98e2458114938b932e3645ff9b0a2 --without-content""",
)
@uri
@click.argument("entity", metavar="ENTITY")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it to a file, not to standard output.",
)
@click.option(
    "--without-content",
    is_flag=True,
    help="Leave the contents out (tags, descriptions, values): only their digests are in it then.",
)
@workspace
def prove(
    uri: str, entity: str, output: Path | None, without_content: bool, workspace: str | None
) -> None:
    """Write a proof of what stands in the log about ENTITY.

    ENTITY is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID, or an event: its position, or its
    SOURCE/ID. The proof holds the events that establish it, the path from each to the root of its
    tree, and the signed root. `mlflow-ledger check` needs no more than that and the public key.
    """
    from mlflow_ledger.query.prove import proof_of

    proof = proof_of(ledger_at(uri), entity, content=not without_content, workspace=workspace)
    if output is None:
        print_json(proof.as_json())
        return
    text = json.dumps(proof.as_json(), indent=1, ensure_ascii=False)
    write_file(output, f"{text}\n", "the proof")
    click.echo(f"{output}: {len(proof.events)} events of {len(proof.checkpoints)} signed trees")
