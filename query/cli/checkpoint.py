"""``mlflow-ledger checkpoint``: signs what the log holds now."""

from __future__ import annotations

import click

from .arguments import as_json, ledger_at, uri
from .output import print_json

__all__ = ["checkpoint"]


@click.command(
    short_help="Sign what the log holds now.",
    epilog="""\b
Examples:
  mlflow-ledger checkpoint ledger:./store
  mlflow-ledger checkpoint ledger:./store --show > kept-elsewhere.note""",
)
@uri
@click.option("--show", is_flag=True, help="Sign nothing, and print the newest checkpoints.")
@as_json("one document")
def checkpoint(uri: str, show: bool, as_json: bool) -> None:
    """Write the tree over each partition of the log as tiles, and sign its root.

    With the key that MLFLOW_LEDGER_SIGNING_KEY names; `consume` does the same every now and then.
    Whoever keeps a checkpoint elsewhere can tell later whether the log still begins with what it
    held then: `verify --checkpoint`.
    """
    from mlflow_ledger.consumers import Trees, newest_notes, origin_of

    ledger = ledger_at(uri, present=True)
    made = []
    key = None
    if not show:
        trees = Trees(ledger)
        made = trees.publish()
        key = trees.key.public.named(trees.key.name or origin_of(ledger.ledger_id))
    notes = newest_notes(ledger)
    if as_json:
        print_json({"signed": [c.origin for c in made], "checkpoints": notes, "key": key})
    elif show:
        click.echo("\n".join(notes.values()), nl=False)
    else:
        for done in made:
            click.echo(f"signed {done.size} events of {done.origin}, up to {done.position}")
        if not made:
            click.echo("nothing was added since the last checkpoint")
        click.echo(f"the key that checks them: {key}")
