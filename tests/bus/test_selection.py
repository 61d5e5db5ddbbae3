"""A selection finds what it names and nothing that is merely written alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import Outgoing, Selection, SqliteLog, Writer
from mlflow_ledger.schemas import Event, RegisteredModelAliasSet, RegisteredModelCreated

NAMES = ("m", "m2", "M", "m%", "m' OR 1=1 --", "mé")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteLog]:
    path: Path = tmp_path_factory.mktemp("log") / "log.sqlite"
    SqliteLog.create(path, "0123456789abcdef")
    log, writer = SqliteLog(path), Writer()
    events: list[Event] = []
    for name in NAMES:
        events.append(RegisteredModelCreated(model_uid=name, name=name))
        events += [
            RegisteredModelAliasSet(
                model_uid=name, name=name, version_uid=f"{name}{n}", version=n, alias="a"
            )
            for n in (1, 10)
        ]
    said: list[Outgoing] = [writer.stamp(event, log.partitions()) for event in events]
    log.append(said)
    yield log
    log.close()


def subjects(log: SqliteLog, selection: Selection, **options: int) -> list[str]:
    return [stored.record.envelope.subject for stored in log.select(selection, **options)]


def test_an_empty_selection_is_everything(log: SqliteLog) -> None:
    assert len(subjects(log, Selection())) == 3 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_subject_is_itself_only(log: SqliteLog, name: str) -> None:
    assert subjects(log, Selection(subjects=(f"models:/{name}",))) == [f"models:/{name}"]


@pytest.mark.parametrize("name", NAMES)
def test_below_is_what_stands_under_it(log: SqliteLog, name: str) -> None:
    expected = [f"models:/{name}/1", f"models:/{name}/10"]
    assert subjects(log, Selection(below=(f"models:/{name}",))) == expected


def test_types_and_subjects_restrict_each_other(log: SqliteLog) -> None:
    selection = Selection(("RegisteredModelAliasSet",), ("models:/m",), ("models:/m2",))
    assert subjects(log, selection) == ["models:/m2/1", "models:/m2/10"]
    assert subjects(log, Selection(("RunCreated",))) == []


def test_from_an_offset_and_at_most(log: SqliteLog) -> None:
    selection = Selection(("RegisteredModelAliasSet",))
    everything = subjects(log, selection)
    assert subjects(log, selection, first=4) == everything[2:]
    assert subjects(log, selection, limit=3) == everything[:3]
