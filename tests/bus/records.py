"""Records for tests of logs: small, each with an identity of its own choosing."""

from __future__ import annotations

from mlflow_ledger.bus import Outgoing, Partition, Writer
from mlflow_ledger.schemas import Event, Record, RunDeleted, RunTagDeleted, encode
from tests.schemas.samples import ENVELOPE, NONCE

SOURCE = "6f0c9f3e-0000-4000-8000-0000000000aa/runs/0"
RUNS: Partition = ("runs", 0)
CATALOG: Partition = ("catalog", 0)

LONG = RunTagDeleted(run_id="r", tag="t" * 1_200_000)
"""An event that a broker as it comes does not take."""


def outgoing(
    number: int,
    source: str = SOURCE,
    event: Event | None = None,
    partition: Partition = RUNS,
) -> Outgoing:
    """A record with identity (source, number); it deletes the tag of that number by default."""
    said = event or RunTagDeleted(run_id="r", tag=f"t{number}")
    encoded = encode(said, NONCE)
    envelope = ENVELOPE._replace(
        source=source, id=number, type=type(said).__name__, subject=said.subject
    )
    return Outgoing(partition, Record(envelope, encoded.head, encoded.content))


def many(count: int, source: str = SOURCE, first: int = 1) -> list[Outgoing]:
    """Records with the identities from ``first`` on."""
    return [outgoing(number, source) for number in range(first, first + count)]


def stamped(writer: Writer, count: int) -> list[Outgoing]:
    """Records as a writer says them, to partition 0 of runs."""
    return [
        writer.stamp(RunDeleted(run_id=f"r{n}"), {"runs": 1, "catalog": 1}) for n in range(count)
    ]
