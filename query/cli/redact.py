"""``mlflow-ledger redact``: what was said about an entity, erased for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .arguments import ENTITY, as_json, ledger_at, uri, workspace
from .output import plain, print_json, progress_bar, safe

if TYPE_CHECKING:
    from mlflow_ledger.consumers import RedactionPlan

__all__ = ["redact"]


@click.command(
    short_help="Erase what was said about an entity.",
    epilog="""\b
Examples:
  mlflow-ledger redact ledger:./store runs:/4c1e --reason 'asked for by letter'
  mlflow-ledger redact ledger:./store models:/wine/2 --reason 'names a person' --yes""",
)
@uri
@click.argument("entity", metavar="ENTITY", type=ENTITY)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept in the log.")
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@workspace
@as_json("one document")
def redact(
    uri: str, entity: str, reason: str, yes: bool, workspace: str | None, as_json: bool
) -> None:
    """Erase the contents of all events about ENTITY up to now, and the artifacts it alone has.

    They go from the log, the state, analytics, snapshots and the archive, and from every earlier
    moment. Ids, names, paths, times and digests stay, and that it was erased, by whom and why.
    Nobody can take this back.
    """
    from mlflow_ledger import consumers
    from mlflow_ledger.query.redacting import scope_about

    ledger = ledger_at(uri, present=True)
    consumers.check_can_forget(ledger)
    scope = scope_about(ledger, entity, workspace)
    if not yes:
        _tell(consumers.plan_redaction(ledger, scope), as_json=as_json)
        return
    with progress_bar() as progress:
        done = consumers.redact(ledger, scope, reason, progress)
    if as_json:
        print_json({"done": True} | plain(done))
        return
    click.echo(
        f"erased the contents of {done.contents} events about {safe(entity)} and "
        f"{len(done.blobs)} artifacts; it is said at {done.position}"
    )
    if done.segments:
        click.echo(f"{done.segments} segments of the archive were written anew")
    for digest in done.kept:
        click.echo(f"kept, since something else names it: {digest}")


def _tell(plan: RedactionPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({"done": False} | plain(plan))
        return
    click.echo(f"to be erased: the contents of {plan.contents} of {plan.events} events")
    click.echo(f"to be removed: {len(plan.blobs)} artifacts")
    for path in plan.paths:
        click.echo(f"  {safe(path)}")
    for digest in plan.kept:
        click.echo(f"to be kept, since something else names it: {digest}")
    click.echo("nothing was done; --yes does it, and nobody can take it back")
