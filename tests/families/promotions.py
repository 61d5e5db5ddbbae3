"""Promotion rules, approvals and checks."""

from __future__ import annotations

from typing import Any

from mlflow_ledger.schemas import (
    CommentContent,
    Event,
    PromotionApprovalWithdrawn,
    PromotionApproved,
    PromotionChecked,
    PromotionCheckedContent,
    PromotionFinding,
    PromotionRuleRemoved,
    PromotionRuleSet,
)

_VERSION: dict[str, Any] = {"model_uid": "u", "name": "wine", "version_uid": "v", "version": 3}
_TARGET: dict[str, Any] = {**_VERSION, "kind": "alias", "target": "champion"}
_COMMENT = CommentContent(comment="Seen by two.")

FULL: tuple[Event, ...] = (
    PromotionRuleSet(
        model_uid="u",
        name="wine",
        rule="four-eyes",
        rule_id="r1",
        kind="approval",
        aliases=["champion"],
        stages=["Production"],
        keepers=["ann"],
        authenticated=True,
        approvals=2,
        approvers=["bob", "cid"],
        tag="validated",
        value="yes",
        metric="loss",
        at_least=0.5,
        at_most=1.5,
        artifact="model.pkl",
        public_key="AAAA",
        content=_COMMENT,
    ),
    PromotionApproved(**_TARGET, content=_COMMENT),
    PromotionChecked(
        **_TARGET,
        rule_ids=["r1"],
        content=PromotionCheckedContent(findings=[PromotionFinding(rule="loss", found="0.4")]),
    ),
    PromotionApprovalWithdrawn(**_TARGET, content=_COMMENT),
    PromotionRuleRemoved(model_uid="u", name="wine", rule="four-eyes", content=_COMMENT),
)
