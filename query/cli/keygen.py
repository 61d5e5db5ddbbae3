"""``mlflow-ledger keygen``: a key that checkpoints of the log are signed with."""

from __future__ import annotations

from pathlib import Path

import click

from .arguments import as_json
from .files import create_file
from .output import print_json

__all__ = ["keygen"]

_OWNER_ONLY = 0o600


@click.command(
    short_help="Make a key to sign checkpoints with.",
    epilog="""\b
Example:
  mlflow-ledger keygen signing.pem""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json("one document")
def keygen(file: Path, as_json: bool) -> None:
    """Make an Ed25519 key: the private half in FILE, the public one beside it, as FILE.pub.

    Both are PEM, as openssl writes them. The private one is readable by its owner only, and signs
    what a ledger holds; the public one checks it, and is for everybody. No file is overwritten.
    """
    from mlflow_ledger.consumers import SigningKey

    key = SigningKey.new()
    public = file.with_name(f"{file.name}.pub")
    create_file(public, key.public.pem(), 0o644, "the public key")
    try:
        create_file(file, key.pem(), _OWNER_ONLY, "the private key")
    except BaseException:
        public.unlink()  # a key has two halves, or is none
        raise
    if as_json:
        print_json({"private": str(file), "public": str(public), "key": str(key.public)})
        return
    click.echo(f"{file}: the private key; keep it where only the signer reads it, and set")
    click.echo(f"  MLFLOW_LEDGER_SIGNING_KEY={file.absolute()}")
    click.echo(f"{public}: the public key ({key.public}); give it to whoever checks")
