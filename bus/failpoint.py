"""Numbered steps at which a test can have this process killed.

``MLFLOW_LEDGER_FAILPOINT=<name>`` kills the process with SIGKILL when it reaches that step,
``<name>:<n>`` when it reaches it for the n-th time. It is read once, when the process starts.
"""

from __future__ import annotations

import os
import signal

__all__ = ["FAILPOINTS", "reach"]

FAILPOINTS = (
    "append.begun",
    "append.written",
    "append.committed",
    "fold.begun",
    "fold.written",
    "fold.committed",
    "catchup.begun",
    "catchup.folded",
    "generation.built",
    "generation.named",
    "snapshot.copied",
    "snapshot.named",
    "bundle.uploaded",
    "cold.fetched",
    "cold.placed",
    "mirror.moved",
    "mirror.written",
    "mirror.taken",
    "archive.written",
    "archive.rewritten",
    "past.taken",
    "backup.sealed",
    "backup.copied",
    "restore.keyed",
    "restore.published",
    "restore.written",
    "restore.checked",
    "restore.placed",
    "redact.marked",
    "redact.said",
    "redact.blanked",
    "redact.rebuilt",
    "redact.collected",
    "erase.folded",
    "erase.removed",
    "erase.forgotten",
    "collect.condemned",
    "collect.removed",
    "spool.written",
    "spool.committed",
    "forward.sent",
    "forward.forgotten",
    "carry.written",
    "carry.sent",
    "deliver.written",
)
"""All steps, in the order in which a process passes them."""

_WANTED = os.environ.get("MLFLOW_LEDGER_FAILPOINT")
_seen: dict[str, int] = {}


def reach(name: str) -> None:
    """Pass a step; die there if a test asked for it."""
    if _WANTED is None:
        return
    step, _, count = _WANTED.partition(":")
    if step == name:
        _seen[name] = _seen.get(name, 0) + 1
        if _seen[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
