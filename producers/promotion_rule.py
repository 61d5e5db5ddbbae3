"""What a promotion rule may say, checked before it is said."""

from __future__ import annotations

import base64
import binascii
import math
import uuid
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from mlflow.entities.model_registry.model_version_stages import ALL_STAGES, get_canonical_stage
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mlflow_ledger.schemas import CommentContent, PromotionRuleSet

__all__ = ["PromotionRule", "Target", "public_key_of"]

Kind = Literal["approval", "tag", "metric", "signature"]


class Target(BaseModel):
    """What a version is promoted to: an alias, or a stage by its canonical name."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["alias", "stage"]
    name: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``champion``, ``Production``, ``alias:…`` or ``stage:…``; a stage's name is one."""
        kind, found, name = text.partition(":")
        if found and kind in ("alias", "stage"):
            return (
                cls(kind="stage", name=get_canonical_stage(name))
                if kind == "stage"
                else cls(kind="alias", name=name)
            )
        stage = next((stage for stage in ALL_STAGES if stage.lower() == text.lower()), None)
        return cls(kind="stage", name=stage) if stage else cls(kind="alias", name=text)


class PromotionRule(BaseModel):
    """A rule about aliases and stages of one registered model.

    ``approval``: so many ``approvals`` by others than the requester, of ``approvers`` where these
    are named. ``tag``: a tag that is set, with this ``value`` where one is given. ``metric``: the
    last value of a metric of the version's run, ``at_least`` or ``at_most`` so much. ``signature``:
    an ``artifact`` of the model, signed by Ed25519 in a file of its name and ``.sig``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    aliases: list[str] = Field(default_factory=list)
    stages: list[str] = Field(default_factory=list)
    keepers: list[str] = Field(default_factory=list)
    authenticated: bool = False
    approvals: int = Field(default=1, ge=1, le=100)
    approvers: list[str] = Field(default_factory=list)
    tag: str | None = None
    value: str | None = None
    metric: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    artifact: str | None = None
    public_key: str | None = None

    @field_validator("stages")
    @classmethod
    def _canonical(cls, stages: list[str]) -> list[str]:
        return [get_canonical_stage(stage) for stage in stages]

    @field_validator("public_key")
    @classmethod
    def _key(cls, text: str | None) -> str | None:
        if text is None:
            return None
        raw = public_key_of(text).public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    @model_validator(mode="after")
    def _says_enough(self) -> PromotionRule:
        if not self.aliases and not self.stages:
            raise ValueError("a rule names the aliases or stages that it is about")
        thresholds = [n for n in (self.at_least, self.at_most) if n is not None]
        enough = {
            "approval": not self.approvers or len(set(self.approvers)) >= self.approvals,
            "tag": bool(self.tag),
            "metric": bool(self.metric and thresholds and all(map(math.isfinite, thresholds))),
            "signature": bool(self.artifact and self.public_key),
        }
        if not enough[self.kind]:
            raise ValueError(_NEEDS[self.kind])
        return self

    def event(self, model_uid: str, name: str, rule: str, comment: str | None) -> PromotionRuleSet:
        """The event that sets it, under a new id."""
        fields: dict[str, Any] = self.model_dump()
        return PromotionRuleSet(
            model_uid=model_uid,
            name=name,
            rule=rule,
            rule_id=str(uuid.uuid4()),
            content=None if comment is None else CommentContent(comment=comment),
            **fields,
        )


_NEEDS = {
    "approval": "a rule of kind approval names at least as many approvers as it asks for, or none",
    "tag": "a rule of kind tag names a tag",
    "metric": "a rule of kind metric names a metric, and a finite at_least or at_most",
    "signature": "a rule of kind signature names an artifact and a public key",
}


def public_key_of(text: str) -> Ed25519PublicKey:
    """An Ed25519 public key from PEM, or from its 32 bytes in base64.

    Raises:
        ValueError: it is neither.
    """
    try:
        if "BEGIN" not in text:
            return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
        key = load_pem_public_key(text.encode())
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError("it is no Ed25519 public key, in PEM or as base64 of 32 bytes") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is a public key, but not of Ed25519")  # noqa: TRY004  # pydantic's
    return key
