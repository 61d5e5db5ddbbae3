"""What the server of forks imports before it forks: all that a first call would import."""

from importlib import import_module

MODULES = (
    "mlflow.protos.internal_pb2",
    "mlflow.store.tracking.file_store",
    "mlflow.tracking.fluent",
    "mlflow_ledger.consumers.analytics",
    "mlflow_ledger.producers.artifact_repository",
    "mlflow_ledger.producers.registry_store",
    "mlflow_ledger.producers.tracking_store",
    "pyarrow.pandas_compat",
    "tests.soak.log",
    "tests.soak.search",
    "tests.soak.work",
)

for name in MODULES:
    import_module(name)
