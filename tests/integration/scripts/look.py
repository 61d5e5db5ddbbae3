"""Looks at what `train.py` left, from another process, by MLflow's own functions."""

import json
import sys
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_wine

run_id, autologged_run_id = sys.argv[1:]
features, target = load_wine(return_X_y=True, as_frame=True)
client = MlflowClient()


def plain(run):
    """Name, status, data and inputs of a run."""
    return {
        "info": {
            "experiment": client.get_experiment(run.info.experiment_id).name,
            "name": run.info.run_name,
            "status": run.info.status,
            "artifact_uri": run.info.artifact_uri,
        },
        "params": run.data.params,
        "metrics": run.data.metrics,
        "tags": run.data.tags,
        "datasets": [
            {
                "name": given.dataset.name,
                "digest": given.dataset.digest,
                "context": [tag.value for tag in given.tags if tag.key == "mlflow.data.context"],
            }
            for given in run.inputs.dataset_inputs
        ],
        "outputs": len(run.outputs.model_outputs),
    }


def names(folder):
    """The files below a folder."""
    folder = Path(folder)
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def right(uri):
    """How many rows a model gets right, loaded by its address."""
    predicted = mlflow.pyfunc.load_model(uri).predict(features)
    return int((predicted == target).sum())


frame = mlflow.search_runs(
    filter_string="metrics.accuracy > 0.5 AND tags.team = 'cellar' AND params.rows = '133'",
    order_by=["metrics.accuracy DESC"],
)
models = mlflow.search_logged_models(output_format="list", order_by=[{"field_name": "name"}])
version = client.get_model_version_by_alias("wine", "champion")
downloaded = mlflow.artifacts.download_artifacts(run_id=run_id, dst_path="downloaded")
print(
    json.dumps(
        {
            "experiments": [e.name for e in mlflow.search_experiments()],
            "runs": {r: plain(client.get_run(r)) for r in (run_id, autologged_run_id)},
            "loss": [
                (m.step, m.value)
                for m in sorted(client.get_metric_history(run_id, "loss"), key=lambda m: m.step)
            ],
            "found": frame.run_id.tolist(),
            "found_columns": sorted(frame.columns),
            "models": [
                {
                    "id": m.model_id,
                    "name": m.name,
                    "status": m.status,
                    "run": m.source_run_id,
                    "right": right(m.model_uri),
                }
                for m in models
            ],
            "champion": {
                "version": version.version,
                "stage": version.current_stage,
                "run": version.run_id,
                "model": version.model_id,
                "source": version.source,
                "status": version.status,
            },
            "stages": {
                stage: [v.version for v in client.get_latest_versions("wine", [stage])]
                for stage in ("None", "Staging", "Production")
            },
            "right": {
                uri: right(uri)
                for uri in (
                    "models:/wine/1",
                    "models:/wine/2",
                    "models:/wine@champion",
                    "models:/wine/Staging",
                    "models:/wine/latest",
                )
            },
            "flavoured": mlflow.sklearn.load_model("models:/wine@champion").steps[-1][0],
            "downloaded": names(downloaded),
            "words": Path(
                mlflow.artifacts.download_artifacts(f"runs:/{run_id}/notes/words.txt")
            ).read_text("utf-8"),
            "listed": sorted(
                f.path for f in mlflow.artifacts.list_artifacts(f"runs:/{run_id}/notes")
            ),
            "model_files": names(mlflow.artifacts.download_artifacts("models:/wine@champion")),
            "text": mlflow.artifacts.load_text(f"runs:/{run_id}/report.txt"),
        }
    )
)
