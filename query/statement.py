"""Where a version's files come from, as an in-toto statement with SLSA provenance."""

from __future__ import annotations

import json
from typing import Any

from .lineage import Dataset, Lineage

__all__ = ["statement_of"]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mlflow-ledger:build-type:run:v1"


def statement_of(found: Lineage, ledger_id: str, byproducts: dict[str, str]) -> dict[str, Any]:
    """The statement; ``byproducts`` are SHA-256 digests in hexadecimal by name.

    Subjects are the files of the logged model, or of the run where there is none. A data set has
    the digest that MLflow gave it, under ``mlflow``: it is short, and no cryptographic one.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(found),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _external(found),
                "internalParameters": {
                    "ledger": ledger_id,
                    "version": found.uri,
                    "version_uid": found.version.uid,
                    "registered_by": found.version.created_by,
                    "registered_at": found.version.created,
                },
                "resolvedDependencies": _dependencies(found),
            },
            "runDetails": {
                "builder": {"id": f"urn:mlflow-ledger:ledger:{ledger_id}"},
                "metadata": _metadata(found),
                "byproducts": [
                    {"name": name, "digest": {"sha256": digest}}
                    for name, digest in sorted(byproducts.items())
                ],
            },
        },
    }


def _subjects(found: Lineage) -> list[dict[str, Any]]:
    of_model = [a for a in found.artifacts if a.owner.startswith("logged_models:/")]
    return [
        {"name": file.path, "digest": {"sha256": file.digest.removeprefix("sha256:")}}
        for file in of_model or found.artifacts
    ]


def _external(found: Lineage) -> dict[str, Any]:
    run = found.run
    if run is None:
        return {"source": found.version.source}
    return {
        "run": run.run_id,
        "experiment": run.experiment or run.experiment_id,
        "source": run.source,
        "user": run.user,
        "params": run.params,
    }


def _metadata(found: Lineage) -> dict[str, Any]:
    run = found.run
    said = {
        "invocationId": run.run_id if run else None,
        "startedOn": run.started if run else None,
        "finishedOn": run.ended if run else None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _dependencies(found: Lineage) -> list[dict[str, Any]]:
    """Data sets, code, environment files, and models that the model was made from."""
    told = [
        _dataset(dataset, found.run.run_id if found.run else None) for dataset in found.datasets
    ]
    for parent in found.parents:
        told += [_dataset(dataset, parent.run.run_id) for dataset in parent.datasets]
    for node in found.graph.nodes:
        if node.kind == "commit":
            commit = node.uri.removeprefix("commits:/")
            told.append(
                {"name": "code", "digest": {"gitCommit": commit}} | _repository(found, node.uri)
            )
        elif node.kind == "logged model" and not _own(found, node.uri):
            told.append({"name": node.name or node.uri, "uri": node.uri})
    told += [
        {"name": file.path, "digest": {"sha256": file.digest.removeprefix("sha256:")}}
        for file in found.environment
    ]
    return told


def _own(found: Lineage, uri: str) -> bool:
    return found.logged_model is not None and uri == f"logged_models:/{found.logged_model.model_id}"


def _repository(found: Lineage, commit: str) -> dict[str, str]:
    for edge in found.graph.edges:
        if edge.source == commit and edge.detail.get("repository"):
            return {"uri": f"git+{edge.detail['repository']}"}
    return {}


def _dataset(dataset: Dataset, run_id: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": dataset.name,
        "digest": {"mlflow": dataset.digest},
        "annotations": {"run": run_id, "source_type": dataset.source_type, **dataset.tags},
    }
    if dataset.source and "uri" in (source := _json(dataset.source)):
        said["uri"] = str(source["uri"])
    return said


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
