"""What follows from what is said: the fold, the state, analytics, blobs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .blob_place import check_shared
from .blobs import Blobs, digest_of
from .carried import Backlog, Carried, carried
from .carrier import Carrier
from .chunks import CHUNK_BYTES
from .collection import CLAIM_CHECKS, Collection, collect, plan_collection
from .committer import Decide
from .delivery import Delivered, Delivery
from .digest import STATE_TABLES, rows_digest, state_digest
from .fold import FOLD_VERSION, Fold, Verdict
from .known import ExperimentFacts, Foreseen, Known, ModelFacts
from .lag import Lag, lag_of
from .ledger import Ledger
from .onlooking import looked_at
from .opening import check_uri, open_ledger
from .remote import RemoteState, RemoteView
from .rules.workspaces import name_conflicts
from .scoped import scoped, workspace_of
from .service import Duty, Service, Status
from .state_file import StateDamaged, StateFailures, StateFiles, connect, create
from .storing import Storing
from .telling import Telling

if TYPE_CHECKING:
    from .analytics import Analytics, AnalyticsDamaged, View, is_damage
    from .bundle import Bundle
    from .bundles import Bundles
    from .kafka_ledger import KafkaLedger
    from .publishing import Publishing
    from .replica import Replica, find_replica
    from .schema_publishing import SchemaPublishing
    from .snapshots import Snapshot, Snapshots
    from .thin_ledger import RemoteAnalytics, ThinLedger

__all__ = [
    "CHUNK_BYTES",
    "CLAIM_CHECKS",
    "FOLD_VERSION",
    "STATE_TABLES",
    "Analytics",
    "AnalyticsDamaged",
    "Backlog",
    "Blobs",
    "Bundle",
    "Bundles",
    "Carried",
    "Carrier",
    "Collection",
    "Decide",
    "Delivered",
    "Delivery",
    "Duty",
    "ExperimentFacts",
    "Fold",
    "Foreseen",
    "KafkaLedger",
    "Known",
    "Lag",
    "Ledger",
    "ModelFacts",
    "Publishing",
    "RemoteAnalytics",
    "RemoteState",
    "RemoteView",
    "Replica",
    "SchemaPublishing",
    "Service",
    "Snapshot",
    "Snapshots",
    "StateDamaged",
    "StateFailures",
    "StateFiles",
    "Status",
    "Storing",
    "Telling",
    "ThinLedger",
    "Verdict",
    "View",
    "carried",
    "check_shared",
    "check_uri",
    "collect",
    "connect",
    "create",
    "digest_of",
    "find_replica",
    "is_damage",
    "lag_of",
    "looked_at",
    "name_conflicts",
    "open_ledger",
    "plan_collection",
    "rows_digest",
    "scoped",
    "state_digest",
    "workspace_of",
]

_LAZY = {
    "Analytics": "analytics",
    "AnalyticsDamaged": "analytics",
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
    "find_replica": "replica",
    "is_damage": "analytics",
}


def __getattr__(name: str) -> Any:
    """Import what needs DuckDB, or Kafka, only when it is asked for."""
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
