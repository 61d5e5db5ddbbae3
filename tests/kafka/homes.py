"""Hosts of a ledger in Kafka, each with a replica of its own, as tests need them."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import uuid
from collections.abc import Sequence
from pathlib import Path

from mlflow_ledger.bus import KafkaLog, Outgoing, kafka_place
from mlflow_ledger.consumers import Telling
from mlflow_ledger.consumers.kafka_ledger import KafkaLedger
from tests.consumers.histories import History

from .hosts import KAFKA, host
from .servers import servers

COMMAND = str(Path(sysconfig.get_path("scripts")) / "mlflow-ledger")


def new_uri(where: str | None = None) -> str:
    """The URI of a ledger that nobody has used."""
    return f"ledger+kafka://{where or servers()}/t-{uuid.uuid4().hex}"


def at(
    uri: str, home: Path, blobs: Path | None = None, telling: Telling | None = None
) -> KafkaLedger:
    """The ledger of a URI as a host sees it, delivered as by default."""
    return host(kafka_place(uri), home, delivery=None, blobs=blobs, telling=telling)


def say(uri: str, records: Sequence[Outgoing]) -> None:
    """Publish records, as some writers do."""
    log = KafkaLog(kafka_place(uri), KAFKA)
    log.append(records)
    log.close()


def history(seed: int, count: int) -> list[Outgoing]:
    """A random history, for topics of 4 partitions."""
    return History(seed).records(count)


def come_up(uri: str, home: str, blobs: str = "") -> None:
    """For a process of its own: begin a replica, or go on with it, and catch up."""
    ledger = at(uri, Path(home), Path(blobs) if blobs else None)
    ledger.catch_up()
    ledger.close()


def consume(uri: str, home: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start the service as a process."""
    return subprocess.Popen(
        [COMMAND, "consume", uri, *options],
        env=os.environ | {"MLFLOW_LEDGER_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
