"""``mlflow-ledger check``: whether a proof holds, offline."""

from __future__ import annotations

from pathlib import Path

import click

from .arguments import as_json as as_json_option
from .files import read_file
from .output import print_json

__all__ = ["check"]


@click.command(
    short_help="Check a proof offline.",
    epilog="""\b
Example:
  mlflow-ledger check proof.json --key signing.pem.pub""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--key",
    required=True,
    metavar="PUBLIC",
    help="The signer's public key: a file (PEM, or lines NAME+ID+BASE64), or the key itself.",
)
@as_json_option("one document")
def check(file: Path, key: str, as_json: bool) -> None:
    """Check a proof with nothing but the signer's public key; status 1 if it does not hold.

    No ledger is opened, and nothing is asked of any network. What it proves is said in words, and
    what it does not.
    """
    from mlflow_ledger.consumers import read_public_keys
    from mlflow_ledger.query import check as checking
    from mlflow_ledger.query.proof import Proof, ProofUnreadable

    keys = read_public_keys(key)
    try:
        proof = Proof.parse(read_file(file, "the proof"))
    except ProofUnreadable as error:
        msg = f"{str(file)!r} holds no proof: {error}; `mlflow-ledger prove` writes one"
        raise ProofUnreadable(msg) from error
    found = checking.check(proof, keys)
    if as_json:
        print_json(checking.as_json(found))
    else:
        verdict = "holds" if found.holds else "DOES NOT HOLD"
        click.echo(f"{found.entity} in ledger {found.ledger_id}: the proof {verdict}")
        for title, lines in (
            ("proved", found.proved if found.holds else []),
            ("not proved", found.not_proved if found.holds else []),
            ("problem", found.problems),
        ):
            for line in lines:
                click.echo(f"{title}: {line}")
    if not found.holds:
        raise click.exceptions.Exit(1)
