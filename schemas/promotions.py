"""Events about promotion rules: what a version needs before it gets an alias or a stage.

They name rules version 2, which programs from before them do not know: those stop at such an event,
instead of taking promotions that it refuses. What came before it is decided as it always was.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Part
from .registry import ModelVersionEvent, RegisteredModelEvent

__all__ = [
    "CommentContent",
    "PromotionApprovalWithdrawn",
    "PromotionApproved",
    "PromotionChecked",
    "PromotionCheckedContent",
    "PromotionFinding",
    "PromotionRuleRemoved",
    "PromotionRuleSet",
]

_RULES = 2


class CommentContent(Content):
    """What was said about it."""

    comment: str | None = None


class PromotionRuleSet(RegisteredModelEvent):
    """A rule for promotions was set, or set anew: ``kind`` is approval, tag, metric or signature.

    It applies to the aliases and stages that it names. ``rule_id`` is new each time. ``keepers``
    are the actors who may change it, anyone where there are none. With ``authenticated`` an actor
    counts only where a server has authenticated them.
    """

    topic_name: ClassVar[str] = "catalog"
    rules_version: ClassVar[int] = _RULES
    rule: str
    rule_id: str
    kind: str
    aliases: list[str] = Field(default_factory=list)
    stages: list[str] = Field(default_factory=list)
    keepers: list[str] = Field(default_factory=list)
    authenticated: bool = False
    approvals: int = 1
    approvers: list[str] = Field(default_factory=list)
    tag: str | None = None
    value: str | None = None
    metric: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    artifact: str | None = None
    public_key: str | None = None
    content: CommentContent | None = None


class PromotionRuleRemoved(RegisteredModelEvent):
    """A rule for promotions was removed."""

    topic_name: ClassVar[str] = "catalog"
    rules_version: ClassVar[int] = _RULES
    rule: str
    content: CommentContent | None = None


class PromotionApproved(ModelVersionEvent):
    """Its actor approves that the version gets an alias or a stage: ``kind`` says which of them."""

    topic_name: ClassVar[str] = "catalog"
    rules_version: ClassVar[int] = _RULES
    kind: str
    target: str
    content: CommentContent | None = None


class PromotionApprovalWithdrawn(ModelVersionEvent):
    """Its actor takes an approval back."""

    topic_name: ClassVar[str] = "catalog"
    rules_version: ClassVar[int] = _RULES
    kind: str
    target: str
    content: CommentContent | None = None


class PromotionFinding(Part):
    """What was found about one rule."""

    rule: str
    found: str


class PromotionCheckedContent(Content):
    """What was found, a line for each rule."""

    findings: list[PromotionFinding] = Field(default_factory=list)


class PromotionChecked(ModelVersionEvent):
    """The producer has checked rules that it alone can check; they hold.

    It is good for one promotion: the very next event of its source. ``rule_ids`` are the rules.
    """

    topic_name: ClassVar[str] = "catalog"
    rules_version: ClassVar[int] = _RULES
    kind: str
    target: str
    rule_ids: list[str]
    content: PromotionCheckedContent | None = None
