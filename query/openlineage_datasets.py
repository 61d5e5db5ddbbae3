"""Data sets of a ledger as OpenLineage names them."""

from __future__ import annotations

import json
import sqlite3
from typing import Any
from urllib.parse import urlsplit

from .openlineage_facets import facet, own_facet

__all__ = ["Dataset", "dataset_named", "inputs_of", "outputs_of"]

Dataset = dict[str, Any]

_MOST = 1000


def dataset_named(namespace: str, name: str) -> Dataset:
    """A data set of which no more is known than its name."""
    return {"namespace": namespace, "name": name}


def inputs_of(db: sqlite3.Connection, namespace: str, run_id: str) -> list[Dataset]:
    """The data sets and logged models that a run has read."""
    rows = db.execute(
        "SELECT i.name, i.digest, d.source_type, d.source, d.dataset_schema FROM run_inputs i "
        "JOIN runs r USING (run_no) LEFT JOIN datasets d ON d.experiment_id = r.experiment_id "
        "AND d.name = i.name AND d.digest = i.digest WHERE r.run_id = ? ORDER BY i.ord LIMIT ?",
        (run_id, _MOST),
    ).fetchall()
    models = db.execute(
        "SELECT model_id FROM run_model_inputs JOIN runs USING (run_no) WHERE run_id = ? "
        "ORDER BY ord LIMIT ?",
        (run_id, _MOST),
    ).fetchall()
    found = [_dataset(namespace, *row) for row in rows]
    found += [dataset_named(namespace, f"logged_models/{model_id}") for (model_id,) in models]
    return found


def outputs_of(db: sqlite3.Connection, namespace: str, run_id: str) -> list[Dataset]:
    """The logged models that a run has made."""
    rows = db.execute(
        "SELECT o.model_id FROM run_model_outputs o JOIN runs USING (run_no) WHERE run_id = ? "
        "UNION SELECT model_id FROM logged_models WHERE source_run_id = ? ORDER BY 1 LIMIT ?",
        (run_id, run_id, _MOST),
    ).fetchall()
    return [dataset_named(namespace, f"logged_models/{model_id}") for (model_id,) in rows]


def _dataset(
    namespace: str,
    name: str,
    digest: str,
    source_type: str | None,
    source: str | bytes | None,
    schema: str | bytes | None,
) -> Dataset:
    uri = _uri(source)
    known = None if uri is None else _place(uri)
    found = dataset_named(*(known or (namespace, f"datasets/{name}")))
    told = {"name": name, "digest": digest, "source_type": source_type}
    found["facets"] = {
        "version": facet("DatasetVersionDatasetFacet", datasetVersion=digest),
        "mlflowLedger_dataset": own_facet("Dataset", told),
    }
    if uri is not None and known is not None:
        source_of = facet("DatasourceDatasetFacet", name=known[0], uri=_absolute(uri))
        found["facets"]["dataSource"] = source_of
    if fields := _fields(schema):
        found["facets"]["schema"] = facet("SchemaDatasetFacet", fields=fields)
    return found


def _uri(source: str | bytes | None) -> str | None:
    """Where the data stands, as far as MLflow's source says so."""
    said = _json(source)
    found = said.get("uri") or said.get("url")
    return found if isinstance(found, str) and found.isprintable() else None


def _place(uri: str) -> tuple[str, str] | None:
    """Namespace and name as OpenLineage has them: ``s3://bucket`` and key, ``file`` and path."""
    parts = urlsplit(uri)
    path = parts.path.lstrip("/")
    if parts.scheme in ("", "file") and parts.path.startswith("/"):
        return "file", parts.path
    if parts.scheme and parts.hostname and path:
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}", path
    return None


def _absolute(uri: str) -> str:
    """The address without who may read there."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return f"file://{uri}".replace(" ", "%20")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _fields(schema: str | bytes | None) -> list[dict[str, Any]]:
    """The columns of MLflow's schema of a table."""
    columns = _json(schema).get("mlflow_colspec")
    if not isinstance(columns, list):
        return []
    return [
        {"name": str(column["name"]), "type": str(column.get("type"))}
        for column in columns
        if isinstance(column, dict) and "name" in column
    ]


def _json(text: str | bytes | None) -> dict[str, Any]:
    """What a text says; of a claim check, which are bytes, nothing."""
    try:
        value = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
