"""What a data scientist runs, who does not know whether the brokers are there."""

import json

import mlflow
import mlflow.sklearn
from sklearn.linear_model import LogisticRegression

X = [[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1]] * 5
Y = [0, 1, 0, 1] * 5

mlflow.set_experiment("study")
mlflow.sklearn.autolog(silent=True)

with mlflow.start_run(run_name="away") as run:
    model = LogisticRegression().fit(X, Y)
    for step in range(20):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    logged = mlflow.sklearn.log_model(model, name="by_hand", input_example=X[:1])
    mlflow.log_text("all is well", "notes.txt")

found = mlflow.get_run(run.info.run_id)
searched = mlflow.search_runs(experiment_names=["study"], output_format="list")
loaded = mlflow.sklearn.load_model(logged.model_uri)
print(
    json.dumps(
        {
            "run_id": run.info.run_id,
            "status": found.info.status,
            "loss": found.data.metrics["loss"],
            "C": found.data.params["C"],
            "searched": [run.info.run_id for run in searched],
            "model_uri": logged.model_uri,
            "predicted": [int(value) for value in loaded.predict(X[:4])],
        }
    )
)
