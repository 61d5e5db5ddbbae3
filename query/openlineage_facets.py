"""Facets of OpenLineage: its own by their published versions, and ours."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["SCHEMA", "facet", "own_facet"]

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json"

_VERSIONS = {
    "DatasetVersionDatasetFacet": "1-0-1",
    "DatasourceDatasetFacet": "1-0-1",
    "JobTypeJobFacet": "2-0-4",
    "LifecycleStateChangeDatasetFacet": "1-0-1",
    "NominalTimeRunFacet": "1-0-1",
    "ParentRunFacet": "1-2-0",
    "ProcessingEngineRunFacet": "1-1-1",
    "SchemaDatasetFacet": "1-2-0",
    "SourceCodeLocationJobFacet": "1-1-0",
}


def facet(name: str, /, **values: Any) -> dict[str, Any]:
    """A facet that OpenLineage defines."""
    where = f"https://openlineage.io/spec/facets/{_VERSIONS[name]}/{name}.json#/$defs/{name}"
    return {"_producer": _producer(), "_schemaURL": where, **values}


def own_facet(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """A facet of ours, as ``docs/openlineage.md`` describes it; what is not known is left out."""
    known = {key: value for key, value in values.items() if value is not None}
    where = f"urn:mlflow-ledger:openlineage:1-0-0:{name}"
    return {"_producer": _producer(), "_schemaURL": where, **known}


def _producer() -> str:
    return f"urn:mlflow-ledger:{version('mlflow-ledger')}"
