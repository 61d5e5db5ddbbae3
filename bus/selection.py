"""Which records of a log a reader asks for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Records of these types, about these subjects; a choice left empty restricts nothing.

    ``below`` names subjects by what they stand under: ``models:/m`` for ``models:/m/1`` and
    ``models:/m/2``, but neither for itself nor for ``models:/m2``.
    """

    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    below: tuple[str, ...] = ()

    def sql(self) -> tuple[str, tuple[str, ...]]:
        """A further condition on the embedded log's rows, and the values bound in it."""
        conditions, values = [], [*self.types]
        if self.types:
            conditions.append(f"type IN ({_marks(self.types)})")
        about = []
        if self.subjects:
            about.append(f"subject IN ({_marks(self.subjects)})")
            values += self.subjects
        for parent in self.below:
            about.append("(subject > ? AND subject < ?)")
            values += (f"{parent}/", f"{parent}0")  # 0 is the character that follows the slash
        if about:
            conditions.append(f"({' OR '.join(about)})")
        return "".join(f" AND {condition}" for condition in conditions), tuple(values)


def _marks(values: tuple[str, ...]) -> str:
    return ", ".join("?" * len(values))
