"""A script beside modules of its own that bear the names of our folders."""

import json
import sys
from pathlib import Path

import consumers.queue
import mlflow
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

import bus
import producers
import query
import schemas

mlflow.sklearn.autolog(log_models=False)
DecisionTreeClassifier(max_depth=2).fit(*load_iris(return_X_y=True))
[run] = mlflow.search_runs(filter_string="params.max_depth = '2'", output_format="list")
mlflow.MlflowClient().log_text(run.info.run_id, schemas.TEXT, "text.txt")
print(
    json.dumps(
        {
            "run_id": run.info.run_id,
            "text": mlflow.artifacts.load_text(f"{run.info.artifact_uri}/text.txt"),
            "own": [
                Path(module.__file__).name
                for module in (schemas, query, producers, bus, consumers.queue)
            ],
            "ours": sorted(
                {
                    str(Path(module.__file__).parent)
                    for name, module in sys.modules.items()
                    if name.startswith("mlflow_ledger.") and module.__file__
                }
            ),
            "finders": [str(finder) for finder in sys.meta_path],
            "prefix": sys.prefix,
        }
    )
)
