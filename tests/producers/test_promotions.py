"""Promotion rules through MLflow's client, the audit and the commands."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException

from mlflow_ledger.bus import Actor, acting_as
from mlflow_ledger.producers import promotion_checks
from mlflow_ledger.producers.promotion_rule import PromotionRule
from mlflow_ledger.producers.registry_store import LedgerRegistryStore
from mlflow_ledger.query.audit import AuditRow, audit
from mlflow_ledger.query.cli.program import program

KEY = Ed25519PrivateKey.generate()
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
FOR: dict[str, Any] = {"aliases": ["champion"], "stages": ["Production"]}


class Registry:
    """A store and MLflow's client on it, with one version of one model."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"ledger://{folder}/store"
        self.client = MlflowClient(self.uri, self.uri)
        self.store = LedgerRegistryStore(self.uri)
        self.run_id = self.client.create_run("0").info.run_id
        self.client.create_registered_model("wine")
        root = self.client.get_run(self.run_id).info.artifact_uri
        self.client.create_model_version("wine", f"{root}/model", self.run_id)

    def rule(self, **says: Any) -> None:
        self.store.set_promotion_rule("wine", "r", PromotionRule(**{**FOR, **says}))

    def promote(self) -> None:
        self.client.set_registered_model_alias("wine", "champion", "1")

    def refused(self, words: str, by: str) -> None:
        before = self.rows()
        with pytest.raises(MlflowException, match="Promotion rule 'r'") as caught:
            self.promote()
        assert caught.value.error_code == "PERMISSION_DENIED"
        assert f"checked by the {by}, refuses alias 'champion'" in caught.value.message
        assert words in caught.value.message
        *kept, row = self.rows()
        assert kept == before
        assert (row.action, row.verdict, row.message) == (
            "RegisteredModelAliasSet", "rejected", caught.value.message[:200],
        ) or row.message.startswith(caught.value.message[:190])  # fmt: skip

    def rows(self) -> list[AuditRow]:
        return list(audit(self.store._ledger, "models:/wine/1"))

    def log(self, path: str, data: bytes, folder: Path) -> None:
        file = folder / Path(path).name
        file.write_bytes(data)
        self.client.log_artifact(self.run_id, str(file), "model")

    def command(self, *words: str, status: int = 0) -> Any:
        name, *rest = words
        done = CliRunner().invoke(program, [name, self.uri, *rest])
        assert done.exit_code == status, (done.output, done.exception)
        return done.output if status or "--json" not in words else json.loads(done.stdout)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"ledger://{tmp_path}/store")
    made = Registry(tmp_path)
    yield made
    made.store.close()


def acting(name: str, kind: str, work: Callable[[], object]) -> None:
    before = acting_as.set(Actor(name, kind))
    try:
        work()
    finally:
        acting_as.reset(before)


def test_an_approval_is_asked_for_and_the_audit_tells_the_story(registry: Registry) -> None:
    registry.rule(kind="approval", approvals=1)
    registry.refused("needs 1 approval(s) of others", "fold")
    with pytest.raises(MlflowException, match="stage 'Production'"):
        registry.client.transition_model_version_stage("wine", "1", "production")
    approve = lambda: registry.store.approve_promotion("wine", 1, "champion", "Fine.")  # noqa: E731
    approve()
    registry.refused("has 0", "fold")
    acting("bob", "claimed", approve)
    registry.promote()
    approved, promoted = registry.rows()[-2:]
    assert (approved.action, approved.actor) == ("PromotionApproved", "bob")
    assert approved.detail["comment"] == "Fine."
    assert (promoted.action, promoted.verdict) == ("RegisteredModelAliasSet", "accepted")
    (rule,) = registry.store.promotion_rules("wine")
    assert (rule.rule, rule.checked_by) == ("r", "fold")
    assert [row.actor for row in registry.store.promotion_approvals("wine")][-1] == "bob"
    acting("bob", "claimed", lambda: registry.store.withdraw_approval("wine", 1, "champion"))
    registry.refused("has 0", "fold")
    registry.store.remove_promotion_rule("wine", "r", "Done with.")
    registry.promote()


def test_a_rule_follows_renames(registry: Registry) -> None:
    registry.rule(kind="approval")
    registry.client.rename_registered_model("wine", "port")
    with pytest.raises(MlflowException, match="for version 1 of 'port'"):
        registry.client.set_registered_model_alias("port", "champion", "1")
    registry.client.delete_registered_model("port")
    registry.client.create_registered_model("wine")
    assert registry.store.promotion_rules("wine") == []


def test_a_tag_and_its_value(registry: Registry) -> None:
    registry.rule(kind="tag", tag="validated", value="yes")
    registry.refused("needs the tag 'validated' with the value 'yes', not no such tag", "producer")
    registry.client.set_model_version_tag("wine", "1", "validated", "no")
    registry.refused("not 'no'", "producer")
    registry.client.set_model_version_tag("wine", "1", "validated", "yes")
    registry.promote()
    checked, promoted = registry.rows()[-2:]
    assert (checked.action, promoted.action) == ("PromotionChecked", "RegisteredModelAliasSet")
    assert checked.detail["findings"] == {"r": "tag 'validated' is 'yes'"}
    registry.rule(kind="tag", tag="other")
    registry.refused("needs the tag 'other', set after its creation", "fold")


def test_a_metric_has_to_reach_a_threshold(registry: Registry) -> None:
    registry.rule(kind="metric", metric="loss", at_most=0.5)
    registry.refused("has none here", "producer")
    registry.client.log_metric(registry.run_id, "loss", 0.7, step=1)
    registry.refused("metric 'loss' of at most 0.5, and that is 0.7", "producer")
    registry.client.log_metric(registry.run_id, "loss", float("nan"), step=2)
    registry.refused("that is NaN", "producer")
    registry.client.log_metric(registry.run_id, "loss", 0.25, step=3)
    registry.promote()
    registry.client.transition_model_version_stage("wine", "1", "Production")
    registry.rule(kind="metric", metric="loss", at_most=0.5, at_least=0.3)
    registry.refused("at least 0.3 and at most 0.5, and that is 0.25", "producer")


@pytest.mark.parametrize("encode", [bytes, base64.b64encode], ids=["raw", "base64"])
def test_an_artifact_has_to_be_signed(
    encode: Callable[[bytes], bytes], registry: Registry, tmp_path: Path
) -> None:
    registry.rule(kind="signature", artifact="weights", public_key=PUBLIC)
    registry.refused("there is none", "producer")
    registry.log("weights", b"the weights", tmp_path)
    registry.refused("weights.sig", "producer")
    registry.log("weights.sig", b"no signature", tmp_path)
    registry.refused("no signature of weights by key", "producer")
    registry.log("weights.sig", encode(KEY.sign(b"the weights")), tmp_path)
    registry.promote()
    registry.log("weights", b"other weights", tmp_path)
    registry.refused("no signature of weights", "producer")


def test_artifacts_that_lie_elsewhere_are_fetched(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    registry.client.create_model_version("wine", str(folder))
    registry.rule(kind="signature", artifact="weights", public_key=PUBLIC)
    promote = lambda: registry.client.set_registered_model_alias("wine", "champion", "2")  # noqa: E731
    with pytest.raises(MlflowException, match=r"needs the artifact 'weights\.sig'"):
        promote()
    (folder / "weights").write_bytes(b"w")
    (folder / "weights.sig").write_bytes(KEY.sign(b"w"))
    promote()


def test_a_rule_that_changes_while_it_is_checked_is_checked_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.rule(kind="metric", metric="loss", at_most=0.5)
    registry.client.log_metric(registry.run_id, "loss", 0.4)
    metric = promotion_checks._metric
    seen = []

    def meanwhile(*arguments: Any) -> str:
        found = metric(*arguments)
        if not seen:
            registry.rule(kind="metric", metric="loss", at_most=0.3)
        seen.append(arguments)
        return found

    monkeypatch.setattr(promotion_checks, "_metric", meanwhile)
    registry.refused("at most 0.3, and that is 0.4", "producer")


def test_tags_reach_it_through_any_client(registry: Registry) -> None:
    says = {"kind": "approval", "aliases": ["champion"]}
    registry.client.set_registered_model_tag("wine", "ledger.rule.r", json.dumps(says))
    registry.refused("has 0", "fold")
    tag = ModelVersionTag("ledger.approve.alias.champion", "Seen.")
    acting("bob", "authenticated", lambda: registry.store.set_model_version_tag("wine", "1", tag))
    registry.promote()
    assert registry.client.get_model_version("wine", "1").tags == {}
    acting(
        "bob", "authenticated",
        lambda: registry.store.delete_model_version_tag("wine", "1", tag.key),
    )  # fmt: skip
    registry.refused("has 0", "fold")
    registry.client.delete_registered_model_tag("wine", "ledger.rule.r")
    registry.promote()
    for key, value in {
        "ledger.rule.r": "no JSON",
        "ledger.rule.s": '{"kind": "tag", "aliases": ["a"]}',
        "ledger.rule. ": json.dumps(says),
    }.items():
        with pytest.raises(MlflowException) as caught:
            registry.client.set_registered_model_tag("wine", key, value)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException, match=r"alias\.NAME"):
        registry.client.set_model_version_tag("wine", "1", "ledger.approve.champion", "x")


def test_the_commands(registry: Registry, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    rules = ("rules", "models:/wine")
    registry.command(*rules, "add", "two", "--for", "champion", "--for", "production",
                     "--approvals", "2", "--keeper", "ann", "--comment", "As agreed.")  # fmt: skip
    registry.command(
        *rules, "add", "good", "--for", "champion", "--metric", "loss", "--at-most", "1"
    )
    registry.command(*rules, "add", "seen", "--for", "champion", "--tag", "validated=yes")
    signed = ("--artifact", "weights", "--public-key", str(pem))
    said = registry.command(*rules, "add", "x", "--for", "alias:Production", *signed, "--json")
    found = {rule["rule"]: rule for rule in said["rules"]}
    assert (found["two"]["aliases"], found["two"]["stages"]) == (["champion"], ["Production"])
    assert (found["x"]["aliases"], found["x"]["public_key"]) == (["Production"], PUBLIC)
    assert found["seen"]["checked_by"] == "fold and producer"
    assert found["good"]["needs"] == "metric loss at most 1"
    said = registry.command("approve", "models:/wine/1", "--for", "champion", "--json")
    assert [(a["version"], a["kind"], a["target"]) for a in said["approvals"]] == [
        (1, "alias", "champion")
    ]
    text = registry.command(*rules)
    assert "2 approval(s) by others" in text
    assert "approves version 1 for alias champion" in text
    registry.command("approve", "models:/wine/1", "--for", "champion", "--withdraw")
    assert "has not approved" in registry.command(
        "approve", "models:/wine/1", "--for", "champion", "--withdraw", status=1
    )
    assert "may not change" in registry.command(*rules, "remove", "two", status=1)
    registry.command(*rules, "remove", "good")
    assert "not found" in registry.command(*rules, "remove", "good", status=1)
    for wrong in (
        ("rules", "models:/wine", "add"),
        ("rules", "models:/wine/1"),
        ("rules", "models:/wine", "list", "x"),
        ("rules", "models:/wine", "add", "x", "--for", "a"),
        ("rules", "models:/wine", "add", "x", "--for", "a", "--tag", "t", "--metric", "m"),
        ("rules", "models:/wine", "add", "x", "--approvals", "1"),
        ("rules", "models:/wine", "add", "x", "--for", "a", "--metric", "m"),
        ("approve", "models:/wine", "--for", "a"),
    ):
        registry.command(*wrong, status=2)
