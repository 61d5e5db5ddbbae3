"""What the server of forks imports before it forks: all that a first call would import."""

import mlflow.protos.internal_pb2
import mlflow.store.tracking.file_store
import mlflow.tracking.fluent
import pyarrow.pandas_compat

import mlflow_ledger.consumers.analytics
import mlflow_ledger.producers.artifact_repository
import mlflow_ledger.producers.registry_store
import mlflow_ledger.producers.tracking_store
import tests.soak.log
import tests.soak.search
import tests.soak.work  # noqa: F401
