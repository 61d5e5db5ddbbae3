"""Ports for the servers that tests start."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

# Below those that systems give to outgoing connections (Linux from 32768 on, others from 49152 on):
# any client might take one of these while a server starts, or is down for a while.
_FIRST, _LAST = 15_000, 32_000
_chance = random.SystemRandom()  # no two workers of one seed try the same


def free_port() -> int:
    """A port of this host on which nobody listens now."""
    while True:
        port = _chance.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
