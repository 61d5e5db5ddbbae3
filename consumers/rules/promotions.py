"""Rules about promotion rules, approvals and checks."""

from __future__ import annotations

import json
import math

from mlflow_ledger.schemas import (
    PromotionApprovalWithdrawn,
    PromotionApproved,
    PromotionChecked,
    PromotionRuleRemoved,
    PromotionRuleSet,
    Reason,
    Refused,
)

from .context import Context, rule
from .promotion_check import APPROVALS, CHECKS, RULES, parent_of
from .registry import model_no_of, version_of

__all__: list[str] = []

_KINDS = ("approval", "tag", "metric", "signature")
_NEEDED = {"tag": "tag", "metric": "metric", "signature": "public_key"}
_TARGETS = ("alias", "stage")


@rule(PromotionRuleSet)
def rule_set(context: Context, event: PromotionRuleSet) -> None:
    """A rule of this name comes into being, or in the place of the one there was."""
    model_no = model_no_of(context, event)
    _check_keeper(context, event)
    needed = _NEEDED.get(event.kind)
    if event.kind not in _KINDS or (needed and getattr(event, needed) is None):
        raise Refused(Reason.INVALID, f"{event.kind!r} is no kind of rule, or says too little.")
    if not all(math.isfinite(n) for n in (event.at_least, event.at_most) if n is not None):
        raise Refused(Reason.INVALID, "at_least and at_most are finite numbers.")
    fields = event.model_dump(exclude={"content", "model_uid", "name", "rule"})
    _put(context, model_no, RULES, f"{event.model_uid}/{event.rule}", event.rule, fields)


@rule(PromotionRuleRemoved)
def rule_removed(context: Context, event: PromotionRuleRemoved) -> None:
    """A rule that is there goes."""
    model_no_of(context, event)
    _check_keeper(context, event)
    item_id = f"{event.model_uid}/{event.rule}"
    if not context.write("DELETE FROM items WHERE kind = ? AND item_id = ?", RULES, item_id):
        raise Refused(
            Reason.MISSING, f"Promotion rule {event.rule!r} of model {event.name!r} not found"
        )
    context.catalog = True


@rule(PromotionApproved)
def approved(context: Context, event: PromotionApproved) -> None:
    """An actor approves once for each version and target; again changes nothing but the time."""
    model_no, _ = version_of(context, event)
    _check_target(event.kind)
    fields: dict[str, object] = {
        "version_uid": event.version_uid,
        "kind": event.kind,
        "target": event.target,
        "actor": context.envelope.actor,
        "actorkind": context.envelope.actorkind,
    }
    _put(context, model_no, APPROVALS, _approval_id(context, event), None, fields)


@rule(PromotionApprovalWithdrawn)
def approval_withdrawn(context: Context, event: PromotionApprovalWithdrawn) -> None:
    """An actor takes back what they have approved."""
    version_of(context, event)
    item_id = _approval_id(context, event)
    if not context.write("DELETE FROM items WHERE kind = ? AND item_id = ?", APPROVALS, item_id):
        raise Refused(
            Reason.MISSING,
            f"{context.envelope.actor} has not approved {event.kind} {event.target!r} for version "
            f"{event.version} of {event.name!r}",
        )
    context.catalog = True


@rule(PromotionChecked)
def checked(context: Context, event: PromotionChecked) -> None:
    """Of each version the last check is kept."""
    model_no, _ = version_of(context, event)
    _check_target(event.kind)
    fields = {
        "kind": event.kind,
        "target": event.target,
        "source": context.envelope.source,
        "id": context.envelope.id,
        "rule_ids": event.rule_ids,
    }
    _put(context, model_no, CHECKS, event.version_uid, None, fields)


def _put(
    context: Context,
    model_no: int,
    kind: str,
    item_id: str,
    name: str | None,
    fields: dict[str, object],
) -> None:
    context.write(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        kind,
        item_id,
        context.envelope.workspace,
        parent_of(context, model_no),
        name,
        context.envelope.time_ms,
        context.envelope.time_ms,
        json.dumps(fields),
    )
    context.catalog = True


def _approval_id(context: Context, event: PromotionApproved | PromotionApprovalWithdrawn) -> str:
    """One for each version, target and actor: who only claims a name is another than who has it."""
    said_by = [context.envelope.actor, context.envelope.actorkind]
    return json.dumps([event.version_uid, event.kind, event.target, *said_by])


def _check_target(kind: str) -> None:
    if kind not in _TARGETS:
        raise Refused(Reason.INVALID, f"{kind!r} is neither alias nor stage.")


def _check_keeper(context: Context, event: PromotionRuleSet | PromotionRuleRemoved) -> None:
    """A rule that names its keepers is changed by one of them only."""
    row = context.row(
        "SELECT fields FROM items WHERE kind = ? AND item_id = ?",
        RULES,
        f"{event.model_uid}/{event.rule}",
    )
    if row is None:
        return
    said = json.loads(row[0])
    actor, kind = context.envelope.actor, context.envelope.actorkind
    unproved = said["authenticated"] and kind != "authenticated"
    if said["keepers"] and (actor not in said["keepers"] or unproved):
        what = f"{actor} ({kind}) may not change promotion rule {event.rule!r} of {event.name!r}"
        kept = "authenticated " if said["authenticated"] else ""
        msg = f"{what}; its {kept}keepers are {', '.join(said['keepers'])}"
        raise Refused(Reason.DENIED, msg)
