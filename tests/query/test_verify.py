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
    copy.blobs.delete(story.digests[f"{RUN_FILES}/draft.txt"])
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
