"""The rows of the table: figures of all stores, what is to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Bound", "Goal", "Kind", "Row", "Times", "Verdict"]


class Kind(StrEnum):
    """The stores that are compared."""

    LEDGER = "ledger"
    SQLITE = "SQLite"
    ANALYZED = "SQLite, ANALYZEd"
    POSTGRES = "PostgreSQL"
    FILES = "file store"


class Verdict(StrEnum):
    """What came of a goal."""

    MET = "MET"
    NOT_MET = "NOT MET"
    NOT_MEASURED = "NOT MEASURED"
    SHOWN = "-"


@dataclass(frozen=True)
class Times:
    """At least ``factor`` times as good as the best of ``peers``."""

    factor: float
    peers: tuple[Kind, ...]
    text: str

    def ratio(self, row: Row) -> tuple[float, Kind] | None:
        """How many times as good as the best peer, and which that was."""
        ours = row.figures.get(Kind.LEDGER)
        theirs = [(row.figures[peer], peer) for peer in self.peers if peer in row.figures]
        if ours is None or not theirs:
            return None
        best, peer = max(theirs) if row.more_is_better else min(theirs)
        if not ours or not best:
            return None
        return (ours / best if row.more_is_better else best / ours), peer

    def verdict(self, row: Row) -> Verdict:
        """Whether it was reached."""
        found = self.ratio(row)
        if found is None:
            return Verdict.NOT_MEASURED
        return Verdict.MET if found[0] >= self.factor else Verdict.NOT_MET


@dataclass(frozen=True)
class Bound:
    """At most ``most``, whatever the peers do."""

    most: float
    text: str
    peers: tuple[Kind, ...] = ()

    def ratio(self, row: Row) -> None:
        """None: nothing is divided."""

    def verdict(self, row: Row) -> Verdict:
        """Whether it was reached."""
        ours = row.figures.get(Kind.LEDGER)
        if ours is None:
            return Verdict.NOT_MEASURED
        return Verdict.MET if ours <= self.most else Verdict.NOT_MET


Goal = Times | Bound


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    id: str
    work: str
    unit: str
    meaning: str
    figures: Mapping[Kind, float]
    goals: Sequence[Goal] = field(default=())
    more_is_better: bool = False
    notes: Sequence[str] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """The worst of the goals' verdicts."""
        verdicts = [goal.verdict(self) for goal in self.goals]
        for worst in (Verdict.NOT_MET, Verdict.NOT_MEASURED, Verdict.MET):
            if worst in verdicts:
                return worst
        return Verdict.SHOWN

    @property
    def missing(self) -> list[Kind]:
        """The peers that a goal names and that were not there."""
        named = {peer for goal in self.goals for peer in goal.peers}
        return [kind for kind in Kind if kind in named and kind not in self.figures]

    @property
    def target(self) -> str:
        """All goals in words."""
        return "; ".join(goal.text for goal in self.goals) or "-"

    @property
    def ratios(self) -> list[tuple[float, Kind]]:
        """Ours to the peer of each goal; to the best SQL store where no goal names a peer."""
        found = [ratio for goal in self.goals if (ratio := goal.ratio(self)) is not None]
        if found or self.unit != "ms":
            return found
        best = Times(1, (Kind.SQLITE, Kind.ANALYZED, Kind.POSTGRES), "").ratio(self)
        return [best] if best is not None else []
