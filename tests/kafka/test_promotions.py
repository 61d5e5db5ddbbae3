"""Promotion rules on several hosts: the log decides, and no writer gets round it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.bus import Actor, Writer
from mlflow_ledger.consumers import KafkaLedger
from mlflow_ledger.query.audit import audit
from mlflow_ledger.schemas import (
    Event,
    ModelVersionCreated,
    PromotionApproved,
    PromotionRuleSet,
    Reason,
    Refused,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
)

from .hosts import digests, on_hosts
from .servers import servers

ON: dict[str, Any] = {"model_uid": "u", "name": "wine", "version_uid": "v", "version": 1}
RULE: dict[str, Any] = {"model_uid": "u", "name": "wine", "aliases": ["champion"]}
PROMOTE = RegisteredModelAliasSet(**ON, alias="champion")
APPROVE = PromotionApproved(**ON, kind="alias", target="champion")


def publish(host: KafkaLedger, actor: str, *events: Event) -> None:
    """What a writer says that has looked at nothing before."""
    host.kafka.append(Writer(Actor(actor, "os")).stamp_all(events, host.log.partitions()))


def say(host: KafkaLedger, *events: Event) -> None:
    host.write(lambda _: events)


def test_hosts_agree_on_who_was_first(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path) as (one, two):
        say(one, RegisteredModelCreated(model_uid="u", name="wine"))
        say(one, ModelVersionCreated(model_uid="u", name="wine", version_uid="v"))
        approval = PromotionRuleSet(**RULE, rule="a", rule_id="1", kind="approval")
        metric = PromotionRuleSet(
            **RULE, rule="m", rule_id="2", kind="metric", metric="loss", at_most=1
        )
        say(two, approval)
        with pytest.raises(Refused, match="Promotion rule 'a', checked by the fold") as refused:
            say(one, PROMOTE)
        assert refused.value.reason is Reason.DENIED
        publish(two, "ann", PROMOTE)  # lost: before the approval
        publish(two, "bob", APPROVE)
        publish(one, "ann", PROMOTE)  # taken
        say(one, metric)
        publish(two, "ann", PROMOTE)  # of a program that does not know of the rule
        found = []
        for host in (one, two):
            host.catch_up()
            rows = [r for r in audit(host, "models:/wine/1") if "AliasSet" in r.action]
            found.append([(row.verdict, row.message[:60]) for row in rows])
        assert [verdict for verdict, _ in found[0]] == [
            "rejected", "rejected", "accepted", "rejected",
        ]  # fmt: skip
        assert "Promotion rule 'm', checked by the fold" in found[0][-1][1]
        assert found[0] == found[1]
        assert digests(one) == digests(two)
