"""The documentation tells of everything there is, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlflow_ledger.bus import KafkaSettings, Settings
from mlflow_ledger.consumers import open_ledger
from mlflow_ledger.query.cli.program import program
from mlflow_ledger.query.service_metrics import METRICS
from mlflow_ledger.query.sql import VIEWS, run_sql
from mlflow_ledger.query.webhook_metrics import WEBHOOK_METRICS
from mlflow_ledger.schemas import event_types

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/README.md"]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize("command", sorted(program.commands))
def test_every_command_is_documented(command: str) -> None:
    page = text("docs/commands.md")
    assert f"mlflow-ledger {command}" in page
    assert f"\n| [`{command}`](#" in page.partition("\n## ")[0]


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default(field: str) -> None:
    rows = [row for row in text("docs/uris-and-settings.md").splitlines() if row.startswith("|")]
    row = next(row for row in rows if f"`MLFLOW_LEDGER_{field.upper()}`" in row)
    default = Settings.model_fields[field].get_default(call_default_factory=True)
    said = str(default).replace(str(Path.home()), "~")
    assert default is None or f"`{said}`" in row


@pytest.mark.parametrize("field", sorted(KafkaSettings.model_fields))
def test_every_setting_of_kafka_is_documented_with_its_default(field: str) -> None:
    rows = [row for row in text("docs/kafka.md").splitlines() if row.startswith("|")]
    row = next(row for row in rows if f"`MLFLOW_LEDGER_KAFKA_{field.upper()}`" in row)
    default = KafkaSettings.model_fields[field].default
    said = str(default).lower() if isinstance(default, bool) else default
    assert default is None or f"`{said}`" in row


def test_every_metric_is_documented_with_its_meaning() -> None:
    page = text("docs/operations.md")
    rows = re.findall(r"^\| `(mlflow_ledger_\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert dict(rows) == METRICS | WEBHOOK_METRICS


@pytest.mark.parametrize("name", sorted(event_types()))
def test_every_event_type_is_documented_with_its_fields(name: str) -> None:
    row = next(
        row for row in text("docs/events.md").splitlines() if row.startswith(f"| `{name}` |")
    )
    event = event_types()[name]
    fields = {*event.model_fields, *(event.content_type.model_fields if event.content_type else ())}
    assert {f for f in fields - {"content"} if f"`{f}`" not in row} == set()


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_documented_with_its_columns(view: str, tmp_path: Path) -> None:
    row = next(row for row in text("docs/sql.md").splitlines() if row.startswith(f"| `{view}` |"))
    ledger = open_ledger(f"ledger:{tmp_path}/store")
    ledger.catch_up()
    columns, _ = run_sql(ledger, f"SELECT * FROM {view}")
    assert [c for c in columns if c not in re.findall(r"\w+", row)] == []


def test_all_that_sql_offers_is_documented(tmp_path: Path) -> None:
    ledger = open_ledger(f"ledger:{tmp_path}/store")
    ledger.catch_up()
    _, views = run_sql(ledger, "SELECT view_name FROM duckdb_views() WHERE NOT internal")
    assert sorted(name for (name,) in views) == sorted(VIEWS)
    _, tables = run_sql(ledger, "SELECT table_name FROM duckdb_tables() WHERE NOT internal")
    named = set(re.findall(r"`(?:analytics\.fold\.)?(\w+)`", text("docs/sql.md")))
    assert {name for (name,) in tables} - named == set()
    assert {name for (name,) in views} - named == set()
    help_text = program.commands["sql"].help or ""
    assert [view for view in VIEWS if not re.search(rf"\b{view}\b", help_text)] == []


@pytest.mark.parametrize("number", range(3))
def test_every_sql_example_runs(number: int, tmp_path: Path) -> None:
    examples = re.findall(r"```sql\n(.*?)```", text("docs/sql.md"), re.DOTALL)
    assert len(examples) == 3
    ledger = open_ledger(f"ledger:{tmp_path}/store")
    ledger.catch_up()
    columns, _ = run_sql(ledger, examples[number])
    assert columns


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_the_readme_names_every_page() -> None:
    readme = text("README.md")
    pages = list((ROOT / "docs").glob("*.md"))
    assert [p.name for p in pages if f"docs/{p.name}" not in readme] == []
