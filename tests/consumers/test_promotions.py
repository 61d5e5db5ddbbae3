"""Promotion rules as the fold decides them: by whom, in which order, and for ever the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_ledger.bus import Actor, Outgoing, Writer
from mlflow_ledger.consumers import Verdict
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionStageChanged,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    PromotionApprovalWithdrawn,
    PromotionApproved,
    PromotionChecked,
    PromotionRuleRemoved,
    PromotionRuleSet,
    Record,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelDeleted,
    RegisteredModelRenamed,
    TagContent,
)

from .folding import PARTITIONS, Bench, State

ON: dict[str, Any] = {"model_uid": "u", "name": "wine", "version_uid": "v", "version": 1}
CHAMPION: dict[str, Any] = {**ON, "kind": "alias", "target": "champion"}
PROMOTE = RegisteredModelAliasSet(**ON, alias="champion")
APPROVE = PromotionApproved(**CHAMPION)
WITHDRAW = PromotionApprovalWithdrawn(**CHAMPION)
MODEL = RegisteredModelCreated(model_uid="u", name="wine")
VERSION = ModelVersionCreated(
    model_uid="u", name="wine", version_uid="v",
    content=ModelVersionCreatedContent(tags=[KeyValue(key="early", value="1")]),
)  # fmt: skip


def rule(kind: str = "approval", rule_id: str = "1", **fields: Any) -> PromotionRuleSet:
    given = {"aliases": ["champion"], "stages": ["Production"], **fields}
    return PromotionRuleSet(
        model_uid="u", name="wine", rule="r", rule_id=rule_id, kind=kind, **given
    )


class Voices:
    """Events as several people say them."""

    def __init__(self) -> None:
        self.bench = Bench()
        self._writers: dict[tuple[str, str], Writer] = {}
        self.all("ann", MODEL, VERSION)

    def stamped(self, who: str, *events: Event) -> list[Outgoing]:
        name, _, kind = who.partition("/")
        writer = self._writers.setdefault((name, kind), Writer(Actor(name, kind or "os")))
        return writer.stamp_all(events, PARTITIONS)

    def all(self, who: str, *events: Event) -> None:
        verdicts = self.bench.deliver(self.stamped(who, *events))
        assert {verdict.kind for verdict in verdicts} == {"accepted"}, verdicts

    def one(self, who: str, event: Event) -> Verdict:
        (verdict,) = self.bench.deliver(self.stamped(who, event))
        return verdict


@pytest.fixture
def voices() -> Iterator[Voices]:
    voices = Voices()
    yield voices
    again = State()
    again.apply(voices.bench.log.read(voices.bench.log.start()))
    assert again.digest() == voices.bench.digest()
    again.close()
    voices.bench.close()


def refused(verdict: Verdict, words: str) -> None:
    assert (verdict.kind, verdict.code) == ("rejected", "PERMISSION_DENIED"), verdict
    assert "Promotion rule 'r', checked by the fold, refuses" in verdict.message
    assert words in verdict.message


def test_another_than_the_requester_approves(voices: Voices) -> None:
    voices.all("ann", PROMOTE, rule())
    refused(voices.one("ann", PROMOTE), "of others than ann, and has 0")
    voices.all("ann", APPROVE)
    refused(voices.one("ann", PROMOTE), "has 0")
    voices.all("bob", APPROVE)
    voices.all("ann", PROMOTE)
    voices.all("bob", PROMOTE)  # ann has approved that
    stage = ModelVersionStageChanged(**ON, stage="Production")
    refused(voices.one("ann", stage), "stage 'Production' for version 1 of 'wine'")
    voices.all("ann", ModelVersionStageChanged(**ON, stage="Staging"))
    voices.all("ann", RegisteredModelAliasSet(**ON, alias="other"))
    voices.all("bob", WITHDRAW)
    refused(voices.one("ann", PROMOTE), "has 0")
    assert voices.one("bob", WITHDRAW).code == "RESOURCE_DOES_NOT_EXIST"


def test_of_a_race_the_log_decides(voices: Voices) -> None:
    """Two hosts, an approval and a promotion, each seen by neither before it was said."""
    voices.all("ann", rule())
    approval, promotion = voices.stamped("bob", APPROVE), voices.stamped("ann", PROMOTE)
    (late,) = voices.bench.deliver(promotion)
    refused(late, "has 0")
    voices.bench.deliver(approval)
    (again,) = voices.bench.deliver(promotion)  # the same identity keeps its verdict
    assert again.kind == "duplicate"
    voices.all("ann", PROMOTE)


def test_several_approvals_of_named_people(voices: Voices) -> None:
    voices.all("ann", rule(approvals=2, approvers=["bob", "cid", "ann"]))
    voices.all("bob", APPROVE, APPROVE)
    voices.all("bob/claimed", APPROVE)
    voices.all("dan", APPROVE)
    refused(voices.one("ann", PROMOTE), "needs 2 approval(s) of bob, cid, ann than ann, and has 1")
    voices.all("cid", APPROVE)
    voices.all("ann", PROMOTE)
    refused(voices.one("bob", PROMOTE), "has 1")  # he has approved himself


def test_only_the_authenticated_count_where_a_rule_says_so(voices: Voices) -> None:
    voices.all("ann", rule(authenticated=True))
    voices.all("bob", APPROVE)
    refused(voices.one("ann", PROMOTE), "ann is os only, and not authenticated")
    refused(voices.one("ann/authenticated", PROMOTE), "has 0")
    voices.all("bob/authenticated", APPROVE)
    assert voices.one("bob/claimed", WITHDRAW).code == "RESOURCE_DOES_NOT_EXIST"
    refused(voices.one("bob/authenticated", PROMOTE), "has 0")
    voices.all("ann/authenticated", PROMOTE)


def test_a_tag_counts_once_an_event_has_set_it(voices: Voices) -> None:
    """What was given at creation lies in a content, which may be erased one day."""
    voices.all("ann", rule("tag", tag="early"))
    refused(voices.one("ann", PROMOTE), "needs the tag 'early', set after its creation")
    voices.all("ann", ModelVersionTagSet(**ON, tag="early", content=TagContent(value="1")), PROMOTE)
    voices.all("ann", ModelVersionTagDeleted(**ON, tag="early"))
    refused(voices.one("ann", PROMOTE), "needs the tag")
    voices.all("ann", ModelVersionTagSet(**ON, tag="early"), PROMOTE)  # without content, too


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "metric", "metric": "loss", "at_most": 1.0},
        {"kind": "signature", "artifact": "a", "public_key": "k"},
        {"kind": "tag", "tag": "t", "value": "1"},
    ],
    ids=lambda asked: asked["kind"],
)
def test_what_the_producer_checks_is_said_right_before(
    asked: dict[str, Any], voices: Voices
) -> None:
    """A program that knows nothing of the rule cannot get round it."""
    tag = ModelVersionTagSet(**ON, tag="t")
    voices.all("ann", tag, rule(**asked))
    check = PromotionChecked(**CHAMPION, rule_ids=["1"])
    refused(voices.one("ann", PROMOTE), "has not checked the rule; upgrade")
    voices.all("ann", check, PROMOTE)
    refused(voices.one("ann", PROMOTE), "has not checked")  # good for one promotion
    voices.all("bob", check)
    refused(voices.one("ann", PROMOTE), "has not checked")  # and for its own source
    voices.all("ann", check.model_copy(update={"target": "other"}))
    refused(voices.one("ann", PROMOTE), "has not checked")
    voices.all("ann", rule(**asked, rule_id="2"), check)
    refused(voices.one("ann", PROMOTE), "has not checked")  # of the rule as it was


def test_a_rule_is_kept_by_its_keepers(voices: Voices) -> None:
    removal = PromotionRuleRemoved(model_uid="u", name="wine", rule="r")
    voices.all("ann", rule(keepers=["ann"]))
    for event in (removal, rule()):
        verdict = voices.one("bob", event)
        assert verdict.code == "PERMISSION_DENIED"
        assert "bob (os) may not change promotion rule 'r'" in verdict.message
    voices.all("ann", rule(keepers=["ann"], authenticated=True))
    assert voices.one("ann/claimed", removal).code == "PERMISSION_DENIED"
    voices.all("ann/authenticated", removal)
    voices.all("bob", PROMOTE)
    assert voices.one("ann", removal).code == "RESOURCE_DOES_NOT_EXIST"


def test_rules_and_approvals_follow_the_model_and_go_with_it(voices: Voices) -> None:
    voices.all("ann", rule(), RegisteredModelRenamed(model_uid="u", name="wine", new_name="port"))
    refused(voices.one("ann", PROMOTE), "has 0")
    # Another model's uid beside the version's own does not help.
    voices.all("ann", RegisteredModelCreated(model_uid="free", name="free"))
    refused(voices.one("ann", PROMOTE.model_copy(update={"model_uid": "free"})), "has 0")
    voices.all("bob", APPROVE, ModelVersionTagSet(**ON, tag="t"))
    voices.all("ann", RegisteredModelDeleted(model_uid="u", name="port"))
    assert voices.bench.rows("SELECT count(*) FROM items") == [(0,)]
    assert voices.bench.rows("SELECT count(*) FROM item_tags") == [(0,)]


@pytest.mark.parametrize(
    "event",
    [
        rule("nonsense"),
        rule("tag"),
        rule("metric", metric="m", at_least=float("nan")),
        APPROVE.model_copy(update={"kind": "x"}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nonsense_is_refused(event: Event, voices: Voices) -> None:
    assert voices.one("ann", event).code == "INVALID_PARAMETER_VALUE"


def test_rules_of_the_first_version_know_none_of_it(voices: Voices) -> None:
    """A program from before promotion rules stops at what names version 2, and so takes no
    promotion that is refused here. What names version 1 all the same is read by none."""
    (said,) = voices.stamped("ann", rule())
    assert said.record.envelope.rules == 2
    envelope = said.record.envelope._replace(rules=1)
    record = Record(envelope, said.record.head, said.record.content)
    (verdict,) = voices.bench.deliver([said._replace(record=record)])
    assert (verdict.kind, verdict.message) == (
        "unreadable", "rules version 1 knows no PromotionRuleSet",
    )  # fmt: skip
    (promotion,) = voices.stamped("ann", PROMOTE)
    assert promotion.record.envelope.rules == 1
    voices.bench.deliver([promotion])
