"""An ordinary training script: autologging, a few things logged by hand, a model registered."""

import json
from pathlib import Path

import mlflow
import mlflow.sklearn
from mlflow import MlflowClient
from sklearn.datasets import load_wine
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

features, target = load_wine(return_X_y=True, as_frame=True)
x_train, x_test, y_train, y_test = train_test_split(features, target, random_state=1)
baseline = DummyClassifier().fit(x_train, y_train)

mlflow.autolog()
with mlflow.start_run(run_name="by hand", tags={"team": "cellar"}) as run:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(x_train, y_train)
    accuracy = model.score(x_test, y_test)
    mlflow.log_params({"rows": len(x_train), "note": "mit Umlaut: Süßwein 🍷"})
    for step, loss in enumerate([0.9, 0.5, 0.25]):
        mlflow.log_metric("loss", loss, step=step)
    mlflow.log_metric("accuracy", accuracy)
    mlflow.set_tag("purpose", "test")
    mlflow.log_text("some words", "notes/words.txt")
    mlflow.log_dict({"a": 1}, "notes/deep/a.json")
    Path("report.txt").write_text("a report", "utf-8")
    mlflow.log_artifact("report.txt")
    for candidate in (baseline, model):
        logged = mlflow.sklearn.log_model(
            candidate,
            name="wine-model",
            input_example=x_train.head(2),
            registered_model_name="wine",
            pip_requirements=["scikit-learn"],
        )

client = MlflowClient()
client.transition_model_version_stage("wine", "1", "Staging")
client.transition_model_version_stage("wine", "2", "Production")
client.set_registered_model_alias("wine", "champion", "2")

mlflow.sklearn.autolog(log_models=False)
LogisticRegression(C=2.0, max_iter=5000).fit(x_train, y_train)  # a run begins by itself

print(
    json.dumps(
        {
            "run_id": run.info.run_id,
            "autologged_run_id": mlflow.last_active_run().info.run_id,
            "model_id": logged.model_id,
            "accuracy": accuracy,
            "predictions": model.predict(features).tolist(),
        }
    )
)
