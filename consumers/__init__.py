"""What follows from what is said: the fold, the state, analytics, blobs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .archive import Archive, ArchivedLedger, archived_ledgers
from .blob_place import check_shared, place_of
from .blobs import Blobs, digest_of
from .capture import Capture, RowChange
from .carried import Backlog, Carried, carried
from .carrier import Carrier
from .checkpoint import Checkpoint, leaf_data, origin_of, unchecked
from .checkpointing import Checkpointing
from .chunks import CHUNK_BYTES
from .collection import CLAIM_CHECKS, Collection, collect, plan_collection
from .committer import Decide
from .delivery import Delivered, Delivery
from .digest import STATE_TABLES, rows_digest, state_digest
from .fold import FOLD_VERSION, Fold, Verdict
from .keyed_state import Progress, check_stands, next_offset, transaction
from .known import ExperimentFacts, Foreseen, Known, ModelFacts
from .lag import Lag, lag_of
from .ledger import Ledger
from .merkle import (
    ProofError,
    check_consistency,
    consistency_path,
    hashes_in,
    inclusion_path,
    leaf_hash,
    leaf_hashes,
    nodes_of,
    root_from_path,
    subtree_hash,
)
from .note import NoteInvalid, PublicKey, SigningKey, read_public_keys, read_signing_key
from .onlooking import looked_at
from .opening import begin_ledger, check_uri, open_ledger
from .remote import RemoteState, RemoteView
from .rules.trace_details import ASSESSMENT_COLUMNS, ask_trace_details, assessment_details
from .rules.workspaces import name_conflicts
from .scoped import scoped
from .sealing import Sealed, Sealing, archive_of, check_archive, seal
from .segment import Segment
from .service import Duty, Service, Status
from .state_file import StateDamaged, StateFailures, StateFiles, connect, create
from .storing import Storing
from .telling import Telling
from .tiles import WIDTH, Edge, Tile, nodes_in
from .tree_store import TreeStore
from .trees import TreeBroken, Trees, newest_notes, public_keys, signing_key, stretches

if TYPE_CHECKING:
    from .analytics import Analytics, AnalyticsDamaged, View, is_damage
    from .as_of_ledger import AsOfLedger
    from .backups import Backup, BackupPoint, backup, backup_points
    from .bundle import Bundle
    from .bundles import Bundles
    from .kafka_ledger import KafkaLedger
    from .past_states import drop_cached_states, fold_into
    from .publishing import Publishing
    from .redaction import by_keys, finish_redaction, redact
    from .redaction_plan import (
        Redacted,
        RedactionPlan,
        ReplicaReport,
        check_can_forget,
        plan_redaction,
    )
    from .redaction_scope import Scope
    from .replica import Replica, find_replica
    from .restore import Cut, Restored, Source, restore_to_folder, source_at
    from .restore_topics import restore_to_topics
    from .schema_publishing import SchemaPublishing
    from .snapshots import Snapshot, Snapshots
    from .thin_ledger import RemoteAnalytics, ThinLedger

__all__ = [
    "ASSESSMENT_COLUMNS",
    "CHUNK_BYTES",
    "CLAIM_CHECKS",
    "FOLD_VERSION",
    "STATE_TABLES",
    "WIDTH",
    "Analytics",
    "AnalyticsDamaged",
    "Archive",
    "ArchivedLedger",
    "AsOfLedger",
    "Backlog",
    "Backup",
    "BackupPoint",
    "Blobs",
    "Bundle",
    "Bundles",
    "Capture",
    "Carried",
    "Carrier",
    "Checkpoint",
    "Checkpointing",
    "Collection",
    "Cut",
    "Decide",
    "Delivered",
    "Delivery",
    "Duty",
    "Edge",
    "ExperimentFacts",
    "Fold",
    "Foreseen",
    "KafkaLedger",
    "Known",
    "Lag",
    "Ledger",
    "ModelFacts",
    "NoteInvalid",
    "Progress",
    "ProofError",
    "PublicKey",
    "Publishing",
    "Redacted",
    "RedactionPlan",
    "RemoteAnalytics",
    "RemoteState",
    "RemoteView",
    "Replica",
    "ReplicaReport",
    "Restored",
    "RowChange",
    "SchemaPublishing",
    "Scope",
    "Sealed",
    "Sealing",
    "Segment",
    "Service",
    "SigningKey",
    "Snapshot",
    "Snapshots",
    "Source",
    "StateDamaged",
    "StateFailures",
    "StateFiles",
    "Status",
    "Storing",
    "Telling",
    "ThinLedger",
    "Tile",
    "TreeBroken",
    "TreeStore",
    "Trees",
    "Verdict",
    "View",
    "archive_of",
    "archived_ledgers",
    "ask_trace_details",
    "assessment_details",
    "backup",
    "backup_points",
    "begin_ledger",
    "by_keys",
    "carried",
    "check_archive",
    "check_can_forget",
    "check_consistency",
    "check_shared",
    "check_stands",
    "check_uri",
    "collect",
    "connect",
    "consistency_path",
    "create",
    "digest_of",
    "drop_cached_states",
    "find_replica",
    "finish_redaction",
    "fold_into",
    "hashes_in",
    "inclusion_path",
    "is_damage",
    "lag_of",
    "leaf_data",
    "leaf_hash",
    "leaf_hashes",
    "looked_at",
    "name_conflicts",
    "newest_notes",
    "next_offset",
    "nodes_in",
    "nodes_of",
    "open_ledger",
    "origin_of",
    "place_of",
    "plan_collection",
    "plan_redaction",
    "public_keys",
    "read_public_keys",
    "read_signing_key",
    "redact",
    "restore_to_folder",
    "restore_to_topics",
    "root_from_path",
    "rows_digest",
    "scoped",
    "seal",
    "signing_key",
    "source_at",
    "state_digest",
    "stretches",
    "subtree_hash",
    "transaction",
    "unchecked",
]

_LAZY = {
    "Analytics": "analytics",
    "AnalyticsDamaged": "analytics",
    "Backup": "backups",
    "BackupPoint": "backups",
    "backup": "backups",
    "backup_points": "backups",
    "Cut": "restore",
    "Redacted": "redaction_plan",
    "RedactionPlan": "redaction_plan",
    "ReplicaReport": "redaction_plan",
    "by_keys": "redaction",
    "Scope": "redaction_scope",
    "check_can_forget": "redaction_plan",
    "finish_redaction": "redaction",
    "plan_redaction": "redaction_plan",
    "redact": "redaction",
    "Restored": "restore",
    "Source": "restore",
    "restore_to_folder": "restore",
    "restore_to_topics": "restore_topics",
    "source_at": "restore",
    "AsOfLedger": "as_of_ledger",
    "KafkaLedger": "kafka_ledger",
    "Replica": "replica",
    "Bundle": "bundle",
    "Bundles": "bundles",
    "Publishing": "publishing",
    "RemoteAnalytics": "thin_ledger",
    "SchemaPublishing": "schema_publishing",
    "Snapshot": "snapshots",
    "Snapshots": "snapshots",
    "ThinLedger": "thin_ledger",
    "View": "analytics",
    "drop_cached_states": "past_states",
    "find_replica": "replica",
    "fold_into": "past_states",
    "is_damage": "analytics",
}


def __getattr__(name: str) -> Any:
    """Import what needs DuckDB, or Kafka, only when it is asked for."""
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
