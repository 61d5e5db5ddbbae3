"""Makes the experiment that another script logs to later."""

import mlflow

mlflow.set_experiment("study")
with mlflow.start_run(run_name="before"):
    mlflow.log_metric("loss", 2.0)
mlflow.search_runs(experiment_names=["study"])
