"""What follows from what is said: the fold, the state, analytics, blobs."""

from .digest import STATE_TABLES, rows_digest, state_digest
from .fold import FOLD_VERSION, Fold, Verdict
from .ledger import Decide, Ledger, open_ledger
from .state_file import StateDamaged, StateFiles, connect, create, state_failures

__all__ = [
    "Decide",
    "FOLD_VERSION",
    "Fold",
    "Ledger",
    "STATE_TABLES",
    "StateDamaged",
    "StateFiles",
    "Verdict",
    "connect",
    "create",
    "open_ledger",
    "rows_digest",
    "state_digest",
    "state_failures",
]
