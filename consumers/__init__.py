"""What follows from what is said: the fold, the state, analytics, blobs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .blobs import Blobs, digest_of
from .collection import Collection, collect, plan_collection
from .committer import Decide
from .digest import STATE_TABLES, rows_digest, state_digest
from .fold import FOLD_VERSION, Fold, Verdict
from .known import ExperimentFacts, Foreseen, Known, ModelFacts
from .ledger import Ledger
from .onlooking import looked_at
from .opening import check_uri, open_ledger
from .remote import RemoteState, RemoteView
from .state_file import StateDamaged, StateFailures, StateFiles, connect, create

if TYPE_CHECKING:
    from .analytics import Analytics, AnalyticsDamaged, View, is_damage
    from .snapshots import Snapshot, Snapshots
    from .thin_ledger import RemoteAnalytics, ThinLedger

__all__ = [
    "FOLD_VERSION",
    "STATE_TABLES",
    "Analytics",
    "AnalyticsDamaged",
    "Blobs",
    "Collection",
    "Decide",
    "ExperimentFacts",
    "Fold",
    "Foreseen",
    "Known",
    "Ledger",
    "ModelFacts",
    "RemoteAnalytics",
    "RemoteState",
    "RemoteView",
    "Snapshot",
    "Snapshots",
    "StateDamaged",
    "StateFailures",
    "StateFiles",
    "ThinLedger",
    "Verdict",
    "View",
    "check_uri",
    "collect",
    "connect",
    "create",
    "digest_of",
    "is_damage",
    "looked_at",
    "open_ledger",
    "plan_collection",
    "rows_digest",
    "state_digest",
]

_LAZY = {
    "Analytics": "analytics",
    "AnalyticsDamaged": "analytics",
    "RemoteAnalytics": "thin_ledger",
    "Snapshot": "snapshots",
    "Snapshots": "snapshots",
    "ThinLedger": "thin_ledger",
    "View": "analytics",
    "is_damage": "analytics",
}


def __getattr__(name: str) -> Any:
    """Import what needs DuckDB, or Kafka, only when it is asked for."""
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
