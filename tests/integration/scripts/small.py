"""The least that a script can log."""

import mlflow

with mlflow.start_run():
    mlflow.log_param("a", 1)
