"""``mlflow-ledger rules`` and ``approve``: what promotions need, and who has approved them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import ENTITY, as_json, ledger_at, uri, workspace
from .files import read_text
from .output import print_json, print_table, safe

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Ledger
    from mlflow_ledger.producers.registry_store import LedgerRegistryStore
    from mlflow_ledger.query.promotions import ApprovalRow, PromotionRuleRow

__all__ = ["approve", "rules"]

_VERSION = "models:/NAME/VERSION"


@click.command(
    short_help="What a version needs before it gets an alias or a stage.",
    epilog="""\b
Examples:
  mlflow-ledger rules ledger:./store models:/wine add two --for champion --approvals 1
  mlflow-ledger rules ledger:./store models:/wine add b --for Staging --metric loss --at-most 1
  mlflow-ledger rules ledger:./store models:/wine
  mlflow-ledger rules ledger:./store models:/wine remove two""",
)
@uri
@click.argument("model", metavar="models:/NAME", type=ENTITY)
@click.argument("action", type=click.Choice(["list", "add", "remove"]), default="list")
@click.argument("rule", required=False)
@click.option("--for", "targets", multiple=True, metavar="ALIAS|STAGE", help="May be given again.")
@click.option("--approvals", type=click.IntRange(1, 100), help="So many approvals by others.")
@click.option("--approver", "approvers", multiple=True, help="Only theirs count.")
@click.option("--tag", metavar="KEY[=VALUE]", help="A tag that is set, perhaps with this value.")
@click.option("--metric", help="A metric of the version's run.")
@click.option("--at-least", type=float)
@click.option("--at-most", type=float)
@click.option("--artifact", metavar="PATH", help="A signed artifact of the model.")
@click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Ed25519 key, in PEM, that the artifact is signed with in PATH.sig.",
)
@click.option("--keeper", "keepers", multiple=True, help="Only they may change the rule.")
@click.option("--authenticated", is_flag=True, help="Only who a server has authenticated counts.")
@click.option("--comment")
@workspace
@as_json("one document")
def rules(
    uri: str,
    model: str,
    action: str,
    rule: str | None,
    targets: tuple[str, ...],
    comment: str | None,
    workspace: str | None,
    as_json: bool,
    **says: Any,
) -> None:
    """List, add or remove rules about a registered model's promotions.

    A promotion that breaks one is refused, and the audit shows by which. A rule asks for one
    thing: --approvals, --tag, --metric or --artifact.
    """
    if (rule is None) != (action == "list"):
        msg = f"`{action}` {'takes no' if rule else 'needs the'} name of a rule"
        raise click.UsageError(msg)
    with _store(uri, workspace) as (ledger, store):
        name = _named(ledger, model, version=False)[0]
        if action == "add":
            store.set_promotion_rule(name, str(rule), _rule_of(targets, **says), comment)
        elif action == "remove":
            store.remove_promotion_rule(name, str(rule), comment)
        _print(name, store.promotion_rules(name), store.promotion_approvals(name), as_json=as_json)


@click.command(
    short_help="Approve that a version gets an alias or a stage.",
    epilog="""\b
Examples:
  mlflow-ledger approve ledger:./store models:/wine/3 --for champion
  mlflow-ledger approve ledger:./store models:/wine/3 --for Production --withdraw""",
)
@uri
@click.argument("version", metavar=_VERSION, type=ENTITY)
@click.option("--for", "target", required=True, metavar="ALIAS|STAGE")
@click.option("--withdraw", is_flag=True, help="Take your approval back.")
@click.option("--comment")
@workspace
@as_json("one document")
def approve(
    uri: str,
    version: str,
    target: str,
    withdraw: bool,
    comment: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Approve, as the user that you are, that a version gets an alias or a stage.

    A name of a stage means the stage; alias:NAME and stage:NAME say which is meant.
    """
    with _store(uri, workspace) as (ledger, store):
        name, number = _named(ledger, version, version=True)
        say = store.withdraw_approval if withdraw else store.approve_promotion
        say(name, number, target, comment)
        _print(name, store.promotion_rules(name), store.promotion_approvals(name), as_json=as_json)


def _named(ledger: Ledger, text: str, *, version: bool) -> tuple[str, int]:
    from mlflow_ledger.query.address import Address

    address = Address.find(ledger, text)
    if address.kind != "models" or address.alias or version is (address.version is None):
        msg = f"{text!r} names no {'version' if version else 'model'}; write {_VERSION}"
        raise click.UsageError(msg if version else msg.removesuffix("/VERSION"))
    return address.name, address.version or 0


def _rule_of(targets: tuple[str, ...], **says: Any) -> Any:
    from pydantic import ValidationError

    from mlflow_ledger.producers.promotion_rule import PromotionRule, Target

    asked = {"approvals": "approval", "tag": "tag", "metric": "metric", "artifact": "signature"}
    kinds = [kind for option, kind in asked.items() if says[option] is not None]
    if len(kinds) != 1:
        msg = "a rule asks for one thing: --approvals, --tag, --metric or --artifact"
        raise click.UsageError(msg)
    tag, has_value, value = (says.pop("tag") or "").partition("=")
    key = says.pop("public_key")
    to = [Target.parse(target) for target in targets]
    given = {name: found for name, found in says.items() if found not in (None, ())}
    try:
        return PromotionRule(
            kind=kinds[0],
            aliases=[t.name for t in to if t.kind == "alias"],
            stages=[t.name for t in to if t.kind == "stage"],
            tag=tag or None,
            value=value if has_value else None,
            public_key=None if key is None else read_text(key, "the public key"),
            **{name: list(v) if isinstance(v, tuple) else v for name, v in given.items()},
        )
    except ValidationError as error:
        said = "; ".join(found["msg"].removeprefix("Value error, ") for found in error.errors())
        raise click.UsageError(said) from error


@contextlib.contextmanager
def _store(uri: str, workspace: str | None) -> Iterator[tuple[Ledger, LedgerRegistryStore]]:
    """The registry of a ledger that is there, or a workspace's; MLflow's errors in words."""
    ledger = ledger_at(uri, present=True)
    from mlflow_ledger.query.workspace import check_workspace

    check_workspace(ledger, workspace)
    from mlflow_ledger.producers.promotions import in_our_words
    from mlflow_ledger.producers.workspace_stores import registry_in

    with registry_in(uri, workspace) as store, in_our_words():
        yield ledger, store


def _print(
    name: str, rows: list[PromotionRuleRow], approvals: list[ApprovalRow], *, as_json: bool
) -> None:
    from mlflow_ledger.schemas import format_time

    if as_json:
        said = [
            {**row._asdict(), "checked_by": row.checked_by, "needs": _needs(row)} for row in rows
        ]
        given = [{**row._asdict(), "time": format_time(row.time_ms)} for row in approvals]
        print_json({"model": name, "rules": said, "approvals": given})
        return
    table = [
        (row.rule, ", ".join(row.aliases + row.stages), _needs(row), row.checked_by,
         ", ".join(row.keepers))
        for row in rows
    ]  # fmt: skip
    print_table(("rule", "for", "needs", "checked by", "keepers"), table)
    for given_one in approvals:
        who = f"{given_one.actor} ({given_one.actorkind})"
        what = f"version {given_one.version} for {given_one.kind} {given_one.target}"
        click.echo(safe(f"{format_time(given_one.time_ms)}  {who} approves {what}"))


def _needs(row: PromotionRuleRow) -> str:
    """What a rule asks for, in words."""
    if row.kind == "approval":
        whose = f" of {', '.join(row.approvers)}" if row.approvers else " by others"
        needs = f"{row.approvals} approval(s){whose}"
    elif row.kind == "tag":
        needs = f"tag {row.tag}" + ("" if row.value is None else f"={row.value}")
    elif row.kind == "metric":
        bounds = (("at least", row.at_least), ("at most", row.at_most))
        needs = f"metric {row.metric} " + ", ".join(
            f"{w} {b:g}" for w, b in bounds if b is not None
        )
    else:
        needs = f"{row.artifact} signed by {row.public_key}"
    return f"{needs}, authenticated" if row.authenticated else needs
