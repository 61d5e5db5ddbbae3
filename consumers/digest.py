"""The digest of a state: equal for equal histories, whatever the order they were folded in."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any

__all__ = ["STATE_TABLES", "rows_digest", "state_digest"]

_RUN = "(SELECT run_id FROM runs WHERE runs.run_no = t.run_no)"
_LOGGED = "(SELECT model_id FROM logged_models m WHERE m.logged_model_no = t.logged_model_no)"
_MODEL = "(SELECT uid FROM registered_models m WHERE m.model_no = t.model_no)"

STATE_TABLES: dict[str, str] = {
    "experiments": "SELECT * FROM experiments",
    "experiment_tags": "SELECT * FROM experiment_tags",
    "runs": "SELECT run_id, experiment_id, name, user_id, status, start_ms, end_ms, artifact_uri, "
    "lifecycle, epoch, deleted_ms FROM runs",
    "params": f"SELECT {_RUN}, key, value FROM params t",
    "tags": f"SELECT {_RUN}, key, value FROM tags t",
    "metrics": f"SELECT {_RUN}, key, value, is_nan, timestamp_ms, step FROM metrics t",
    "metric_chunks": f"SELECT {_RUN}, k.key, row_number() OVER (PARTITION BY run_no, key_no "
    "ORDER BY seq), points FROM metric_chunks t JOIN metric_keys k USING (key_no)",
    "datasets": "SELECT * FROM datasets",
    "run_inputs": f"SELECT {_RUN}, ord, name, digest, tags FROM run_inputs t",
    "run_model_inputs": f"SELECT {_RUN}, ord, model_id FROM run_model_inputs t",
    "run_model_outputs": f"SELECT {_RUN}, ord, model_id, step FROM run_model_outputs t",
    "logged_models": "SELECT model_id, experiment_id, name, artifact_location, created_ms, "
    "updated_ms, status, model_type, source_run_id, lifecycle FROM logged_models",
    "logged_model_params": f"SELECT {_LOGGED}, key, value FROM logged_model_params t",
    "logged_model_tags": f"SELECT {_LOGGED}, key, value FROM logged_model_tags t",
    "logged_model_metrics": "SELECT * FROM logged_model_metrics",
    "registered_models": "SELECT uid, workspace, name, created_ms, updated_ms, description "
    "FROM registered_models",
    "registered_model_tags": f"SELECT {_MODEL}, key, value FROM registered_model_tags t",
    "model_aliases": f"SELECT {_MODEL}, alias, version FROM model_aliases t",
    "model_versions": f"SELECT {_MODEL}, version, uid, created_ms, updated_ms, description, "
    "user_id, stage, source, storage_location, run_id, run_link, model_id FROM model_versions t",
    "model_version_tags": f"SELECT {_MODEL}, version, key, value FROM model_version_tags t",
    "webhooks": "SELECT * FROM webhooks",
    "traces": "SELECT * FROM traces",
    "trace_tags": "SELECT * FROM trace_tags",
    "trace_metadata": "SELECT * FROM trace_metadata",
    "spans": "SELECT * FROM spans",
    "assessments": "SELECT * FROM assessments",
    "trace_links": "SELECT * FROM trace_links",
    "items": "SELECT * FROM items",
    "item_tags": "SELECT * FROM item_tags",
    "artifacts": "SELECT * FROM artifacts",
    "blobs": "SELECT * FROM blobs",
    "carried_blobs": "SELECT digest, size_bytes, chunk_count, complete_ms FROM carried_blobs",
    "blob_chunks": "SELECT * FROM blob_chunks",
    "stored_blobs": "SELECT * FROM stored_blobs",
    "rejections": "SELECT * FROM rejections",
    "identities": "SELECT source, id, digest FROM identities JOIN sources USING (source_no)",
}
"""What counts as the state, without the numbers that are local to one file."""


def state_digest(db: sqlite3.Connection, tables: dict[str, str] | None = None) -> str:
    """SHA-256, in hex, over all rows of all tables."""
    digest = hashlib.sha256()
    for name, query in (tables or STATE_TABLES).items():
        digest.update(name.encode())
        digest.update(rows_digest(db.execute(query)))
    return digest.hexdigest()


def rows_digest(rows: Any) -> bytes:
    """SHA-256 over rows, in whatever order they come: each is hashed, the hashes are sorted."""
    hashes = sorted(
        hashlib.sha256(_encode(row).encode("utf-8", "surrogatepass")).digest() for row in rows
    )
    return hashlib.sha256(b"".join(hashes)).digest()


def _text(value: Any) -> str:
    return f"bytes:{value.hex()}" if isinstance(value, bytes) else repr(value)


_encode = json.JSONEncoder(default=_text, ensure_ascii=False).encode
