"""History and changes: what every field was, by whom, from when to when; against the states."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.bus import EMBEDDED, Position
from mlflow_ledger.consumers import AsOfLedger, Ledger, RowChange, create, drop_cached_states
from mlflow_ledger.query.address import KINDS, Unknown
from mlflow_ledger.query.changes import changes
from mlflow_ledger.query.fields import FIELD_TABLES, METRICS, Entity, Fields
from mlflow_ledger.query.history import HistoryRow, history
from mlflow_ledger.query.sql import run_sql
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactLogged,
    MCPServerAliasDeleted,
    MCPServerAliasSet,
    MCPServerCreated,
    MCPServerVersionCreated,
    Refused,
    SettingsError,
)
from tests.consumers.histories import History
from tests.consumers.test_as_of import embedded

from .story import RUN, Story

Values = dict[tuple[str, str], Any]
NOTHING = create(":memory:")
"""A state in which nothing has happened yet."""


def values(ledger: Ledger, *, metrics: bool = True, joined: bool = False) -> Values:
    """Every field of every entity of a state, read row by row.

    With ``joined`` the lifecycle of a run is what it is with its experiment's.
    """

    def ask(db: Any) -> Values:
        fields = Fields(db, NOTHING)
        rows = []
        for table in (*FIELD_TABLES, *([METRICS] if metrics else [])):
            cursor = db.execute(f"SELECT * FROM {table}")
            columns = [column[0] for column in cursor.description]
            rows += [RowChange(table, None, dict(zip(columns, row, strict=True))) for row in cursor]
        found = {
            (fields.address(e), n): after for (e, n), (_, after) in fields.changed(rows).items()
        }
        if joined:
            seen = dict(db.execute("SELECT run_id, lifecycle FROM live_runs"))
            gone = "SELECT experiment_id FROM experiments"
            orphans = f"SELECT run_id FROM runs WHERE experiment_id NOT IN ({gone})"
            for key in [key for key in found if key[0].startswith("runs:/")]:
                run = key[0].removeprefix("runs:/")
                if key[1] == "lifecycle" and run in seen:
                    found[key] = seen[run]
                elif key[1] == "lifecycle" and (run,) not in db.execute(orphans).fetchall():
                    del found[key]
        return found

    return ledger.query(ask)


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN is NaN


@pytest.mark.parametrize("seed", range(6))
def test_changes_lead_from_one_state_to_the_other(seed: int, tmp_path: Path) -> None:
    """On every family: what was, with the changes, is what is."""
    ledger = embedded(tmp_path / "store", History(seed).records(240))
    last = ledger.log.last_offset()
    randomness = random.Random(seed)
    for _ in range(4):
        first, second = sorted(randomness.sample(range(1, last + 2), 2))
        moments = [str(Position(ledger.ledger_id, {EMBEDDED: n})) for n in (first, second)]
        before, after = (values(AsOfLedger(ledger, moment)) for moment in moments)
        found = changes(ledger, *moments)
        told = {(c.entity, f.field): (f.before, f.after) for c in found for f in c.fields}
        renamed = {c.entity for c in found if any(f.field == "name" for f in c.fields)}
        for key in {*before, *after, *told}:
            if key[0].startswith("models:/"):
                continue  # by the last name; below
            was, is_ = told.get(key, (before.get(key), before.get(key)))
            assert same(was, before.get(key)), key
            assert same(is_, after.get(key)), key
        for key, (_, is_) in told.items():
            if key[0] in {e for e, _ in after} or is_ is not None:
                assert same(is_, after.get(key)), (key, renamed)
    ledger.close()


@pytest.mark.parametrize("seed", range(4))
def test_what_stands_in_a_history_is_what_the_state_holds(seed: int, tmp_path: Path) -> None:
    ledger = embedded(tmp_path / "store", History(seed).records(300))
    held: dict[str, Values] = defaultdict(dict)
    for (entity, field), value in values(ledger, metrics=False, joined=True).items():
        held[entity][entity, field] = value
    kinds = defaultdict(int)
    for entity in sorted(held):
        kind = entity.split(":")[0]
        if kind not in KINDS or kind == "models" or kinds[kind] > 3:
            continue
        kinds[kind] += 1
        told = {(r.entity, r.field): r.value for r in history(ledger, entity) if r.until is None}
        expected = held[entity]
        assert {k: repr(v) for k, v in told.items()} == {k: repr(v) for k, v in expected.items()}
    assert len(kinds) > 6
    for name in ledger.query(
        lambda db: [n for (n,) in db.execute("SELECT name FROM registered_models")]
    ):
        rows = [r for r in history(ledger, f"models:/{name}") if r.until is None]
        of_name = {
            (r.entity, r.field): r.value
            for r in rows
            if r.entity == f"models:/{name}" or r.entity.startswith(f"models:/{name}/")
        }
        expected = {
            key: "(deleted)" if value == "Deleted_Internal" else value
            for entity, of in held.items()
            for key, value in of.items()
            if entity == f"models:/{name}" or entity.startswith(f"models:/{name}/")
        }
        assert expected.items() <= of_name.items()
    ledger.close()


def lines(rows: list[HistoryRow], field: str) -> list[tuple[Any, str, str | None, bool]]:
    return [(r.value, r.actor, r.ended_by, r.until is None) for r in rows if r.field == field]


def test_the_story_of_an_alias_and_of_stages(story: Story) -> None:
    rows = history(story.ledger, "models:/vino@champion")
    assert [row.field for row in rows] == ["aliases.champion"] * len(rows)
    assert [row.value for row in rows][:2] == [1, 2]
    stages = lines(history(story.ledger, "models:/vino/1"), "stage")
    assert [value for value, *_ in stages][-4:] == [
        "Staging",
        "Production",
        "Archived",
        "(deleted)",
    ]
    assert [stands for *_, stands in stages] == [False] * (len(stages) - 1) + [True]
    for row in rows:
        assert row.position.startswith("v1~")
        assert row.until is None or row.since <= row.until


def test_the_story_of_a_run(story: Story) -> None:
    rows = history(story.ledger, f"runs:/{RUN}")
    status = lines(rows, "status")
    assert status[0][0] == "RUNNING"
    assert status[-1][3]
    assert ("active", True) in {(r.value, r.until is None) for r in rows if r.field == "lifecycle"}


def test_nobody_and_the_wrong_order(story: Story) -> None:
    with pytest.raises(Unknown, match="nothing in the ledger"):
        history(story.ledger, "runs:/nobody")
    end = str(story.ledger.log.end())
    with pytest.raises(SettingsError, match="name the earlier moment first"):
        changes(story.ledger, end, story.marks["promoted"])


@pytest.mark.parametrize("seed", range(3))
def test_sql_knows_every_value(seed: int, tmp_path: Path) -> None:
    """What stands open is what the state holds, now and then; what is folded is folded once."""
    ledger = embedded(tmp_path / "store", History(seed).records(240))
    last = ledger.log.last_offset()
    for offset in (last // 3, last + 1, last // 2):
        past = AsOfLedger(ledger, str(Position(ledger.ledger_id, {EMBEDDED: offset})))
        _, rows = run_sql(past, "SELECT entity, field, value FROM history WHERE valid_to IS NULL")
        expected = {
            (
                entity,
                field,
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
            )
            for (entity, field), value in values(past, metrics=False, joined=True).items()
        }
        assert set(rows) == expected
        past.close()
    (made,) = (ledger.folder / "as-of").glob("history-*")
    assert made.is_dir()
    drop_cached_states(ledger)
    assert not made.exists()
    ledger.close()


@pytest.mark.parametrize("seed", range(4))
def test_what_stood_at_a_moment_is_what_its_state_holds(seed: int, tmp_path: Path) -> None:
    """On every family: whatever was taken away stands no longer."""
    ledger = embedded(tmp_path / "store", History(seed).records(300))
    check_moments(ledger, random.Random(seed))
    ledger.close()


def test_what_files_stood_at_a_moment(tmp_path: Path) -> None:
    """Written, written over, deleted and written again, late ones too."""
    ledger = embedded(tmp_path / "store", History(0).records(10))
    randomness = random.Random(0)
    for number in range(150):
        said = ArtifactLogged if randomness.random() < 0.5 else ArtifactDeleted
        size = {"size_bytes": 1} if said is ArtifactLogged else {}
        owner = randomness.choice(["runs:/a", "runs:/b"])
        event = said(
            path=f"0/{owner[-1]}/artifacts/{randomness.randrange(2)}.txt",
            digest=f"sha256:{randomness.randrange(3)}",
            owner=owner,
            written_ns=number + randomness.randrange(9),
            **size,
        )
        with contextlib.suppress(Refused):
            ledger.write(lambda _, event=event: [event])
    check_moments(ledger, randomness)
    ledger.close()


def check_moments(ledger: Ledger, randomness: random.Random) -> None:
    last = ledger.log.last_offset()
    _, found = run_sql(
        ledger, 'SELECT kind, entity, field, value, "offset", ended_offset FROM history'
    )
    rows = [row for row in found if row[0] != "models"]  # these go by their last name
    for cut in randomness.sample(range(1, last), 20):
        past = AsOfLedger(ledger, str(Position(ledger.ledger_id, {EMBEDDED: cut + 1})))
        stood = {
            (entity, field, value)
            for _, entity, field, value, since, until in rows
            if since <= cut and (until is None or until > cut)
        }
        assert stood == {
            (entity, field, text(value))
            for (entity, field), value in values(past, metrics=False, joined=True).items()
            if not entity.startswith("models:/")
        }
        past.close()


def test_a_deleted_file_stands_no_longer(copy: Ledger) -> None:
    owner, root = f"runs:/{RUN}", f"0/{RUN}/artifacts"
    by = {"owner": owner, "size_bytes": 1}
    said = [
        ArtifactLogged(path=f"{root}/a.txt", digest="sha256:1", written_ns=1, **by),
        ArtifactLogged(path=f"{root}/a.txt", digest="sha256:2", written_ns=2, **by),
        ArtifactLogged(path=f"{root}/b.txt", digest="sha256:1", written_ns=3, **by),
        ArtifactDeleted(path=f"{root}/a.txt", digest="sha256:2", written_ns=4, owner=owner),
    ]
    for event in said:
        copy.write(lambda _, event=event: [event])
    expected = [
        ("artifacts.a.txt", "sha256:1", "ArtifactLogged"),
        ("artifacts.a.txt", "sha256:2", "ArtifactDeleted"),
        ("artifacts.b.txt", "sha256:1", None),
    ]
    told = [r for r in history(copy, owner) if r.field in ("artifacts.a.txt", "artifacts.b.txt")]
    assert [(r.field, r.value, r.ended_event) for r in told] == expected
    assert told[1].ended_by
    _, rows = run_sql(
        copy,
        "SELECT field, value, ended_event FROM history WHERE field IN "
        f"('artifacts.a.txt', 'artifacts.b.txt') AND entity = '{owner}' ORDER BY \"offset\"",
    )
    assert rows == expected


def test_a_run_follows_its_experiment(story: Story) -> None:
    told = [r for r in history(story.ledger, f"runs:/{RUN}") if r.field == "lifecycle"]
    expected = [
        ("active", "RunCreated", "ExperimentDeleted"),
        ("deleted", "ExperimentDeleted", "ExperimentRestored"),
        ("active", "ExperimentRestored", None),
    ]
    assert [(r.value, r.event, r.ended_event) for r in told] == expected
    _, rows = run_sql(
        story.ledger,
        "SELECT lifecycle_stage, action_name, ended_by FROM lifecycle_history "
        f"WHERE entity = 'runs:/{RUN}' ORDER BY valid_from",
    )
    assert rows == [(r.value, r.event, r.ended_by) for r in told]


def test_sql_tells_the_story_of_an_alias(story: Story) -> None:
    columns, rows = run_sql(
        story.ledger,
        "SELECT version, valid_to IS NULL FROM model_aliases_history "
        "WHERE name = 'vino' AND alias = 'champion' ORDER BY valid_from",
    )
    told = history(story.ledger, "models:/vino@champion")
    assert columns == ["version", "(valid_to IS NULL)"]
    assert rows == [(row.value, row.until is None) for row in told]
    _, rows = run_sql(story.ledger, f"SELECT status FROM run_status_history WHERE run_id = '{RUN}'")
    assert [status for (status,) in rows] == [
        row.value for row in history(story.ledger, f"runs:/{RUN}") if row.field == "status"
    ]


def test_nothing_is_folded_for_other_questions(copy: Ledger) -> None:
    drop_cached_states(copy)
    shutil.rmtree(copy.folder / "as-of", ignore_errors=True)
    run_sql(copy, "SELECT count(*) FROM run_metrics_history")
    assert not (copy.folder / "as-of").exists()
    run_sql(copy, "SELECT count(*) FROM HISTORY")
    assert (copy.folder / "as-of").exists()


def test_what_nobody_names_is_a_field_of_what_has_it(copy: Ledger) -> None:
    """An MCP server's alias has a history too: which version it named."""
    server = {"server_id": "weather", "name": "org.example/weather"}
    said = [
        MCPServerCreated(**server, content=None),
        *(
            MCPServerVersionCreated(
                **server,
                version_id=f"w{n}",
                version=f"1.0.{n}",
                status="active",
                major=1,
                minor=0,
                patch=n,
                prerelease_key="",
            )
            for n in (1, 2)
        ),
        *(MCPServerAliasSet(**server, alias="stable", version=f"1.0.{n}") for n in (1, 2)),
        MCPServerAliasDeleted(**server, alias="stable"),
    ]
    for event in said:
        copy.write(lambda _, event=event: [event])
    told = history(copy, "mcp_servers:/weather")
    aliases = [(r.value, r.ended_event) for r in told if r.field == "aliases.stable"]
    assert aliases == [("1.0.1", "MCPServerAliasSet"), ("1.0.2", "MCPServerAliasDeleted")]
    (before,) = (p for p in copy.log.read(copy.log.start()) if p.offset == copy.log.last_offset())
    (found,) = changes(copy, copy.log.place(before))
    assert ("aliases.stable", "1.0.2", None) in {(f.field, f.before, f.after) for f in found.fields}


def test_an_entity_is_named_for_good() -> None:
    assert Entity("models", "u", 1) != Entity("models", "u")
