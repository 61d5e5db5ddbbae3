"""Promotion rules that the fold cannot decide about: values of tags, metrics, signed artifacts."""

from __future__ import annotations

import base64
import binascii
import posixpath
import sqlite3
import tempfile
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

import mlflow
from cryptography.exceptions import InvalidSignature

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.consumers.rules.promotion_check import refusal
from mlflow_ledger.query import VersionRow, artifact_at
from mlflow_ledger.query.promotions import PromotionRuleRow, promotion_rules
from mlflow_ledger.schemas import (
    Event,
    LedgerError,
    ModelVersionEvent,
    PromotionChecked,
    PromotionCheckedContent,
    PromotionFinding,
    Refused,
)

from .promotion_rule import public_key_of

__all__ = ["Checked", "Unchecked", "check_rules", "rules_to_check"]

_MOST_BYTES = 512 * 1024**2
_SIGNATURE_BYTES = 64


class _Broken(Exception):
    """A rule does not hold; says why."""


class Unchecked(LedgerError):
    """A promotion that has to be checked by rules before it can be said."""

    def __init__(
        self, version: VersionRow, event: ModelVersionEvent, rules: list[PromotionRuleRow]
    ) -> None:
        super().__init__(f"{event.subject} is not checked by {', '.join(r.rule for r in rules)}")
        self.version, self.event, self.rules = version, event, rules


class Checked(NamedTuple):
    """Rules that hold for a version, by their ids, and what was found."""

    version_uid: str
    rule_ids: list[str]
    findings: list[PromotionFinding]

    def covers(self, version: VersionRow, rules: list[PromotionRuleRow]) -> bool:
        """Whether these are the rules that were checked, for that version."""
        return version.uid == self.version_uid and [r.rule_id for r in rules] == self.rule_ids

    def event(self, promotion: ModelVersionEvent, target: tuple[str, str]) -> PromotionChecked:
        """What is said right before the promotion."""
        kind, name = target
        return PromotionChecked(
            model_uid=promotion.model_uid,
            name=promotion.name,
            version_uid=promotion.version_uid,
            version=promotion.version,
            kind=kind,
            target=name,
            rule_ids=self.rule_ids,
            content=PromotionCheckedContent(findings=self.findings),
        )


def rules_to_check(
    db: sqlite3.Connection, uid: str, target: tuple[str, str]
) -> list[PromotionRuleRow]:
    """The rules about a target that the producer has to check."""
    return [
        rule
        for rule in promotion_rules(db, uid)
        if rule.applies_to(*target) and "producer" in rule.checked_by
    ]


def check_rules(ledger: Ledger, unchecked: Unchecked, target: tuple[str, str]) -> Checked:
    """Check rules, in order of their names.

    Raises:
        Refused: by the first that does not hold; the refusal is kept for the audit.
    """
    version, event, rules = unchecked.version, unchecked.event, unchecked.rules
    findings = []
    for rule in rules:
        try:
            findings.append(_finding(ledger, version, rule))
        except _Broken as broken:
            refused = refusal(rule.rule, event, *target, str(broken), "producer")
            _refuse(ledger, refused)
    return Checked(version.uid, [rule.rule_id for rule in rules], findings)


def _refuse(ledger: Ledger, refused: Refused) -> NoReturn:
    """Refuse as a decision does, so that the audit has it."""

    def decide(_: sqlite3.Connection) -> list[Event]:
        raise refused

    ledger.write(decide)
    raise refused


def _finding(ledger: Ledger, version: VersionRow, rule: PromotionRuleRow) -> PromotionFinding:
    """What was found about a rule that holds.

    Raises:
        _Broken: it does not.
    """
    if rule.kind == "metric":
        found = ledger.query(lambda db: _metric(db, version, rule))
    elif rule.kind == "signature":
        found = _signature(ledger, version, rule)
    else:
        found = _value(version, rule)
    return PromotionFinding(rule=rule.rule, found=found)


def _value(version: VersionRow, rule: PromotionRuleRow) -> str:
    values = dict(version.tags)
    if rule.tag not in values or values[rule.tag] != rule.value:
        found = repr(values[rule.tag]) if rule.tag in values else "no such tag"
        raise _Broken(f"it needs the tag {rule.tag!r} with the value {rule.value!r}, not {found}")
    return f"tag {rule.tag!r} is {rule.value!r}"


def _metric(db: sqlite3.Connection, version: VersionRow, rule: PromotionRuleRow) -> str:
    row = db.execute(
        "SELECT value, is_nan FROM metrics JOIN runs USING (run_no) WHERE run_id = ? AND key = ?",
        (version.run_id, rule.metric),
    ).fetchone()
    wanted = " and ".join(
        f"{words} {bound:g}"
        for words, bound in (("at least", rule.at_least), ("at most", rule.at_most))
        if bound is not None
    )
    if row is None:
        run = f"run {version.run_id}" if version.run_id else "the version, which names no run,"
        raise _Broken(f"it needs the metric {rule.metric!r} of {wanted}, and {run} has none here")
    value, is_nan = row
    low, high = rule.at_least, rule.at_most
    holds = (low is None or value >= low) and (high is None or value <= high)
    if is_nan or not holds:
        found = "NaN" if is_nan else f"{value:g}"
        raise _Broken(f"it needs the metric {rule.metric!r} of {wanted}, and that is {found}")
    return f"metric {rule.metric!r} of run {version.run_id} is {value:g}, {wanted}"


def _signature(ledger: Ledger, version: VersionRow, rule: PromotionRuleRow) -> str:
    assert rule.artifact is not None
    assert rule.public_key is not None
    signature = _signature_in(_bytes(ledger, version, f"{rule.artifact}.sig"))
    data = _bytes(ledger, version, rule.artifact)
    try:
        public_key_of(rule.public_key).verify(signature, data)
    except InvalidSignature:
        what = f"{rule.artifact}.sig is no signature of {rule.artifact} by key {rule.public_key}"
        raise _Broken(what) from None
    return f"artifact {rule.artifact!r} is signed by key {rule.public_key}"


def _signature_in(data: bytes) -> bytes:
    """A signature as it is, or in base64."""
    if len(data) == _SIGNATURE_BYTES:
        return data
    try:
        return base64.b64decode(data.strip(), validate=True)
    except binascii.Error:
        return b""


def _bytes(ledger: Ledger, version: VersionRow, path: str) -> bytes:
    """The bytes of an artifact of a version."""
    location = version.storage_location or version.source or ""
    parts = urlsplit(location)
    try:
        if parts.scheme == "ledger-artifacts" and parts.netloc in ("", ledger.ledger_id):
            return _own(ledger, posixpath.join(parts.path.strip("/"), path))
        with tempfile.TemporaryDirectory() as folder:
            uri = posixpath.join(location, path)
            file = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
            _check_size(path, file.stat().st_size)
            return file.read_bytes()
    except (LedgerError, mlflow.MlflowException, OSError) as error:
        raise _Broken(f"it needs the artifact {path!r} of {location!r}: {error}") from error


def _own(ledger: Ledger, at: str) -> bytes:
    row = ledger.query(lambda db: artifact_at(db, at))
    if row is None:
        raise _Broken(f"it needs the artifact {at!r}, and there is none")
    _check_size(at, row.size_bytes)
    return ledger.carrier.get(row.digest)


def _check_size(path: str, size_bytes: int) -> None:
    if size_bytes > _MOST_BYTES:
        raise _Broken(f"the artifact {path!r} has {size_bytes} bytes; at most {_MOST_BYTES}")
