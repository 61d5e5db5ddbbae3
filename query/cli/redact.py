"""``mlflow-ledger redact``: what was said about an entity, erased for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .arguments import ENTITY, as_json, ledger_at, uri, workspace
from .output import plain, print_json, progress_bar, safe

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Ledger, RedactionPlan, ReplicaReport

__all__ = ["redact"]


@click.command(
    short_help="Erase what was said about an entity.",
    epilog="""\b
Examples:
  mlflow-ledger redact ledger:./store runs:/4c1e --reason 'asked for by letter'
  mlflow-ledger redact ledger:./store models:/wine/2 --reason 'names a person' --yes
  mlflow-ledger redact ledger+kafka://host:9092/team --status""",
)
@uri
@click.argument("entity", metavar="[ENTITY]", type=ENTITY, required=False)
@click.option("--reason", metavar="TEXT", help="Why; it is kept in the log.")
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@click.option("--status", is_flag=True, help="Which hosts of a ledger in Kafka have yet to erase.")
@click.option(
    "--forget", metavar="REPLICA", help="Ask no more after a host's replica that is no more."
)
@workspace
@as_json("one document")
def redact(
    uri: str,
    entity: str | None,
    reason: str | None,
    yes: bool,
    status: bool,
    forget: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Erase the contents of all events about ENTITY up to now, and the artifacts it alone has.

    They go from the log, the state, analytics, snapshots and the archive, and from every earlier
    moment. Ids, names, paths, times and digests stay, and that it was erased, by whom and why.
    Nobody can take this back. From a ledger in Kafka that was created --erasable the keys go that
    contents are sealed with; every host erases when it next reads the log.
    """
    from mlflow_ledger import consumers
    from mlflow_ledger.query.redacting import scope_about

    if status or forget is not None:
        if entity is not None or reason is not None or yes:
            msg = "--status and --forget are about hosts: leave ENTITY, --reason and --yes away"
            raise click.UsageError(msg)
        _hosts(ledger_at(uri, present=True), forget, as_json=as_json)
        return
    if entity is None or reason is None or not reason.strip():
        msg = "say what is to be erased, and why: ENTITY and --reason"
        raise click.UsageError(msg)
    ledger = ledger_at(uri, present=True)
    consumers.check_can_forget(ledger)
    scope = scope_about(ledger, entity, workspace)
    if not yes:
        _tell(consumers.plan_redaction(ledger, scope), as_json=as_json)
        return
    elsewhere = consumers.plan_redaction(ledger, scope).elsewhere
    with progress_bar() as progress:
        done = consumers.redact(ledger, scope, reason, progress)
    if as_json:
        print_json({"done": True} | plain(done) | {"elsewhere": elsewhere})
        return
    click.echo(
        f"erased the contents of {done.contents} events about {safe(entity)} and "
        f"{len(done.blobs)} artifacts; it is said at {done.position}"
    )
    if done.segments:
        click.echo(f"{done.segments} segments of the archive were written anew")
    for digest in done.kept:
        click.echo(f"kept, since something else names it: {digest}")
    if done.keys:
        click.echo(f"{done.keys} keys are lost")
    for report in done.waiting:
        _tell_host(report)
    _tell_elsewhere(elsewhere)


def _hosts(ledger: Ledger, forget: str | None, *, as_json: bool) -> None:
    from mlflow_ledger import consumers
    from mlflow_ledger.schemas import SettingsError

    if not ledger.erasable:
        msg = "only a ledger in Kafka that was created --erasable has hosts that erase on their own"
        raise SettingsError(msg)
    consumers.check_can_forget(ledger)
    redaction = consumers.by_keys(ledger)
    if forget is not None:
        if not redaction.forget_replica(forget):
            msg = f"no replica has told of itself as {forget!r}"
            raise SettingsError(msg)
        click.echo(f"replica {forget} is asked after no more")
        return
    reports = redaction.reports()
    if as_json:
        print_json({"replicas": [plain(report) for report in reports]})
        return
    for report in reports:
        _tell_host(report)


def _tell_host(report: ReplicaReport) -> None:
    said = f"{report.behind} redactions to erase yet" if report.behind else "all is erased"
    click.echo(
        f"{report.replica_id}  {safe(report.host)}  {safe(report.folder)}: {said}; it was at "
        f"{report.position} at {report.told}"
    )


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
    _tell_elsewhere(plan.elsewhere)
    click.echo("nothing was done; --yes does it, and nobody can take it back")


def _tell_elsewhere(places: list[str]) -> None:
    for place in places:
        click.echo(f"not touched, since it is no place of the ledger's: {safe(place)}")
