"""What another host sees of a run and its model."""

import json
import sys
from pathlib import Path

import mlflow
import mlflow.sklearn

run_id, model_uri = sys.argv[1:]
found = mlflow.get_run(run_id)
model = mlflow.sklearn.load_model(model_uri)
notes = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="notes.txt")
print(
    json.dumps(
        {
            "status": found.info.status,
            "loss": found.data.metrics["loss"],
            "steps": len(mlflow.MlflowClient().get_metric_history(run_id, "loss")),
            "C": found.data.params["C"],
            "predicted": [int(v) for v in model.predict([[0.0, 1.0], [1.0, 0.0]])],
            "notes": Path(notes).read_text("utf-8"),
        }
    )
)
