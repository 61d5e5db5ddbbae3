"""The rows of the table: figures of all stores, what is to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

__all__ = ["KAFKA", "Bound", "Goal", "Kind", "Row", "Times", "Verdict"]


class Kind(StrEnum):
    """The stores that are compared."""

    LEDGER = "ledger"
    NOW = "ledger, live"
    KAFKA_PYTHON = "ledger, kafka-python"
    LIBRDKAFKA = "ledger, librdkafka"
    SQLITE = "SQLite"
    ANALYZED = "SQLite, ANALYZEd"
    POSTGRES = "PostgreSQL"
    FILES = "file store"


KAFKA = (Kind.KAFKA_PYTHON, Kind.LIBRDKAFKA)
"""A ledger in Kafka, by the client library that speaks to the brokers."""

_OURS = (Kind.LEDGER, *KAFKA)


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

    def ratio(self, row: Row, kind: Kind) -> tuple[float, Kind] | None:
        """How many times as good as the best peer one of ours is, and which that was."""
        ours = row.figures.get(kind)
        theirs = [(row.figures[peer], peer) for peer in self.peers if peer in row.figures]
        if ours is None or not theirs:
            return None
        best, peer = max(theirs) if row.more_is_better else min(theirs)
        if not ours or not best:
            return None
        return (ours / best if row.more_is_better else best / ours), peer

    def verdict(self, row: Row, kind: Kind) -> Verdict:
        """Whether one of ours has reached it."""
        found = self.ratio(row, kind)
        if found is None:
            return Verdict.NOT_MEASURED
        return Verdict.MET if found[0] >= self.factor else Verdict.NOT_MET


@dataclass(frozen=True)
class Bound:
    """From ``least`` to ``most``, whatever the peers do."""

    text: str
    least: float = -inf
    most: float = inf
    peers: tuple[Kind, ...] = ()

    def ratio(self, row: Row, kind: Kind) -> None:
        """None: nothing is divided."""

    def verdict(self, row: Row, kind: Kind) -> Verdict:
        """Whether one of ours lies within."""
        ours = row.figures.get(kind)
        if ours is None:
            return Verdict.NOT_MEASURED
        return Verdict.MET if self.least <= ours <= self.most else Verdict.NOT_MET


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
    over: Sequence[Kind] = field(default=())
    """Who did not answer in time; the figure is that time."""

    @property
    def in_kafka(self) -> bool:
        """Whether the row is about a ledger in Kafka."""
        return self.id.startswith("kafka_")

    @property
    def ours(self) -> list[Kind]:
        """What the goals are about: the ledger, or in Kafka the ledger by each client there is."""
        found = [kind for kind in _OURS if kind in self.figures]
        return found or [Kind.KAFKA_PYTHON if self.in_kafka else Kind.LEDGER]

    @property
    def verdict(self) -> Verdict:
        """The worst of the goals' verdicts, whichever of ours it is about."""
        return _worst([self.verdict_of(kind) for kind in self.ours])

    def verdict_of(self, kind: Kind) -> Verdict:
        """The worst of the goals' verdicts on one of ours."""
        return _worst([goal.verdict(self, kind) for goal in self.goals])

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
        return [ratio for kind in self.ours for ratio in self.ratios_of(kind)]

    def ratios_of(self, kind: Kind) -> list[tuple[float, Kind]]:
        """The ratios of one of ours."""
        found = [ratio for goal in self.goals if (ratio := goal.ratio(self, kind)) is not None]
        if found or self.unit != "ms":
            return found
        best = Times(1, (Kind.SQLITE, Kind.ANALYZED, Kind.POSTGRES), "").ratio(self, kind)
        return [best] if best is not None else []


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    for worst in (Verdict.NOT_MET, Verdict.NOT_MEASURED, Verdict.MET):
        if worst in verdicts:
            return worst
    return Verdict.SHOWN
