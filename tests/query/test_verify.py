"""Whatever is changed behind the ledger's back is found and named."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from mlflow_ledger.bus import Outgoing
from mlflow_ledger.consumers import Analytics, Ledger, Snapshots, state_digest
from mlflow_ledger.query.verify import Finding, Report, verify
from mlflow_ledger.schemas import Record, RegisteredModelCreated

from .story import MODEL_FILES, RUN, RUN_FILES, Story


def spoil(path: Path, *statements: str) -> None:
    """Change a SQLite file as a stranger would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def state_of(ledger: Ledger) -> Path:
    path = ledger.files.current()
    assert path is not None
    return path


def settled(ledger: Ledger) -> Path:
    """The state's file, with everything in it and nothing beside it."""
    path = state_of(ledger)
    ledger.close()
    spoil(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def places(report: Report) -> list[tuple[str, str]]:
    return [(finding.part, finding.place) for finding in report.findings]


def test_a_sound_ledger_holds(story: Story) -> None:
    told: list[tuple[str, int, int]] = []
    report = verify(story.ledger, lambda *progress: told.append(progress))
    assert report.findings == []
    assert report.holds
    assert report.events == story.ledger.log.last_offset()
    assert report.position == str(story.ledger.log.end())
    assert report.state_digest == story.ledger.query(state_digest)
    assert report.tables["registered_models"] == 2
    assert report.tables["identities"] == report.events
    assert report.artifacts == 3  # both plots and the model; the draft is deleted
    assert report.artifact_bytes == 23
    assert report.analytics is True
    assert {what for what, _, _ in told} == {"log", "trees", "state", "artifacts", "analytics"}
    assert ("log", report.events, report.events) in told


def test_a_changed_row_of_the_state_is_named(copy: Ledger) -> None:
    spoil(state_of(copy), "UPDATE metrics SET value = 0.125 WHERE key = 'loss'")
    assert verify(copy).findings == [
        Finding("state", f"metrics {RUN}/loss", "value is 0.125 in the state, 0.25 by the log")
    ]


def test_rows_that_are_missing_or_made_up_are_named(copy: Ledger) -> None:
    spoil(
        state_of(copy),
        "DELETE FROM model_aliases",
        "INSERT INTO experiments VALUES (7, 'default', 'made up', 'x', 'active', 0, 0, 0, 0)",
    )
    report = verify(copy)
    assert places(report) == [
        ("state", "experiments 7"),
        ("state", "model_aliases uid-wine/champion"),
    ]
    assert "does not follow from the log" in report.findings[0].message
    assert "is not in the state" in report.findings[1].message


def test_many_differences_are_counted(copy: Ledger) -> None:
    state = state_of(copy)
    spoil(state, "UPDATE identities SET digest = x'00'")
    report = verify(copy)
    assert len(report.findings) == 6
    assert report.findings[-1].message.endswith("more rows differ")


def test_a_changed_event_is_named_by_its_offset(copy: Ledger) -> None:
    spoil(copy.log.path, "UPDATE events SET time_ms = time_ms + 1 WHERE seq = 12")
    report = verify(copy)
    assert any(
        f.place.startswith("identities ") and f.message.startswith("event 12 is not the one")
        for f in report.findings
    )


@pytest.mark.parametrize(
    ("statement", "place", "message"),
    [
        ("DELETE FROM events WHERE seq = 9", "event 9", "missing"),
        ("DELETE FROM events WHERE seq BETWEEN 5 AND 7", "events 5 to 7", "missing"),
        ("UPDATE events SET append_ms = 5 WHERE seq = 6", "event 6", "was appended at 1970-01-01"),
        ("UPDATE events SET extra = 'garbage' WHERE seq = 8", "event 8", "cannot be read"),
        ("UPDATE events SET id = 900 WHERE seq = 30", "source ", "of 1 to 900 are missing"),
        ("UPDATE events SET id = 1 << 60 WHERE seq = 30", "event 30 of source", "are missing"),
    ],
)
def test_a_damaged_log_is_named(copy: Ledger, statement: str, place: str, message: str) -> None:
    spoil(copy.log.path, statement)
    report = verify(copy)
    assert any(
        f.part == "log" and f.place.startswith(place) and message in f.message
        for f in report.findings
    ), report.findings


def test_garbled_bytes_are_found_without_a_state_to_compare_with(copy: Ledger) -> None:
    copy.close()
    for path in [*copy.folder.glob("state-*"), *copy.folder.glob("CURRENT*")]:
        path.unlink()
    spoil(copy.log.path, "UPDATE events SET head = x'ff' || head WHERE seq = 12")
    report = verify(copy)
    assert ("log", "event 12") in places(report)
    assert "cannot be read" in report.findings[0].message


def test_one_identity_with_two_digests_is_named(copy: Ledger) -> None:
    first = copy.log.at(1)
    assert first is not None
    other = first.record.envelope._replace(subject="ledger:/other")
    record = Record(other, first.record.head, first.record.content)
    (again,) = copy.log.append([Outgoing(("catalog", 0), record)])
    report = verify(copy)
    assert places(report) == [("log", f"event {again.offset}")]
    assert "came again with" in report.findings[0].message


def test_a_log_cut_back_behind_the_state_is_named(copy: Ledger) -> None:
    last = copy.log.last_offset()
    spoil(copy.log.path, f"DELETE FROM events WHERE seq > {last - 3}")
    report = verify(copy)
    (finding,) = report.findings
    assert finding.part == "state"
    assert finding.message == f"it has folded up to event {last}; the log ends at {last - 3}"


def test_a_state_that_is_behind_the_log_is_no_finding(copy: Ledger) -> None:
    path = settled(copy)
    state = path.read_bytes()
    copy.write(lambda _: [RegisteredModelCreated(model_uid="u", name="late")])
    settled(copy).write_bytes(state)
    report = verify(copy)
    assert report.findings == []
    assert report.tables["registered_models"] == 2
    assert report.events == copy.log.last_offset()


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda path: path.write_bytes(b"other bytes"), "holds other bytes"),
        (lambda path: path.unlink(), "is not in"),
    ],
)
def test_a_blob_that_is_not_what_it_was_is_named(
    story: Story, copy: Ledger, spoilt: Callable[[Path], None], message: str
) -> None:
    name = story.digests[f"{MODEL_FILES}/model.pkl"].removeprefix("sha256:")
    path = copy.folder / "blobs" / "sha256" / name[:2] / name
    path.chmod(0o644)
    spoilt(path)
    (finding,) = verify(copy).findings
    assert (finding.part, finding.place) == ("artifacts", f"{MODEL_FILES}/model.pkl")
    assert message in finding.message


def test_the_blob_of_a_deleted_file_is_nobodys_concern(story: Story, copy: Ledger) -> None:
    copy.blobs.delete(story.digests[f"{RUN_FILES}/drafts/draft.txt"])
    assert verify(copy).holds


def test_a_state_that_is_no_database_is_named_and_left(copy: Ledger) -> None:
    path = settled(copy)
    path.write_bytes(b"not a database at all" * 500)
    report = verify(copy)
    (finding,) = report.findings
    assert (finding.part, finding.place) == ("state", path.name)
    assert "rebuild" in finding.message
    assert path.read_bytes().startswith(b"not a database")


def test_without_a_state_nothing_is_made(copy: Ledger) -> None:
    copy.close()
    for path in [*copy.folder.glob("state-*"), *copy.folder.glob("CURRENT*")]:
        path.unlink()
    report = verify(copy)
    assert report.holds
    assert report.state is None
    assert not list(copy.folder.glob("state-*"))


def test_a_snapshot_with_other_numbers_is_named(copy: Ledger) -> None:
    analytics = Analytics(copy)
    assert analytics.publish() is not None
    analytics.close()
    (snapshot,) = Snapshots(copy).all()
    with duckdb.connect(str(snapshot.analytics)) as db:
        db.execute("UPDATE fold.metrics SET value = 99 WHERE key = 'loss'")
    report = verify(copy)
    assert report.analytics is False
    assert [finding.part for finding in report.findings] == ["analytics"]


UNREADABLE = {
    "content as TEXT": "UPDATE events SET content = CAST(content AS TEXT) WHERE seq = {}",
    "content as a number": "UPDATE events SET content = 7 WHERE seq = {}",
    "head as TEXT": "UPDATE events SET head = 'text' WHERE seq = {}",
    "malformed JSON": "UPDATE events SET extra = '{{\"a\": ' WHERE seq = {}",
    "other JSON": "UPDATE events SET extra = '[1]' WHERE seq = {}",
    "a number for a name": "UPDATE events SET extra = '{{\"host\": {{}}}}' WHERE seq = {}",
    "no UTF-8": "UPDATE events SET subject = CAST(x'1b5b33316d0affff' AS TEXT) WHERE seq = {}",
    "subject as BLOB": "UPDATE events SET subject = x'ffff' WHERE seq = {}",
    "id as TEXT": "UPDATE events SET id = 'one' WHERE seq = {}",
    "a time that is none": "UPDATE events SET time_ms = 'noon' WHERE seq = {}",
}
NULLS = ("subject", "head", "id", "time_ms", "append_ms")


def allow_nulls(path: Path) -> None:
    spoil(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'events'",
        "PRAGMA writable_schema = RESET",
    )


@pytest.mark.parametrize("how", [*UNREADABLE, *(f"{name} NULL" for name in NULLS)])
def test_an_event_that_cannot_be_read_is_named_and_the_others_are_looked_at(
    copy: Ledger, how: str
) -> None:
    """Two of them, far from one another, and a third event that is wrong in another way."""
    allow_nulls(copy.log.path)
    statement = UNREADABLE.get(
        how, f"UPDATE events SET {how.split(maxsplit=1)[0]} = NULL WHERE seq = {{}}"
    )
    last = copy.log.last_offset()
    with_content = [s.offset for s in copy.log.rows(1) if s.record.content]
    first, second = with_content[1], with_content[-2]
    copy.close()
    spoil(
        copy.log.path,
        statement.format(first),
        statement.format(second),
        f"UPDATE events SET append_ms = 5 WHERE seq = {last}",
    )
    report = verify(Ledger(copy.folder))
    named = {f.place: f.message for f in report.findings if f.part == "log"}
    for seq in (first, second):
        assert named[f"event {seq}"].startswith("cannot be read: "), named
    assert "was appended at 1970-01-01" in named[f"event {last}"]
    assert report.unreadable == 2
    assert report.events == last - 2
    assert all(f.place.isprintable() and f.message.isprintable() for f in report.findings)
    assert not [f for f in report.findings if f.part in ("state", "artifacts")]


def test_a_damaged_page_does_not_hide_the_others(copy: Ledger) -> None:
    """Whatever part of the file is garbled, verify comes to an end and says which events it was."""
    copy.close()
    spoil(copy.log.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with closing(sqlite3.connect(copy.log.path)) as db:
        (page,) = db.execute(
            "SELECT pageno FROM dbstat WHERE name = 'events' AND pagetype = 'leaf' "
            "ORDER BY pageno LIMIT 1 OFFSET 1"
        ).fetchone() or (None,)
    assert page is not None
    data = bytearray(copy.log.path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    copy.log.path.write_bytes(data)
    report = verify(Ledger(copy.folder))
    assert report.unreadable > 0
    assert report.events > 0
    assert report.unreadable + report.events == copy.log.last_offset()
