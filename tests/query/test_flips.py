"""Whatever byte of whatever is stored of an event is changed, and whatever is done to its row:
``verify`` says so, and says where.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlflow_ledger.bus import Actor, Outgoing, Settings, Writer
from mlflow_ledger.consumers import Ledger, SigningKey, Trees
from mlflow_ledger.query.verify import Report, verify
from mlflow_ledger.schemas import (
    KeyValue,
    LedgerError,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    Point,
    Record,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RunCreated,
    RunCreatedContent,
    RunDataLogged,
    RunDataLoggedContent,
    RunUpdated,
    metric_columns,
)

from .story import acting

KEY = SigningKey.new()
RUN = "b" * 8
MODEL = {"model_uid": "u", "name": "wine"}
INTEGERS = 8


class Cell(NamedTuple):
    """One stored value: where it stands, and what stands there, as bytes or a number."""

    table: str
    key: str
    number: int
    column: str
    kind: str
    value: Any

    def flipped(self) -> Iterator[Any]:
        """The value with one byte changed, for each of its bytes: another bit of each."""
        if self.kind == "integer":
            for at in range(INTEGERS):
                whole = self.value ^ (1 << (8 * at + at % 8))
                yield whole - 2**64 if whole >= 2**63 else whole
            return
        for at in range(len(self.value)):
            data = bytearray(self.value)
            data[at] ^= 1 << (at % 8)
            yield bytes(data)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger with an event of most kinds of rows: others' names, refused, redacted ones."""
    made = Ledger(tmp_path_factory.mktemp("flips") / "store", Settings())
    content = RunCreatedContent(name="forest", tags=[KeyValue(key="k", value="v")])
    run = RunCreated(run_id=RUN, experiment_id="0", artifact_uri="x", content=content)
    made.write(lambda _: [run])
    with acting(Actor("jos\N{LATIN SMALL LETTER E WITH ACUTE}", "authenticated")):
        points = metric_columns([Point("loss", 0.5, 1, 0)])
        data = RunDataLogged(run_id=RUN, content=RunDataLoggedContent(**points))
        made.write(lambda _: [data, RunUpdated(run_id=RUN, status="FINISHED")])
    made.log.append([Outgoing(("runs", 0), redacted(made), RUN)])
    version = ModelVersionCreatedContent(source="x", description="the best")
    made.write(lambda _: [RegisteredModelCreated(**MODEL)])
    made.write(
        lambda _: [
            ModelVersionCreated(**MODEL, version_uid="v1", run_id=RUN, content=version),
            RegisteredModelAliasSet(**MODEL, version_uid="v1", version=1, alias="champion"),
        ]
    )
    with pytest.raises(LedgerError):
        made.write(lambda _: [RegisteredModelCreated(model_uid="w", name="wine")])
    made.catch_up()
    Trees(made, KEY).publish()
    yield made
    made.close()


def redacted(ledger: Ledger) -> Record:
    """An event whose content is gone, and its digest kept."""
    content = RunDataLoggedContent(tags=[KeyValue(key="who", value="a person")])
    (said,) = Writer().stamp_all(
        [RunDataLogged(run_id=RUN, content=content)], ledger.log.partitions()
    )
    record: Record = said.record
    gone = Record(record.envelope, record.head, None, digest_of(record))
    assert gone.digest() == record.digest()
    return gone


def digest_of(record: Record) -> bytes:
    return hashlib.sha256(record.content or b"").digest()


def checked(ledger: Ledger) -> Report:
    return verify(ledger, keys=[KEY.public])


def cells(path: Path) -> list[Cell]:
    """Every value that is stored of an event."""
    found = []
    with closing(sqlite3.connect(path)) as db:
        for table, key in (("events", "seq"), ("sources", "source_no"), ("schemas", "schema_no")):
            columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
            for column in columns:
                query = (
                    f"SELECT {key}, typeof({column}), CASE typeof({column}) WHEN 'text' "
                    f"THEN CAST({column} AS BLOB) ELSE {column} END FROM {table}"
                )
                for number, kind, value in db.execute(query):
                    if kind != "null":
                        found.append(Cell(table, key, number, column, kind, value))
    return found


def test_a_sound_ledger_holds(ledger: Ledger) -> None:
    report = checked(ledger)
    assert report.findings == []
    (tree,) = report.trees
    assert tree.events == tree.signed == ledger.log.last_offset()
    assert {cell.column for cell in cells(ledger.log.path)} >= {"extra", "content", "head"}


@pytest.mark.parametrize("part", range(8))
def test_every_byte_of_every_stored_event_counts(ledger: Ledger, part: int, tmp_path: Path) -> None:
    spoilt = copied(ledger, tmp_path)
    missed = []
    with closing(sqlite3.connect(spoilt.log.path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        for cell in cells(spoilt.log.path)[part::8]:
            change = f"UPDATE {cell.table} SET {cell.column} = {{}} WHERE {cell.key} = ?"
            value = "CAST(? AS TEXT)" if cell.kind == "text" else "?"
            for flipped in cell.flipped():
                at = cell.number
                try:
                    db.execute(change.format(value), (flipped, at))
                except sqlite3.IntegrityError:
                    continue  # another row has that number or name: SQLite itself refuses
                spoilt.log.close_connections()
                if not names_it(checked_or_refused(spoilt), cell):
                    missed.append((cell, flipped))
                at = flipped if cell.column == cell.key else at
                db.execute(change.format(value), (cell.value, at))
    spoilt.close()
    assert missed == []


def checked_or_refused(ledger: Ledger) -> Report | str:
    try:
        return checked(ledger)
    except LedgerError as error:
        return str(error)


def names_it(report: Report | str, cell: Cell) -> bool:
    """Whether a report names the event; of a source or a schema one of those that are of it."""
    if isinstance(report, str):
        return "log.sqlite" in report
    if cell.table == "events":
        return any(
            finding.part == "log" and str(cell.number) in finding.place
            for finding in report.findings
        )
    return any(finding.part == "log" for finding in report.findings)


def copied(ledger: Ledger, folder: Path) -> Ledger:
    shutil.copytree(ledger.folder, folder / "store")
    return Ledger(folder / "store", Settings())
