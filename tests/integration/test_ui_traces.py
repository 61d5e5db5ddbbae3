"""MLflow's UI on a ledger: traces, sessions, evaluations, prompts and logged models.

`MLFLOW_LEDGER_SCREENSHOTS=FOLDER` keeps pictures of the pages.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from .browser import Visit, need_chromium, visiting
from .programs import MLFLOW, PYTHON, SCRIPTS, last_json, run, serving
from .test_ui import LAYOUT, UPSTREAM

pytestmark = pytest.mark.brokers

STORES = {
    "ledger": ("ledger:./store", ["--artifacts-destination", "ledger-artifacts:"]),
    "sqlite": ("sqlite:///mlflow.db", []),
}
PAGES = {
    "traces": ("/experiments/{experiment_id}/traces", ["vinegar", "merlot 5", "evening-0"]),
    "trace": (
        "/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}",
        ["taste", "cellar", "model", "27 tokens", "1 linked prompt", "merlot 5"],
    ),
    "session": (
        "/experiments/{experiment_id}/chat-sessions/evening-0",
        ["evening-0", "Turn 3", "merlot 0 tastes of cherries", "merlot 2"],
    ),
    "usage": ("/experiments/{experiment_id}/overview/usage", ["Usage", "Traces", "Latency"]),
    "quality": ("/experiments/{experiment_id}/overview/quality", ["Quality"]),
    "evaluations": (
        "/experiments/{experiment_id}/evaluation-runs",
        ["names_cherries/mean", "press 1", "dataset"],
    ),
    "evaluation": (
        "/experiments/{experiment_id}/runs/{run_id}/traces",
        ["names_cherries", "pepper", "syrah tastes of cherries", "100%"],
    ),
    "prompts": ("/prompts", ["tasting-note", "Version 2"]),
    "prompt": (
        "/prompts/tasting-note",
        ["Version 1", "champion", "said better", "Taste {{wine}}, then say {{words}} words."],
    ),
    "models": ("/experiments/{experiment_id}/models", ["taster-0", "taster-1"]),
    "model": (
        "/experiments/{experiment_id}/models/{model_id}",
        ["taster-1", "press 1", "Ready"],
    ),
    "judges": ("/experiments/{experiment_id}/judges", ["Judges"]),
    "datasets": ("/experiments/{experiment_id}/datasets", ["Datasets"]),
}
"""Where pages are, and what stands on them."""


@pytest.mark.parametrize("store", ["ledger", pytest.param("sqlite", marks=pytest.mark.brokers)])
def test_a_tour_of_traces(store: str, tmp_path: Path) -> None:
    """Both stores show the same; what MLflow's own complains of is no fault of ours."""
    need_chromium()
    uri, more = STORES[store]
    made = last_json(run(tmp_path, PYTHON, SCRIPTS / "traced_scene.py", uri).stdout)
    command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", uri, *more]
    with serving(tmp_path, command, "/health") as server, visiting(server.url) as visit:
        for name, (place, texts) in PAGES.items():
            visit.open(place.format(**made))
            if name == "traces":
                visit.page.get_by_role("button", name="Got it").click()  # of MLflow's greeting
            for text in texts:
                look_for(visit, name, text)
            visit.shoot(f"ui-{name}")
        # What the page asks for once nobody answers is not looked at.
        remarks = {remark for remark in visit.remarks if not LAYOUT.search(remark)}
        server.stop()
        assert server.tracebacks() == []
    assert remarks == UPSTREAM


def look_for(visit: Visit, name: str, text: str) -> None:
    found = visit.page.get_by_text(text).filter(visible=True).first
    expect(found, f"{text!r} on the page {name}").to_be_visible(timeout=40_000)
