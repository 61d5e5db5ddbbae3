"""Collecting blobs that nothing names: condemned first, removed after a grace."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from mlflow_ledger.bus import reach
from mlflow_ledger.schemas import BlobCollected, BlobCondemned, Event, Reason, Refused

from .ledger import Ledger

__all__ = [
    "CLAIM_CHECKS",
    "Collection",
    "collect",
    "collect_blob",
    "named_blobs",
    "plan_collection",
]


_COLUMNS = (
    "datasets.source",
    "datasets.dataset_schema",
    "datasets.profile",
    "registered_models.description",
    "model_versions.description",
    "spans.text",
    "assessments.error",
    "assessments.rationale",
)
CLAIM_CHECKS = {
    column: f"SELECT {column} FROM {column.partition('.')[0]} WHERE typeof({column}) = 'blob'"
    for column in _COLUMNS
} | {
    "items.fields": "SELECT value FROM items, json_tree(items.fields) "
    "WHERE items.fields LIKE '%\"size_bytes\":%' AND json_tree.type = 'object' "
    "AND json_type(value, '$.digest') = 'text' AND json_type(value, '$.size_bytes') = 'integer'"
}
"""Queries for claim checks, by where they stand: as a blob, or at any depth of a document."""


@dataclass(frozen=True)
class Collection:
    """What there is to do: blobs as (digest, size in bytes).

    ``condemn`` are those that nothing names any more, ``wait`` those whose grace is not over,
    ``remove`` those whose grace is; without a grace what is condemned is removed at once.
    """

    condemn: list[tuple[str, int]]
    wait: list[tuple[str, int]]
    remove: list[tuple[str, int]]
    grace_ms: int


def plan_collection(ledger: Ledger, now_ms: int, grace_ms: int) -> Collection:
    """Look which blobs of a ledger nothing names, and since when they are condemned."""
    stored = dict(ledger.blobs.all())
    named, condemned = ledger.query(lambda db: (_named(db), _condemned(db)))
    condemn, wait, remove = [], [], []
    # What is condemned and not stored was removed by a process that died before it could say so.
    for digest, size_bytes in sorted((dict.fromkeys(condemned, 0) | stored).items()):
        if digest in named:
            continue
        since_ms = condemned.get(digest)
        if since_ms is None:
            condemn.append((digest, size_bytes))
        elif since_ms + grace_ms > now_ms:
            wait.append((digest, size_bytes))
        else:
            remove.append((digest, size_bytes))
    return Collection(condemn, wait, remove, grace_ms)


def collect(ledger: Ledger, plan: Collection) -> Collection:
    """Do what a plan says; returns what was done.

    A blob that a manifest has named since the plan was made is left alone: that is decided under
    the lock under which manifests are written.
    """
    condemned = [blob for blob in plan.condemn if _condemn(ledger, blob[0])]
    reach("collect.condemned")
    due = plan.remove if plan.grace_ms else [*plan.remove, *condemned]
    removed = [blob for blob in due if _remove(ledger, blob[0])]
    return Collection(condemned, plan.wait, removed, plan.grace_ms)


def _condemn(ledger: Ledger, digest: str) -> bool:
    def decide(db: sqlite3.Connection) -> list[Event]:
        return [] if digest in _named(db, digest) else [BlobCondemned(digest=digest)]

    return bool(ledger.write(decide))


def _remove(ledger: Ledger, digest: str) -> bool:
    def decide(db: sqlite3.Connection) -> list[Event]:
        if digest not in _condemned(db) or digest in _named(db, digest):
            raise Refused(Reason.STATE, f"Blob {digest} is no longer condemned")
        if not ledger.shared:
            ledger.blobs.delete(digest)
            reach("collect.removed")
        return [BlobCollected(digest=digest)]

    try:
        done = bool(ledger.write(decide))
    except Refused:
        return False
    # Among several hosts no lock holds off a manifest: whether one came first, the log decides.
    if done and ledger.shared:
        ledger.blobs.delete(digest)
    return done


def _named(db: sqlite3.Connection, digest: str | None = None) -> set[str]:
    """Digests that manifests name, or claim checks; all, or the one asked for if it is."""
    named = {
        row[0]
        for row in db.execute(
            "SELECT DISTINCT digest FROM artifacts WHERE NOT deleted AND (? IS NULL OR digest = ?)",
            (digest, digest),
        )
    }
    for query in CLAIM_CHECKS.values():
        named.update(json.loads(claim)["digest"] for (claim,) in db.execute(query))
    return named


def collect_blob(ledger: Ledger, digest: str) -> bool:
    """Condemn and remove one blob at once; false where something names it.

    One that is removed already, or is in the middle of it, is removed all the same.
    """
    if ledger.query(lambda db: digest in _named(db, digest)):
        return False
    if (
        not ledger.erasable  # else its chunks may be in the log
        and ledger.blobs.size_bytes(digest) is None
        and not ledger.query(lambda db: digest in _condemned(db))
    ):
        return True
    _condemn(ledger, digest)
    return _remove(ledger, digest)


def named_blobs(db: sqlite3.Connection) -> dict[str, int]:
    """Digest and size in bytes of each blob that a manifest names, or a claim check."""
    named = dict(db.execute("SELECT digest, size_bytes FROM artifacts WHERE NOT deleted"))
    for query in CLAIM_CHECKS.values():
        for (claim,) in db.execute(query):
            check = json.loads(claim)
            named[check["digest"]] = check["size_bytes"]
    return named


def _condemned(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT digest, condemned_ms FROM blobs WHERE collected_ms IS NULL"))
