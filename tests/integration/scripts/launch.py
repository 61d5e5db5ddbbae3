"""Runs a project on the tracking URI that it is told, here and in the background."""

import json
import sys

import mlflow

tracking_uri, project = sys.argv[1:]
mlflow.set_tracking_uri(tracking_uri)
here = mlflow.projects.run(project, parameters={"factor": 2}, env_manager="local")
behind = mlflow.projects.run(
    project, parameters={"factor": 3}, env_manager="local", synchronous=False
)
behind.wait()
print(json.dumps([here.run_id, behind.run_id]))
