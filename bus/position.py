"""Where a reader stands: the next offset of each partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlflow_ledger.schemas import SettingsError

__all__ = ["EMBEDDED", "Partition", "Position", "position_text", "record_at"]

Partition = tuple[str, int]
"""A topic's name, without the ledger's, and the partition's number."""

EMBEDDED: Partition = ("", 0)
"""The one sequence of an embedded log, in which all its topics stand."""

_MAX_DIGITS = 18
_LETTERS = {"c": "catalog", "r": "runs", "t": "traces", "a": "artifacts"}


@dataclass(frozen=True, slots=True)
class Position:
    """A vector {(topic, partition): next offset}; what is absent stands at its beginning.

    In text ``v1~<ledger id>~c120~r5.7.0.3~t0~a9``, topics by their first letter and partitions in
    order; embedded ``v1~<ledger id>~120``.
    """

    ledger_id: str
    offsets: Mapping[Partition, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Leave out what stands at its beginning, so that equal positions compare equal."""
        kept = {partition: offset for partition, offset in self.offsets.items() if offset}
        object.__setattr__(self, "offsets", kept)

    def offset(self, partition: Partition) -> int:
        """The next offset of one partition."""
        return self.offsets.get(partition, 0)

    def advanced(self, partition: Partition, offset: int) -> Position:
        """The position after the event at ``offset`` was read."""
        return Position(self.ledger_id, {**self.offsets, partition: offset + 1})

    def covers(self, other: Position) -> bool:
        """Whether a reader here has read everything that one at ``other`` has."""
        return self.ledger_id == other.ledger_id and all(
            self.offset(partition) >= offset for partition, offset in other.offsets.items()
        )

    def distance(self, end: Position) -> int:
        """How many offsets lie between here and ``end``: at least as many as there are events."""
        return sum(max(0, n - self.offset(partition)) for partition, n in end.offsets.items())

    def __str__(self) -> str:
        """The text form."""
        if set(self.offsets) <= {EMBEDDED}:
            return f"v1~{self.ledger_id}~{self.offset(EMBEDDED)}"
        parts = [
            letter + ".".join(str(n) for n in _dense(self.offsets, topic))
            for letter, topic in _LETTERS.items()
            if any(t == topic for t, _ in self.offsets)
        ]
        return "~".join(["v1", self.ledger_id, *parts])

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read the text form.

        Raises:
            SettingsError: the text is no position.
        """
        try:
            version, ledger_id, *parts = text.split("~")
            _check(version == "v1" and bool(ledger_id and parts))
            if parts[0][:1] not in _LETTERS:
                (only,) = parts
                return cls(ledger_id, {EMBEDDED: _number(only)})
            _check(len({part[:1] for part in parts}) == len(parts))
            return cls(ledger_id, dict(_offsets(parts)))
        except (KeyError, ValueError) as error:
            msg = f"{text!r} is no position; one looks like v1~<ledger id>~120"
            raise SettingsError(msg) from error


def position_text(ledger_id: str, partition: Partition, offset: int) -> str:
    """A position that names one record, in text; the first of a partition has one too."""
    topic, number = partition
    letter = {known: letter for letter, known in _LETTERS.items()}[topic]
    return f"v1~{ledger_id}~{letter}{'0.' * number}{offset}"


def record_at(text: str) -> tuple[Partition, int] | None:
    """The partition and offset that :func:`position_text` has named; None of any other position."""
    Position.parse(text)
    parts = text.split("~")[2:]
    if len(parts) != 1 or parts[0][:1] not in _LETTERS:
        return None
    *before, offset = (int(number) for number in parts[0][1:].split("."))
    return None if any(before) else ((_LETTERS[parts[0][:1]], len(before)), offset)


def _dense(offsets: Mapping[Partition, int], topic: str) -> list[int]:
    count = 1 + max(number for t, number in offsets if t == topic)
    return [offsets.get((topic, number), 0) for number in range(count)]


def _offsets(parts: Iterable[str]) -> Iterable[tuple[Partition, int]]:
    for part in parts:
        for number, offset in enumerate(part[1:].split(".")):
            yield (_LETTERS[part[:1]], number), _number(offset)


def _number(text: str) -> int:
    _check(text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS)
    return int(text)


def _check(well_formed: bool) -> None:
    if not well_formed:
        raise ValueError
