"""Promotion rules and approvals: set, listed, given, withdrawn, also by tags through a server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from mlflow_ledger.query import model_uid
from mlflow_ledger.query.promotions import (
    ApprovalRow,
    PromotionRuleRow,
    promotion_approvals,
    promotion_rules,
)
from mlflow_ledger.schemas import (
    CommentContent,
    LedgerError,
    PromotionApprovalWithdrawn,
    PromotionApproved,
    PromotionRuleRemoved,
    Reason,
    Refused,
)

from .model_versions import ModelVersions
from .promotion_rule import PromotionRule, Target

__all__ = ["APPROVE_TAG", "RULE_TAG", "Promotions", "in_our_words"]

APPROVE_TAG = "ledger.approve."
RULE_TAG = "ledger.rule."
"""How tags begin that are no tags: by them MLflow's clients and its UI reach what is here."""


class Promotions(ModelVersions):
    """Rules for what a version needs before it gets an alias or a stage, and approvals."""

    def set_promotion_rule(
        self, name: str, rule: str, says: PromotionRule, comment: str | None = None
    ) -> None:
        """Set a rule of a registered model, in the place of one of that name."""
        if not rule.strip():
            raise Refused(Reason.INVALID, "a promotion rule has a name")
        self._about(name, lambda uid: says.event(uid, name, rule, comment))

    def remove_promotion_rule(self, name: str, rule: str, comment: str | None = None) -> None:
        """Remove a rule of a registered model."""
        self._about(
            name,
            lambda uid: PromotionRuleRemoved(
                model_uid=uid, name=name, rule=rule, content=_comment(comment)
            ),
        )

    def promotion_rules(self, name: str) -> list[PromotionRuleRow]:
        """The rules of a registered model, in order of their names."""
        rows: list[PromotionRuleRow] = self._ask(lambda db: promotion_rules(db, _uid(db, name)))
        return rows

    def promotion_approvals(self, name: str) -> list[ApprovalRow]:
        """The approvals of all versions of a registered model."""
        rows: list[ApprovalRow] = self._ask(lambda db: promotion_approvals(db, _uid(db, name)))
        return rows

    def approve_promotion(
        self, name: str, version: str | int, target: str, comment: str | None = None
    ) -> None:
        """Approve that a version gets ``champion``, ``Production``, ``alias:…`` or ``stage:…``."""
        to = Target.parse(target)
        self._about_version(
            name, version, PromotionApproved,
            kind=to.kind, target=to.name, content=_comment(comment),
        )  # fmt: skip

    def withdraw_approval(
        self, name: str, version: str | int, target: str, comment: str | None = None
    ) -> None:
        """Take one's approval back."""
        to = Target.parse(target)
        self._about_version(
            name, version, PromotionApprovalWithdrawn,
            kind=to.kind, target=to.name, content=_comment(comment),
        )  # fmt: skip

    def set_model_version_tag(self, name: str, version: str | int, tag: ModelVersionTag) -> None:
        """Set a tag of a version; ``ledger.approve.alias.champion`` approves."""
        target = _target(tag.key)
        if target is None:
            super().set_model_version_tag(name, version, tag)
        else:
            self.approve_promotion(name, version, target, tag.value or None)

    def delete_model_version_tag(self, name: str, version: str | int, key: str) -> None:
        """Delete a tag of a version, if it is there, or withdraw an approval."""
        target = _target(key)
        if target is None:
            super().delete_model_version_tag(name, version, key)
        else:
            self.withdraw_approval(name, version, target)

    def set_registered_model_tag(self, name: str, tag: RegisteredModelTag) -> None:
        """Set a tag; ``ledger.rule.<name>`` sets a promotion rule, given as JSON."""
        rule = _rule(tag.key)
        if rule is None:
            super().set_registered_model_tag(name, tag)
        else:
            self.set_promotion_rule(name, rule, rule_in(tag.value))

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a tag, if it is there, or remove a promotion rule."""
        rule = _rule(key)
        if rule is None:
            super().delete_registered_model_tag(name, key)
        else:
            self.remove_promotion_rule(name, rule)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Have commands meet errors of ours only.

    Raises:
        LedgerError: what a store has raised as MLflow's.
    """
    try:
        yield
    except MlflowException as error:
        raise LedgerError(error.message) from error


def rule_in(text: object) -> PromotionRule:
    """The rule that a JSON text says.

    Raises:
        Refused: it says none.
    """
    try:
        return PromotionRule.model_validate(json.loads(str(text)))
    except ValidationError:
        raise  # told by its fields
    except ValueError as error:
        raise Refused(Reason.INVALID, f"a promotion rule is given as JSON: {error}") from error


def _comment(comment: str | None) -> CommentContent | None:
    return None if comment is None else CommentContent(comment=comment)


def _target(key: object) -> str | None:
    """The target that a tag's key approves: ``alias:…`` or ``stage:…``."""
    if not isinstance(key, str) or not key.startswith(APPROVE_TAG):
        return None
    kind, _, name = key.removeprefix(APPROVE_TAG).partition(".")
    if kind not in ("alias", "stage") or not name:
        what = f"{APPROVE_TAG}alias.NAME and {APPROVE_TAG}stage.NAME approve; {key!r} does not"
        raise Refused(Reason.INVALID, what)
    return f"{kind}:{name}"


def _rule(key: object) -> str | None:
    is_rule = isinstance(key, str) and key.startswith(RULE_TAG)
    return str(key).removeprefix(RULE_TAG) if is_rule else None


def _uid(db: sqlite3.Connection, name: str) -> str:
    uid = model_uid(db, name)
    if uid is None:
        raise Refused(Reason.MISSING, f"Registered Model with name={name} not found")
    return uid
