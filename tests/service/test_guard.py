"""Statements of clients read the state, and do nothing else."""

from __future__ import annotations

import pytest

from mlflow_ledger.consumers import Ledger, state_digest
from mlflow_ledger.query.service import guard

from .client import Client

HOSTILE = [
    "INSERT INTO meta VALUES ('a', 'b')",
    "UPDATE runs SET name = 'x'",
    "DELETE FROM runs",
    "CREATE TABLE t (a)",
    "CREATE TEMP TABLE t (a)",
    "DROP TABLE runs",
    "ATTACH '/etc/passwd' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "PRAGMA query_only = 0",
    "PRAGMA user_version",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('runs')",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_dbpage",
    "SELECT load_extension('x')",
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(1000000000)",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT replace(hex(zeroblob(1000000)), '0', 'aaaaaaaa')",
    "SELECT readfile('/etc/passwd')",
    "SELECT fts3_tokenizer('simple')",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "VACUUM INTO '/tmp/stolen'",
    "REINDEX",
    "ANALYZE",
    "SELECT 1; DELETE FROM runs",
    "WITH a AS (SELECT 1) INSERT INTO meta SELECT 'a', 'b'",
    "EXPLAIN DELETE FROM runs",
    "COPY runs TO '/tmp/stolen'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "",
    "nonsense",
    "SELECT * FROM nothing_there",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_anything_but_reading_the_state_is_refused(client: Client, statement: str) -> None:
    ledger = client.service.reader.ledger
    before = ledger.query(state_digest)
    generation = ledger.files.current()
    status, answered = client.open(statement, "SELECT name FROM experiments ORDER BY name")
    assert status == 200
    refused, read = answered["results"]
    assert "rows" not in refused or not refused["rows"]
    if statement:
        assert refused["error"]["message"]
    assert read["rows"] == [["Default"], ["seven"]]  # and the next statement is answered
    client.ask(f"/v1/views/{answered['view']}", method="DELETE")
    assert ledger.query(state_digest) == before
    assert ledger.files.current() == generation  # a mistake is no damage


def test_the_ledger_itself_goes_on_with_the_connection(client: Client, ledger: Ledger) -> None:
    _, answered = client.open("SELECT 1")
    client.ask(f"/v1/views/{answered['view']}", method="DELETE")
    rows = ledger.query(lambda db: db.execute("PRAGMA user_version").fetchall())
    assert rows


def test_what_takes_too_long_is_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_SECONDS", 0.1)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    status, answered = client.open(endless)
    assert status == 500
    assert "took more than 0.1 s" in answered["error"]["message"]
    assert client.service.reader.leases.count() == 0


@pytest.mark.parametrize(("name", "most"), [("_MOST_ROWS", 5000), ("_MOST_BYTES", 50_000)])
def test_what_is_too_much_is_cut_off(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(guard, name, most)
    many = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'text' || i FROM n"
    )
    status, answered = client.open(many)
    assert status == 500
    assert "ask for less" in answered["error"]["message"]
