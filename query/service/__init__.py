"""The query service: a ledger's state, searches and verdicts over HTTP, for clients without one."""

from .app import build_app
from .leases import Leases
from .reader import Reader
from .running import is_local, serve

__all__ = ["Leases", "Reader", "build_app", "is_local", "serve"]
