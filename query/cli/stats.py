"""``mlflow-ledger stats``: what takes how much of the folder."""

from __future__ import annotations

from pathlib import Path

import click

from .arguments import as_json, ledger_at, uri
from .output import human_bytes, plain, print_json, print_table

__all__ = ["stats"]


@click.command(
    short_help="What takes how much of the folder.",
    epilog="""\b
Example:
  mlflow-ledger stats ledger:./store""",
)
@uri
@as_json("one document")
def stats(uri: str, as_json: bool) -> None:
    """Show what takes how much of the folder, how many events of which type, and of what."""
    from mlflow_ledger.query.stats import stats as stats_of

    found = stats_of(ledger_at(uri, present=True))
    if as_json:
        print_json(plain(found) | {"size_bytes": found.size_bytes})
        return
    click.echo(f"{found.folder}: {human_bytes(found.size_bytes)}, ledger {found.ledger_id}")
    click.echo(f"{found.events} events, {found.first} to {found.last}")
    if found.blob_store != str(Path(found.folder) / "blobs"):
        click.echo(f"blobs are kept in {found.blob_store}, which is not counted")
    click.echo()
    print_table(
        ("part", "files", "bytes", "size", "can be folded again"),
        [
            (
                p.name,
                p.files,
                p.size_bytes,
                human_bytes(p.size_bytes),
                "yes" if p.disposable else "",
            )
            for p in found.parts
        ],
    )
    click.echo()
    print_table(
        ("event type", "events", "bytes"), [(t.type, t.count, t.size_bytes) for t in found.types]
    )
    click.echo()
    print_table(("entity", "count"), list(found.entities.items()))
