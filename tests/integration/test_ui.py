"""MLflow's UI on a ledger, in a real browser: the pages a person uses, without one complaint.

`MLFLOW_LEDGER_SCREENSHOTS=docs pytest tests/integration/test_ui.py -k ledger` renews the pictures.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, expect

from mlflow_ledger.producers.older_mlflow import SINCE_3_18
from tests.kafka.servers import servers

from .browser import Visit, need_chromium, visiting
from .programs import MLFLOW, PYTHON, SCRIPTS, last_json, run, serving, wait_until

expect.set_options(timeout=60_000)

# MLflow's pages ask who is signed in; without its authentication app no server has an answer. The
# same tour of MLflow's own store has the same two remarks on each page, and no other.
UPSTREAM = {
    "GET /ajax-api/2.0/mlflow/users/current: 404",
    (
        "console at /ajax-api/2.0/mlflow/users/current: "
        "Failed to load resource: the server responded with a status of 404 (Not Found)"
    ),
}

# From 3.18 on it asks for places to download from, which no store of local files has; its own too.
PRESIGNED = {
    remark
    for verb, path in (
        ("POST", "/ajax-api/2.0/mlflow/artifacts/presigned-download-url"),
        ("GET", "/model-versions/get-artifact"),
    )
    for remark in (
        f"{verb} {path}: 501",
        (
            f"console at {path}: Failed to load resource: "
            "the server responded with a status of 501 (Not Implemented)"
        ),
    )
    if SINCE_3_18
}

# What Chromium says where a page's layout took a frame more; no request and no data is behind it.
LAYOUT = re.compile(r"ResizeObserver loop completed with undelivered notifications")

REST = {
    "/": "Welcome to MLflow",
    "/experiments/{}": "vineyard",
    "/experiments/{}/traces": "Traces",
    "/experiments/{}/models": "Models",
    "/experiments/{}/datasets": "Datasets",
    "/experiments/{}/evaluation-runs": "Evaluation runs",
    "/prompts": "Prompts",
}
FALLING = (0.3, 0.1, 0.03, 0.01)

STORES = {
    "ledger": ("ledger:./store", ["--artifacts-destination", "ledger-artifacts:"]),
    "kafka": (
        "ledger+kafka://{servers}/ui-{unique}",
        ["--artifacts-destination", "ledger-artifacts:"],
    ),
    "sqlite": ("sqlite:///mlflow.db", []),
}


LONG = [pytest.param(name, marks=pytest.mark.brokers) for name in ("kafka", "sqlite")]


@pytest.mark.parametrize("store", ["ledger", *LONG])
def test_a_tour_of_the_ui(store: str, tmp_path: Path) -> None:
    """Both stores take the same tour: what MLflow's own complains of is no fault of ours."""
    need_chromium()
    uri, more = STORES[store]
    if store == "kafka":
        uri = uri.format(servers=servers(), unique=uuid.uuid4().hex)
    home = {"MLFLOW_LEDGER_HOME": str(tmp_path / "home")}
    made = last_json(run(tmp_path, PYTHON, SCRIPTS / "scene.py", uri, **home).stdout)
    command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", uri, *more]
    with serving(tmp_path, command, "/health", **home) as server, visiting(server.url) as visit:
        look_at_experiments(visit)
        sort_and_filter_runs(visit, made["experiment_id"])
        read_a_run(visit)
        open_artifacts(visit)
        compare_runs(visit, made["experiment_id"])
        look_at_charts(visit, made["experiment_id"])
        look_at_models(visit)
        glance_at_the_rest(visit, made["experiment_id"])
        # What the page asks for once nobody answers is not looked at.
        remarks = {remark for remark in visit.remarks if not LAYOUT.search(remark)}
        server.stop()
        assert server.tracebacks() == []
    assert remarks == UPSTREAM | PRESIGNED


def look_at_experiments(visit: Visit) -> None:
    page = visit.page
    visit.open("/experiments")
    expect(page.get_by_role("link", name="Default")).to_be_visible()
    box = page.get_by_test_id("search-experiment-input")
    box.fill("vine")
    box.press("Enter")
    expect(page.get_by_role("link", name="Default")).to_have_count(0)
    page.get_by_role("link", name="vineyard").click()
    page.wait_for_url(re.compile(r"/experiments/\d+"))


def sort_and_filter_runs(visit: Visit, experiment_id: str) -> None:
    page = visit.page
    visit.open(f"/experiments/{experiment_id}/runs")
    expect(page.get_by_text("8 matching runs")).to_be_visible()
    tick_columns(visit, "Dataset", "Source", "Models", "loss", "accuracy", "depth", "rate")
    header(visit, "attributes.`Run Name`").click()
    rows_become(visit, [*(f"depth 4, rate {rate}" for rate in FALLING), "depth 2, rate 0.3"], 5)
    header(visit, "metrics.`loss`").click()
    rows_become(visit, ["depth 4, rate 0.01", "depth 2, rate 0.01"], 2)
    header(visit, "metrics.`loss`").click()
    rows_become(visit, ["depth 4, rate 0.3", "depth 4, rate 0.1"], 2)
    visit.shoot("ui-runs")
    box = page.get_by_test_id("search-box")
    box.fill("params.depth = '4' AND metrics.loss < 0.25")
    box.press("Enter")
    expect(page.get_by_text("2 matching runs")).to_be_visible()
    rows_become(visit, ["depth 4, rate 0.3", "depth 4, rate 0.1"], 2)
    assert len(rows(visit)) == 2


def read_a_run(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("link", name="depth 4, rate 0.1").click()
    expect(page.get_by_role("heading", name="depth 4, rate 0.1")).to_be_visible()
    for text in ("Finished", "cellar", "grapes"):
        expect(page.get_by_text(text).first).to_be_visible()
    page.get_by_role("tab", name="Model metrics").click()
    chart = page.locator(".js-plotly-plot")
    expect(chart).to_have_count(2)
    for number in range(2):
        wait_until(lambda n=number: curves(chart.nth(n)) == 1, 60, "a chart has its curve")


def open_artifacts(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report", exact=True).click()
    page.get_by_text("notes.txt", exact=True).click()
    expect(page.locator("code")).to_contain_text("depth 4, rate 0.1\nended at 0.")
    page.get_by_text("summary.json", exact=True).click()
    expect(page.locator("code")).to_contain_text('"loss": 0.')
    page.get_by_text("loss.png", exact=True).first.click()
    image = page.get_by_role("img", name="report/loss.png").first
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 640
    visit.shoot("ui-artifacts")


def compare_runs(visit: Visit, experiment_id: str) -> None:
    page = visit.page
    visit.open(f"/experiments/{experiment_id}/runs?searchFilter=")
    expect(page.get_by_text("8 matching runs")).to_be_visible()
    boxes = page.get_by_role("checkbox", name="Press Space to toggle row selection")
    compare = page.get_by_role("button", name="Compare", exact=True)

    def compared() -> bool:
        """The table may draw itself anew while it is ticked, and forget what was."""
        with contextlib.suppress(PlaywrightError):
            for box in boxes.all()[:3]:
                box.check(force=True, timeout=5000)  # the table draws its own over the browser's
            compare.click(timeout=5000)
            return True
        return False

    wait_until(compared, 60, "three runs are ticked and compared")
    expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
    expect(page.locator(".js-plotly-plot .parcoords").first).to_be_visible()
    for name in ("Scatter Plot", "Contour Plot"):
        page.get_by_role("tab", name=name).click()
        expect(page.locator(".js-plotly-plot").filter(visible=True).first).to_be_visible()
    for text in ("rate", "accuracy", "Show diff only"):
        expect(page.get_by_text(text, exact=True).first).to_be_attached()


def look_at_charts(visit: Visit, experiment_id: str) -> None:
    page = visit.page
    visit.open(f"/experiments/{experiment_id}/runs?compareRunsMode=CHART&searchFilter=")
    expect(page.get_by_text("8 matching runs")).to_be_visible()
    page.get_by_test_id("search-box").fill("params.depth = '4'")
    page.get_by_test_id("search-box").press("Enter")
    expect(page.get_by_text("4 matching runs")).to_be_visible()
    chart = page.locator(".js-plotly-plot").first
    wait_until(lambda: curves(chart) == 4, 60, "a chart has the curve of every run")
    visit.shoot("ui-charts")


def look_at_models(visit: Visit) -> None:
    page = visit.page
    visit.open("/models")
    page.get_by_role("button", name="Try it now").click()  # of MLflow's greeting
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="vintage"))
    expect(row).to_contain_text("champion")
    row.get_by_role("link", name="vintage").click()
    expect(page.get_by_text("Tells a good year from a bad one.")).to_be_visible()
    for name in ("Version 1", "Version 2"):
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
    page.get_by_role("link", name="Version 2", exact=True).first.click()
    for text in ("Deeper, and slower.", "champion", "Production", "validated"):
        expect(page.get_by_text(text).first).to_be_visible()
    expect(page.get_by_role("link", name="depth 4, rate 0.3")).to_be_visible()
    visit.shoot("ui-version")


def glance_at_the_rest(visit: Visit, experiment_id: str) -> None:
    """The pages of families that a ledger does not hold yet are empty, and nothing worse."""
    page = visit.page
    for place, text in REST.items():
        visit.open(place.format(experiment_id))
        expect(page.get_by_text(text).first).to_be_visible()


def curves(chart: Locator) -> int:
    """How many different curves of more than a few points a chart has."""
    lines = {line.get_attribute("d") or "" for line in chart.locator("path.js-line").all()}
    return len([line for line in lines if line.count("L") > 10])


def header(visit: Visit, column: str) -> Locator:
    """What to click for a table sorted by a column."""
    return visit.page.locator(f'[role=columnheader][col-id="{column}"]').first


def tick_columns(visit: Visit, *names: str) -> None:
    """Tick columns in the table's menu: those that are there go, the others come."""
    page = visit.page
    page.get_by_role("button", name="Columns", exact=True).click()
    for name in names:
        page.locator("[class*=tree-title]").get_by_text(name, exact=True).click()
    page.keyboard.press("Escape")


def rows(visit: Visit) -> list[str]:
    """The names in the table of runs from above; the document has its rows in another order."""
    found = visit.page.locator("[role=row]").evaluate_all(
        """rows => rows.map(row => [Number(row.getAttribute("row-index")),
                                   row.querySelector('a[href*="/runs/"]')?.innerText])"""
    )
    return [name for _, name in sorted((at, name) for at, name in found if name)]


def rows_become(visit: Visit, expected: list[str], count: int) -> None:
    """Wait until the first rows are these."""
    wait_until(lambda: rows(visit)[:count] == expected, 60, f"the table begins with {expected}")
