"""The audit names who did what, with what verdict, and follows models through their names."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from mlflow_ledger.bus import Outgoing, Position, Writer, system_actor
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.query import verdicts
from mlflow_ledger.query.address import Unknown
from mlflow_ledger.query.audit import AuditRow, audit
from mlflow_ledger.schemas import (
    LogDamaged,
    Record,
    RunDataLogged,
    RunDataLoggedContent,
    SettingsError,
    parse_time,
)

from .story import EXPERIMENT, LONG, MODEL_ID, RUN, WEBHOOK, Story


def rows(story: Story, *args: Any, **kwargs: Any) -> list[AuditRow]:
    return list(audit(story.ledger, *args, **kwargs))


def told(found: list[AuditRow]) -> list[tuple[str, str, str, str]]:
    return [(row.actor, row.action, row.entity, row.verdict) for row in found]


def test_a_version_from_creation_to_deletion(story: Story) -> None:
    found = [row for row in rows(story, "models:/vino/1") if row.uid == "uid-wine"]
    assert told(found) == [
        ("alice", "ModelVersionCreated", "models:/wine", "accepted"),
        ("alice", "ModelVersionStageChanged", "models:/wine/1", "accepted"),
        ("alice", "ModelVersionStageChanged", "models:/wine/1", "accepted"),
        ("alice", "RegisteredModelAliasSet", "models:/wine/1", "accepted"),
        ("alice", "ModelVersionTagSet", "models:/wine/1", "accepted"),
        ("alice", "ModelVersionUpdated", "models:/wine/1", "accepted"),
        ("bob", "ModelVersionStageChanged", "models:/wine/2", "accepted"),
        ("bob", "RegisteredModelAliasSet", "models:/wine/2", "accepted"),
        ("alice", "RegisteredModelRenamed", "models:/wine", "accepted"),
        ("alice", "ModelVersionDeleted", "models:/vino/1", "accepted"),
        ("bob", "ModelVersionStageChanged", "models:/vino/1", "rejected"),
    ]
    changes = [row.detail["changes"] for row in found if "changes" in row.detail]
    assert changes == [
        [{"version": 1, "what": "stage", "from": "None", "to": "Staging"}],
        [{"version": 1, "what": "stage", "from": "Staging", "to": "Production"}],
        [{"version": 1, "what": "alias", "alias": "champion", "from": None, "to": "1"}],
        [{"version": 1, "what": "stage", "from": "Production", "to": "Archived"}],
        [{"version": 1, "what": "alias", "alias": "champion", "from": "1", "to": "2"}],
        [{"version": 1, "what": "name", "from": "wine", "to": "vino"}],
        [{"version": 1, "what": "deleted", "from": "Archived", "to": None}],
    ]
    created, *_, refused = found
    assert created.detail["version"] == 1
    assert created.detail["run_id"] == RUN
    assert refused.code == "RESOURCE_DOES_NOT_EXIST"
    assert "version=1" in refused.message


def test_an_alias_deleted_concerns_the_version_that_had_it(story: Story) -> None:
    spare = [row for row in rows(story, "models:/vino/2") if row.detail.get("alias") == "spare"]
    assert [row.action for row in spare] == [
        "RegisteredModelAliasSet",
        "RegisteredModelAliasDeleted",
    ]
    assert spare[1].detail["changes"] == [
        {"version": 2, "what": "alias", "alias": "spare", "from": "2", "to": None}
    ]
    assert not [row for row in rows(story, "models:/vino/1") if row.detail.get("alias") == "spare"]


def test_a_name_taken_again_is_told_apart_by_uid(story: Story) -> None:
    by_uid: dict[str | None, list[str]] = {}
    for row in rows(story, "models:/wine"):
        by_uid.setdefault(row.uid, []).append(row.action)
    assert set(by_uid) == {"uid-wine", "uid-new"}
    assert by_uid["uid-new"] == [
        "RegisteredModelCreated",
        "ModelVersionCreated",
        "ModelVersionStageChanged",
    ]
    assert "RegisteredModelRenamed" in by_uid["uid-wine"]
    assert "ModelVersionDeleted" in by_uid["uid-wine"]
    assert {row.uid for row in rows(story, "models:/vino")} == {"uid-wine"}


def test_a_refused_attempt_is_told_with_who_and_why(story: Story) -> None:
    (attempt,) = rows(story, "models:/wine/9")
    assert (attempt.actor, attempt.actorkind, attempt.verdict) == ("bob", "claimed", "rejected")
    assert attempt.action == "RegisteredModelAliasSet"
    assert attempt.message == "Model Version (name=wine, version=9) not found"
    assert attempt.host == socket.gethostname()
    assert attempt.client.startswith("mlflow-ledger/")


def test_a_refused_attempt_without_a_uid_is_about_who_had_the_name(story: Story) -> None:
    (attempt,) = rows(story, "models:/vino/8")
    assert (attempt.action, attempt.entity) == ("ModelVersionDeleted", "models:/wine/8")
    assert (attempt.uid, attempt.verdict) == ("uid-wine", "rejected")


def test_a_run_with_its_files_and_its_experiments_deletion(story: Story) -> None:
    found = rows(story, f"runs:/{RUN}")
    actions = [row.action for row in found]
    assert actions == [
        "RunCreated",
        "RunDataLogged",
        "InputsLogged",
        "ArtifactLogged",
        "ArtifactLogged",
        "ArtifactLogged",
        "ArtifactDeleted",
        "RunUpdated",
        "RunDataLogged",
        "ExperimentDeleted",
        "ExperimentRestored",
    ]
    assert found[0].actor == system_actor().name
    assert found[0].actorkind == "os"
    data = found[1].detail
    assert data["params"] == {"depth": "6"}
    assert data["points"] == 3
    assert data["metrics"]["loss"] == 0.25
    assert found[2].detail == {"datasets": {"wine": "d1g35t"}}
    assert found[8].verdict == "rejected"
    assert found[8].code == "INVALID_PARAMETER_VALUE"
    assert [row.actor for row in found[9:]] == ["bob", "alice"]


@pytest.mark.parametrize(
    ("entity", "first", "count"),
    [
        (f"experiments:/{EXPERIMENT}", "ExperimentCreated", 3),
        (f"logged_models:/{MODEL_ID}", "LoggedModelCreated", 3),
        (f"webhooks:/{WEBHOOK}", "WebhookCreated", 1),
    ],
)
def test_other_entities(story: Story, entity: str, first: str, count: int) -> None:
    found = rows(story, entity)
    assert found[0].action == first
    assert len(found) == count


def test_a_webhooks_secret_is_not_shown(story: Story) -> None:
    (row,) = rows(story, f"webhooks:/{WEBHOOK}")
    assert row.detail["url"] == "https://example.org/hook"
    assert "s3cr3t" not in json.dumps(row.detail)


def test_long_text_is_shortened(story: Story) -> None:
    (row,) = [row for row in rows(story, "models:/vino/1") if row.action == "ModelVersionUpdated"]
    description = row.detail["description"]
    assert description.startswith(LONG[:200])
    assert description.endswith(f"({len(LONG)} characters)")


def test_everything_is_every_event_once(story: Story) -> None:
    found = rows(story)
    assert len(found) == story.ledger.log.last_offset()
    assert len({(row.source, row.id) for row in found}) == len(found)
    assert sum(row.verdict == "rejected" for row in found) == 4
    assert found[0].action == "LedgerCreated"


def test_since_a_position_or_a_time_and_at_most(story: Story) -> None:
    everything = rows(story)
    position = story.marks["promoted"]
    tail = rows(story, since=position)
    assert tail == everything[-len(tail) :]
    assert tail[0].action == "RegisteredModelRenamed"
    assert tail[0].position == position
    assert rows(story, since=position, limit=2) == tail[:2]
    appended = tail[0].appended
    since = rows(story, since=appended)
    assert since == [row for row in everything if row.appended >= appended]
    assert rows(story, since="2100-01-01T00:00:00+01:00") == []


def test_since_keeps_what_a_change_began_from(story: Story) -> None:
    found = rows(story, "models:/vino/1", since=story.marks["renamed"])
    assert [row.uid for row in found] == []
    found = rows(story, "models:/vino/1", since=story.marks["promoted"])
    deleted = [row for row in found if row.action == "ModelVersionDeleted"]
    assert deleted[0].detail["changes"][0]["from"] == "Archived"


def test_times_and_positions_are_readable(story: Story) -> None:
    for row in rows(story, limit=5):
        assert parse_time(row.time) <= parse_time(row.appended) + 1
        assert Position.parse(row.position).ledger_id == story.ledger.ledger_id


@pytest.mark.parametrize(
    "entity", ["models:/nothing", "models:/vino/7", "runs:/nothing", "webhooks:/x", "models:/vin"]
)
def test_an_unknown_entity_is_an_error(story: Story, entity: str) -> None:
    with pytest.raises(Unknown, match=entity):
        rows(story, entity)


@pytest.mark.parametrize(
    ("entity", "since"),
    [
        ("vino", None),
        ("models:/", None),
        ("models:/vino/latest", None),
        ("models:/vino@champion", None),
        ("files:/x", None),
        (None, "yesterday"),
        (None, "2026-03-03T12:00:00"),
        (None, "v1~0000000000000000~3"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(
    story: Story, entity: str | None, since: str | None
) -> None:
    with pytest.raises(SettingsError):
        audit(story.ledger, entity, since)


def test_verdicts_of_the_fold_itself(copy: Ledger) -> None:
    """A log that others wrote may hold what no rule accepts: conflicts, garbage, late refusals."""
    first = copy.log.at(1)
    assert first is not None
    record = first.record
    fresh = record.envelope._replace(source="0f/runs/0", id=1, type="RunDataLogged")
    refused = Writer().stamp(
        RunDataLogged(run_id="nobody", content=RunDataLoggedContent()), copy.log.partitions()
    )
    conflict = record.envelope._replace(subject="runs:/conflict")
    copy.log.append(
        [
            Outgoing(("catalog", 0), Record(conflict, record.head, record.content)),
            Outgoing(("runs", 0), Record(fresh, record.head[:10] + b"\xff", None)),
            refused,
            Outgoing(("catalog", 0), record),
        ]
    )
    found = list(audit(copy))[-3:]
    assert [row.verdict for row in found] == ["conflict", "unreadable", "rejected"]
    assert found[0].code == "IDENTITY_CONFLICT"
    assert found[2].message == "Run with id=nobody not found"


def test_only_what_is_asked_for_is_decoded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    real = verdicts.decode

    def counted(type_name: str, *args: Any) -> Any:
        decoded.append(type_name)
        return real(type_name, *args)

    monkeypatch.setattr(verdicts, "decode", counted)
    found = rows(story, f"webhooks:/{WEBHOOK}")
    assert decoded == ["WebhookCreated"]
    assert len(found) == 1


def test_a_replay_gives_the_same_verdicts(story: Story, copy: Ledger) -> None:
    before = [repr(row) for row in rows(story)]
    copy.rebuild()
    assert [repr(row) for row in audit(copy)] == before


def test_the_default_experiment_came_with_the_ledger(copy: Ledger) -> None:
    assert [row.action for row in audit(copy, "experiments:/0")][:1] == ["LedgerCreated"]


@pytest.mark.parametrize("entity", [None, "experiments:/0", "models:/nobody"])
def test_a_hole_in_the_log_is_never_passed_over(copy: Ledger, entity: str | None) -> None:
    copy.log.connection().execute("DELETE FROM events WHERE seq = 3")
    with pytest.raises(LogDamaged, match="missing, later ones are there"):
        list(audit(copy, entity))
