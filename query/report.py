"""What a verification has found: what was checked, and where it does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Finding", "Report", "TreeReport", "shown"]

_PARTS = ("log", "trees", "state", "analytics", "artifacts")
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """A place where something does not hold; ``part`` is one of those of a report."""

    part: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class TreeReport:
    """A tree: how many events the log has of it, how many of them the newest checkpoint signs.

    ``signed_by`` is the key that did; None where no key was given to check by. Of ``checkpoints``
    ``refused`` says how many more there are that do not count. Where the store could not be read
    (not ``readable``), nobody knows of any.
    """

    origin: str
    events: int
    signed: int
    checkpoints: int
    time: str
    signed_by: str | None
    refused: int = 0
    readable: bool = True


@dataclass
class Report:
    """What was checked, and where it does not hold.

    ``unreadable`` counts the events that cannot be read; where there are any, the state is not
    compared. ``state`` is the live state's file, None where there is none yet; ``tables`` counts
    the rows of the replayed one. Analytics are only looked at where everything else holds.
    """

    ledger_id: str
    position: str = ""
    events: int = 0
    unreadable: int = 0
    sources: int = 0
    state: str | None = None
    state_digest: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    analytics: bool | None = None
    artifacts: int = 0
    artifact_bytes: int = 0
    trees: list[TreeReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def signed(self) -> bool:
        """Whether there was a checkpoint to compare the log with."""
        return any(tree.checkpoints for tree in self.trees)

    def found(self, part: str, place: str, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(part, shown(place), shown(message)))

    def sort(self) -> None:
        """Put the findings of each part together, as they were found."""
        self.findings.sort(key=lambda finding: _PARTS.index(finding.part))


def shown(text: str) -> str:
    """A text as one line of bounded length: what stands in a damaged file may be anything."""
    kept = text[:_MOST_CHARACTERS]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return kept if len(text) <= _MOST_CHARACTERS else f"{kept}… ({len(text)} characters)"
