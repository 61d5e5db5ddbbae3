"""What the UI is shown with: an experiment whose runs have curves, files, data, and a model."""

import json
import math
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from PIL import Image, ImageDraw

EPOCHS = 40
BEGAN = 1_790_000_000_000
MLMODEL = """\
flavors:
  python_function: {loader_module: cellar}
signature:
  inputs: '[{"name": "sugar", "type": "double"}, {"name": "acid", "type": "double"}]'
  outputs: '[{"type": "double"}]'
"""
RATES = (0.3, 0.1, 0.03, 0.01)


def losses(rate, depth):
    floor = 0.08 + 0.4 / depth
    return [floor + math.exp(-rate * 8 * e / depth) + 0.02 * math.sin(e) for e in range(EPOCHS)]


def draw(curve, path):
    image = Image.new("RGB", (640, 360), "white")
    points = [(20 + 600 * e / EPOCHS, 340 - 220 * loss) for e, loss in enumerate(curve)]
    ImageDraw.Draw(image).line(points, fill="#2272b4", width=4)
    image.save(path)


def train(client, experiment_id, rate, depth, number):
    name, began = f"depth {depth}, rate {rate}", BEGAN + number * 60_000
    run_id = client.create_run(experiment_id, began, run_name=name).info.run_id
    curve = losses(rate, depth)
    metrics = [Metric("loss", loss, began + e * 1000, e) for e, loss in enumerate(curve)]
    metrics += [Metric("accuracy", 1 - loss / 2, m.timestamp, m.step)
                for loss, m in zip(curve, metrics, strict=True)]  # fmt: skip
    params = [Param("depth", str(depth)), Param("rate", str(rate))]
    client.log_batch(run_id, metrics, params, [RunTag("team", "cellar")])
    data = Dataset("grapes", f"{depth:08x}", "local", "vineyard.csv", "{}", '{"num_rows": 178}')
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    folder = Path("files")
    folder.mkdir(exist_ok=True)
    draw(curve, folder / "loss.png")
    (folder / "notes.txt").write_text(f"{name}\nended at {curve[-1]:.4f}", "utf-8")
    (folder / "summary.json").write_text(json.dumps({"loss": round(curve[-1], 4)}), "utf-8")
    client.log_artifacts(run_id, str(folder), "report")
    client.log_text(run_id, MLMODEL, "model/MLmodel")  # the page of a version reads it
    client.set_terminated(run_id, "FINISHED", began + 50_000)
    return run_id


def register(client, run_ids):
    client.create_registered_model("vintage", description="Tells a good year from a bad one.")
    for run_id, words in zip(run_ids, ("The first try.", "Deeper, and slower."), strict=True):
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        client.create_model_version("vintage", source, run_id, description=words)
    client.set_model_version_tag("vintage", "2", "validated", "yes")
    client.transition_model_version_stage("vintage", "1", "Archived")
    client.transition_model_version_stage("vintage", "2", "Production")
    client.set_registered_model_alias("vintage", "champion", "2")


client = MlflowClient(sys.argv[1], sys.argv[1])
artifacts = sys.argv[2] if len(sys.argv) > 2 else None
experiment_id = client.create_experiment("vineyard", artifacts)
grid = [(rate, depth) for rate in RATES for depth in (2, 4)]
run_ids = [train(client, experiment_id, *given, number) for number, given in enumerate(grid)]
register(client, run_ids[:2])
print(json.dumps({"experiment_id": experiment_id, "run_ids": run_ids}))
