"""A snapshot that is garbled, wherever that is, costs no answer: the state is asked instead."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from mlflow_ledger.consumers import Analytics, Ledger, Snapshots, open_ledger
from mlflow_ledger.producers.edge import analytics_of
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.sql import SqlError, run_sql
from tests.bus.programs import created, say, tagged

COUNT = "SELECT count(*), count(DISTINCT value) FROM tags WHERE key LIKE 't%'"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = open_ledger(f"ledger:{tmp_path}/store")
    texts = random.Random(1)
    say(
        made, created("r"), *(tagged("r", f"t{n}", texts.randbytes(2000).hex()) for n in range(100))
    )
    analytics = Analytics(made)
    analytics.publish()
    analytics.close()
    yield made
    analytics_of(made).close()
    made.close()


def flip(share: float) -> Callable[[bytes], bytes]:
    def damage(whole: bytes) -> bytes:
        at = int(len(whole) * share)
        return whole[:at] + bytes(b ^ 0xFF for b in whole[at : at + 64]) + whole[at + 64 :]

    return damage


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "garbled": lambda whole: random.Random(0).randbytes(len(whole)),
    **{f"a few bytes at {share}": flip(share) for share in (0.1, 0.3, 0.5, 0.7, 0.9)},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_sql_and_searches_answer(ledger: Ledger, damage: str) -> None:
    (snapshot,) = Snapshots(ledger).all()
    garbled = DAMAGE[damage](snapshot.analytics.read_bytes())
    uri = f"ledger://{ledger.folder}"
    asked: list[Callable[[], object]] = [
        lambda: run_sql(ledger, COUNT)[1],
        lambda: CliRunner().invoke(program, ["sql", uri, COUNT, "--json"]).exit_code,
        lambda: [r.info.run_id for r in MlflowClient(uri, uri).search_runs(["0"], "tags.t3 != ''")],
    ]
    expected: list[object] = [[(100, 100)], 0, ["r"]]
    for question, answer in zip(asked, expected, strict=True):
        snapshot.folder.mkdir(exist_ok=True)
        snapshot.analytics.write_bytes(garbled)
        manifest = snapshot.folder / "manifest.json"
        if not manifest.exists():
            manifest.write_text(MANIFEST.format(s=snapshot))
        assert question() == answer
        analytics_of(ledger).close()


MANIFEST = (
    '{{"seq": {s.seq}, "offset": {s.offset}, "digest": "{s.digest}", "generation": '
    '"{s.generation}", "fold_version": {s.fold_version}, "duckdb_version": "{s.duckdb_version}"}}'
)


def test_a_statement_that_makes_no_sense_costs_no_snapshot(ledger: Ledger) -> None:
    for statement in ("SELECT nothing FROM nowhere", "SELECT 1; SELECT 2", "DROP TABLE fold.runs"):
        with pytest.raises(SqlError):
            run_sql(ledger, statement)
    assert len(Snapshots(ledger).all()) == 1
