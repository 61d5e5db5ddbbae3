"""How whoever works long tells how far it is; how that is shown, others decide."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Telling"]


class Telling(Protocol):
    """Is told of work that takes long enough to be worth telling."""

    def __call__(self, what: str, done: int, of: int) -> None:
        """So much is done, of so much."""

    def stop(self) -> None:
        """It is over, whether it came to its end or not."""
