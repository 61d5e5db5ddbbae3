"""Whether promotion rules let a version have an alias or a stage: decided by what events say.

Rules, approvals and checks stand in the table of items, under the uid of their model. Nothing here
looks at a content: a verdict stays the same when what was said is erased.
"""

from __future__ import annotations

import json
from typing import Any

from mlflow_ledger.schemas import (
    ModelVersionEvent,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    Reason,
    Refused,
)

from .context import Context

__all__ = [
    "APPROVALS",
    "CHECKS",
    "RULES",
    "VERSION_TAGS",
    "check_promotion",
    "forget_promotions",
    "note_version_tag",
    "parent_of",
    "promotion_parent",
    "refusal",
]

RULES = "promotion_rules"
APPROVALS = "promotion_approvals"
CHECKS = "promotion_checks"
VERSION_TAGS = "version_tags"
"""Under which the table of items' tags keeps the tags that were set by an event of their own."""

_BY_PRODUCER = ("metric", "signature")


def promotion_parent(model_uid: str) -> str:
    """What the items of one model's promotions hang on."""
    return f"promotions:/{model_uid}"


def parent_of(context: Context, model_no: int) -> str:
    """The same, of the model of a number."""
    (uid,) = context.row("SELECT uid FROM registered_models WHERE model_no = ?", model_no)
    return promotion_parent(uid)


def refusal(
    rule: str, event: ModelVersionEvent, kind: str, target: str, why: str, by: str
) -> Refused:
    """The refusal of a promotion, ``by`` the fold or the producer."""
    what = f"{kind} {target!r} for version {event.version} of {event.name!r}"
    message = f"Promotion rule {rule!r}, checked by the {by}, refuses {what}: {why}"
    return Refused(Reason.DENIED, message, event)


def check_promotion(
    context: Context, event: ModelVersionEvent, model_no: int, kind: str, target: str
) -> None:
    """Do nothing where every rule about this alias or stage lets the version have it.

    Whose rules count is told by the version, whatever model the event names.

    Raises:
        Refused: by the first rule, in order of their names, that does not hold.
    """
    parent = parent_of(context, model_no)
    rows = context.db.execute(
        "SELECT name, fields FROM items WHERE parent = ? AND kind = ? ORDER BY name",
        (parent, RULES),
    ).fetchall()
    for name, fields in rows:
        rule = json.loads(fields)
        if target not in rule["aliases" if kind == "alias" else "stages"]:
            continue
        why = _broken(context, event, parent, kind, target, rule)
        if why:
            raise refusal(name, event, kind, target, why, "fold")


def _broken(
    context: Context,
    event: ModelVersionEvent,
    parent: str,
    kind: str,
    target: str,
    rule: dict[str, Any],
) -> str:
    """Why a rule does not hold, nothing where it does."""
    if rule["authenticated"] and context.envelope.actorkind != "authenticated":
        actor = context.envelope.actor
        return f"{actor} is {context.envelope.actorkind} only, and not authenticated by a server"
    why = ""
    if rule["kind"] == "approval":
        why = _unapproved(context, event, parent, kind, target, rule)
    elif rule["kind"] == "tag":
        why = _untagged(context, event, rule)
    by_producer = rule["kind"] in _BY_PRODUCER or rule["value"] is not None
    if not why and by_producer and not _is_checked(context, event, kind, target, rule):
        why = "who said it has not checked the rule; upgrade mlflow-ledger there, and try again"
    return why


def _unapproved(
    context: Context,
    event: ModelVersionEvent,
    parent: str,
    kind: str,
    target: str,
    rule: dict[str, Any],
) -> str:
    rows = context.db.execute(
        "SELECT fields FROM items WHERE parent = ? AND kind = ?",
        (parent, APPROVALS),
    ).fetchall()
    wanted = [event.version_uid, kind, target]
    requester, allowed = context.envelope.actor, rule["approvers"]
    actors = {
        said["actor"]
        for said in (json.loads(fields) for (fields,) in rows)
        if [said["version_uid"], said["kind"], said["target"]] == wanted
        and said["actor"] != requester
        and (not allowed or said["actor"] in allowed)
        and (not rule["authenticated"] or said["actorkind"] == "authenticated")
    }
    if len(actors) >= rule["approvals"]:
        return ""
    whose = f"of {', '.join(allowed)}" if allowed else "of others"
    kept = "authenticated " if rule["authenticated"] else ""
    return (
        f"it needs {rule['approvals']} {kept}approval(s) {whose} than {requester}, "
        f"and has {len(actors)}"
    )


def _untagged(context: Context, event: ModelVersionEvent, rule: dict[str, Any]) -> str:
    there = context.row(
        "SELECT 1 FROM item_tags WHERE kind = ? AND item_id = ? AND key = ?",
        VERSION_TAGS,
        event.version_uid,
        rule["tag"],
    )
    return "" if there else f"it needs the tag {rule['tag']!r}, set after its creation"


def _is_checked(
    context: Context, event: ModelVersionEvent, kind: str, target: str, rule: dict[str, Any]
) -> bool:
    """Whether the event before it, of the same source, says that the rule was checked for it."""
    row = context.row(
        "SELECT fields FROM items WHERE kind = ? AND item_id = ?", CHECKS, event.version_uid
    )
    if row is None:
        return False
    said = json.loads(row[0])
    before = [context.envelope.source, context.envelope.id - 1, kind, target]
    same = [said["source"], said["id"], said["kind"], said["target"]] == before
    return same and rule["rule_id"] in said["rule_ids"]


def note_version_tag(
    context: Context, event: ModelVersionTagSet | ModelVersionTagDeleted, *, there: bool
) -> None:
    """Remember which tags events have set by name: those of a creation lie in its content."""
    if there:
        context.write(
            "INSERT OR REPLACE INTO item_tags VALUES (?, ?, ?, NULL)",
            VERSION_TAGS,
            event.version_uid,
            event.tag,
        )
    else:
        context.write(
            "DELETE FROM item_tags WHERE kind = ? AND item_id = ? AND key = ?",
            VERSION_TAGS,
            event.version_uid,
            event.tag,
        )


def forget_promotions(context: Context, model_no: int) -> None:
    """A model goes with its rules, and all that was approved and checked."""
    context.write(
        "DELETE FROM item_tags WHERE kind = ? AND item_id IN "
        "(SELECT uid FROM model_versions WHERE model_no = ?)",
        VERSION_TAGS,
        model_no,
    )
    context.write("DELETE FROM items WHERE parent = ?", parent_of(context, model_no))
