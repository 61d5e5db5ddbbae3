"""Lineage both ways, over models made from models, judged and copied."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.query import lineage_graph
from mlflow_ledger.query.address import Unknown
from mlflow_ledger.query.cli import program
from mlflow_ledger.query.cli.lineage_lines import table_of
from mlflow_ledger.query.layers import laid_out
from mlflow_ledger.query.lineage import EntityLineage, entity_lineage, lineage
from mlflow_ledger.query.lineage_address import LineageAddress
from mlflow_ledger.query.picture import dot, svg
from mlflow_ledger.schemas import (
    LoggedModelPurged,
    ModelVersionStageChanged,
    RegisteredModelAliasSet,
    RegisteredModelDeleted,
    SettingsError,
)

from .family_tree import (
    COMMIT,
    DISTIL,
    JUDGE,
    REQUIREMENTS,
    STUDENT,
    SWEEP,
    TEACHER,
    TRACE,
    TRAIN,
    named,
    tell,
    version,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path_factory.mktemp("family") / "store")
    tell(ledger)
    yield ledger
    ledger.close()


def entities(found: EntityLineage) -> set[str]:
    return {node.uri for node in found.graph.nodes}


def links(found: EntityLineage) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.relation, edge.target) for edge in found.graph.edges}


def test_a_data_set_leads_to_all_that_it_touched(family: Ledger) -> None:
    found = entity_lineage(family, "datasets:/d-wine", "forward")
    assert entities(found) == {
        "datasets:/wine/d-wine",
        f"runs:/{SWEEP}",
        f"runs:/{TRAIN}",
        f"logged_models:/{TEACHER}",
        f"runs:/{DISTIL}",
        f"logged_models:/{STUDENT}",
        f"runs:/{JUDGE}",
        "models:/cellar/1",
        "models:/cellar/Production",
        "models:/shop/1",
        "models:/shop@live",
    }
    assert (f"logged_models:/{TEACHER}", "model input", f"runs:/{DISTIL}") in links(found)
    assert (f"logged_models:/{STUDENT}", "evaluated by", f"runs:/{JUDGE}") in links(found)
    assert ("models:/cellar/1", "copied", "models:/shop/1") in links(found)


@pytest.mark.parametrize("name", ["wine", "d-wine", "wine/d-wine"])
def test_a_data_set_is_named_by_digest_or_name(family: Ledger, name: str) -> None:
    assert entity_lineage(family, f"datasets:/{name}").graph.roots == ["datasets:/wine/d-wine"]


def test_what_was_only_measured_leads_to_where_the_model_stands(family: Ledger) -> None:
    found = entity_lineage(family, "datasets:/d-hold")
    assert {"models:/cellar/Production", "models:/shop@live"} < entities(found)
    assert f"logged_models:/{TEACHER}" not in entities(found)
    assert ("datasets:/holdout/d-hold", "measured on", f"logged_models:/{STUDENT}") in links(found)


def test_a_version_leads_back_to_everything(family: Ledger) -> None:
    found = lineage(family, "models:/shop@live", "back")
    uris = {node.uri for node in found.graph.nodes}
    assert found.uri == "models:/shop/1"
    assert {"models:/cellar/1", f"logged_models:/{STUDENT}", f"runs:/{DISTIL}"} < uris
    assert {f"logged_models:/{TEACHER}", f"runs:/{TRAIN}", f"runs:/{SWEEP}"} < uris
    assert {"datasets:/wine/d-wine", "datasets:/prompts/d-prompts", f"commits:/{COMMIT}"} < uris
    assert {f"runs:/{JUDGE}", f"traces:/{TRACE}", "datasets:/holdout/d-hold"} < uris
    (trace,) = (node for node in found.graph.nodes if node.kind == "trace")
    assert trace.detail["assessments"][0]["value"] is True
    (file,) = found.environment
    assert (file.model_id, file.text) == (STUDENT, REQUIREMENTS.decode())


def test_a_version_names_who_judged_it(family: Ledger) -> None:
    found = lineage(family, "models:/cellar/Production")
    measured, traced = found.judgements
    assert (measured.by, measured.dataset) == (f"runs:/{JUDGE}", "holdout/d-hold")
    assert measured.metrics == {"accuracy": 0.9}
    assert traced.by == f"traces:/{TRACE}"
    assert traced.assessments[0]["source_id"] == "carol"


def test_aliases_and_stages_that_it_had_once_are_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    tell(ledger)
    ledger.write(lambda _: [version("cellar", 2, None, "/elsewhere")])
    for number in (1, 2):
        ledger.write(
            lambda _, n=number: [RegisteredModelAliasSet(**named("cellar", n), alias="best")]  # type: ignore[misc]  # mypy: lambda default
        )
    promoted = {"stage": "Production", "archive_existing": True}
    ledger.write(lambda _: [ModelVersionStageChanged(**named("cellar", 2), **promoted)])
    found = entity_lineage(ledger, "datasets:/d-wine")
    ours = {(link, to) for of, link, to in links(found) if of == "models:/cellar/1"}
    assert ours == {
        ("copied", "models:/shop/1"),
        ("stage", "models:/cellar/Archived"),
        ("stage, earlier", "models:/cellar/Production"),
        ("alias, earlier", "models:/cellar@best"),
    }
    states = {node.uri: node.state for node in found.graph.nodes}
    assert states["models:/cellar@best"] == "earlier"
    past = {edge.relation: edge.detail for edge in found.graph.edges if edge.detail.get("past")}
    assert set(past) == {"stage, earlier", "alias, earlier"}
    for detail in past.values():
        assert detail["since"] <= detail["until"]
    assert dot(found.graph).count("style=dashed") == 2
    assert svg(found.graph, "x").count("stroke-dasharray") == 2
    ledger.close()


def test_the_present_and_the_past_of_an_alias_stand_in_the_table(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    tell(ledger)
    ledger.write(lambda _: [version("cellar", 2, STUDENT, None)])
    for number in (1, 2):
        ledger.write(
            lambda _, n=number: [RegisteredModelAliasSet(**named("cellar", n), alias="best")]  # type: ignore[misc]  # mypy: lambda default
        )
    found = entity_lineage(ledger, "datasets:/d-wine")
    _, rows = table_of(found.graph)
    of_alias = [(entity, link) for _, entity, _, _, link in rows if entity.endswith("@best")]
    assert of_alias == [
        ("models:/cellar@best", "alias: from models:/cellar/2"),
        ("models:/cellar@best", "alias, earlier: from models:/cellar/1"),
    ]
    told = {link.split(": from ")[-1] + f" {entity}" for _, entity, _, _, link in rows}
    assert {f"{edge.source} {edge.target}" for edge in found.graph.edges} <= told
    ledger.close()


def test_the_data_of_runs_above_is_told(family: Ledger) -> None:
    found = entity_lineage(family, f"runs:/{TRAIN}", "back")
    assert {f"runs:/{SWEEP}", "datasets:/wine/d-wine"} < entities(found)
    assert entities(entity_lineage(family, f"models:/{TEACHER}", "back")) > entities(found)


def test_what_the_state_has_forgotten_the_log_still_tells(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    tell(ledger)
    ledger.write(lambda _: [RegisteredModelDeleted(model_uid="uid-cellar", name="cellar")])
    ledger.write(lambda _: [LoggedModelPurged(model_id=STUDENT)])
    found = lineage(ledger, "models:/cellar/1")
    states = {node.uri: node.state for node in found.graph.nodes}
    assert states["models:/cellar/1"] == "deleted"
    assert states[f"logged_models:/{STUDENT}"] == "not in this ledger"
    assert states[f"runs:/{DISTIL}"] == "RUNNING"
    ledger.close()


def test_a_graph_that_is_too_large_is_cut(family: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_graph, "MOST_NODES", 3)
    found = entity_lineage(family, "datasets:/d-wine")
    assert len(found.graph.nodes) == 3
    assert "more than 3 entities" in found.notes[0]


@pytest.mark.parametrize("entity", ["datasets:/none", "runs:/none", "models:/m-none"])
def test_what_is_not_there_is_said(family: Ledger, entity: str) -> None:
    with pytest.raises(Unknown, match="there is no"):
        entity_lineage(family, entity)


@pytest.mark.parametrize("text", ["models:/wine", "traces:/x", "wine", "datasets:/"])
def test_what_has_no_lineage_is_a_mistake(text: str) -> None:
    with pytest.raises(SettingsError, match="has a lineage"):
        LineageAddress.parse(text)


@pytest.mark.parametrize(
    "text", ["models:/a/2", "models:/a@b", "models:/a/Production", "runs:/x", "datasets:/n/d"]
)
def test_an_address_reads_back(text: str) -> None:
    assert str(LineageAddress.parse(text)) == text


def test_every_search_of_a_lineage_has_an_index(family: Ledger) -> None:
    def plan(statement: str, value: str) -> str:
        rows = family.query(
            lambda db: db.execute(f"EXPLAIN QUERY PLAN {statement}", (value,)).fetchall()
        )
        return " ".join(str(row[3]) for row in rows)

    given = "IN (SELECT value FROM json_each(?))"
    for table, where in (
        ("run_inputs", f"digest {given}"),
        ("tags", f"key = 'mlflow.parentRunId' AND value {given}"),
        ("run_model_inputs", f"model_id {given}"),
        ("run_model_outputs", f"model_id {given}"),
        ("logged_models", f"source_run_id {given}"),
        ("logged_model_metrics", f"dataset_digest {given}"),
        ("model_versions", f"model_id {given}"),
        ("trace_metadata", f"key = 'mlflow.modelId' AND value {given}"),
    ):
        assert f"SEARCH {table} USING" in plan(f"SELECT 1 FROM {table} WHERE {where}", "[]")


def test_the_picture_shows_every_entity_once(family: Ledger) -> None:
    found = entity_lineage(family, f"logged_models:/{STUDENT}")
    root = ET.fromstring(svg(found.graph, "a < b \x07"))
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert titles[0] == "a < b �"
    assert {node.uri for node in found.graph.nodes} <= set(titles)
    boxes = [rect for group in root.iter(f"{SVG}g") for rect in group.iter(f"{SVG}rect")]
    places = {(box.get("x"), box.get("y")) for box in boxes}
    assert len(places) == len(boxes) == len(found.graph.nodes)
    text = dot(found.graph)
    assert text.count(" -> ") == len(found.graph.edges)
    assert f'"logged_models:/{STUDENT}" [label="student' in text


def test_layers_go_from_left_to_right_and_bear_circles() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "a"), ("d", "c"), ("e", "e")]
    layout = laid_out(list("abcde"), edges)
    columns = {node: layout.points[node].column for node in "abcde"}
    assert columns == {"a": 0, "b": 1, "c": 2, "d": 1, "e": 0}
    assert [point.column for point in layout.bends["a", "c"]] == [1]
    assert laid_out([], []).columns == 0


@pytest.mark.parametrize("form", ["text", "json", "dot", "svg"])
@pytest.mark.parametrize("entity", ["datasets:/wine", "models:/cellar/1"])
def test_the_command_prints_each_form(family: Ledger, entity: str, form: str) -> None:
    arguments = ["lineage", f"ledger://{family.folder}", entity, "--format", form]
    result = CliRunner().invoke(program, arguments, prog_name="mlflow-ledger")
    assert result.exit_code == 0, result.output
    if form == "json":
        assert json.loads(result.output)["graph"]["nodes"]
    if form == "svg":
        ET.fromstring(result.output)
    assert f"logged_models:/{STUDENT}" in result.output or form == "text"
