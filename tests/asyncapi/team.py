"""A ledger on a real broker for the examples to follow, and the examples as processes."""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from mlflow_ledger.bus import (
    KafkaLog,
    KafkaSettings,
    Outgoing,
    Writer,
    kafka_place,
)
from mlflow_ledger.schemas import Event, LedgerCreated
from tests.integration.programs import (
    ENDS_WITHIN_S,
    PYTHON,
    STARTS_WITHIN_S,
    environment,
    wait_until,
)
from tests.kafka.servers import servers

from .loading import CONSUMERS, DOCUMENT_PATH

__all__ = ["Program", "Team", "team"]

LEDGER_ID = "0123456789abcdef"


class Team:
    """A ledger's topics."""

    def __init__(self) -> None:
        self.log = KafkaLog(
            kafka_place(f"ledger+kafka://{servers()}/team-{uuid.uuid4().hex}"),
            KafkaSettings(partitions=2, timeout_s=60),
            LEDGER_ID,
        )
        self.counts = self.log.create().partitions
        self._writer = Writer()

    @property
    def options(self) -> list[str]:
        """What every example is told."""
        place = self.log.place
        return [
            "--servers", ",".join(place.servers), "--ledger", place.name,
            "--document", str(DOCUMENT_PATH),
        ]  # fmt: skip

    def begin(self) -> None:
        """Say which ledger this is."""
        self.say(
            LedgerCreated(
                ledger_id=LEDGER_ID,
                partitions=[],
                rules=1,
                artifact_root=f"ledger-artifacts://{LEDGER_ID}",
            )
        )

    def say(self, *events: Event) -> list[Outgoing]:
        """Append events; gives what was appended."""
        said = [self._writer.stamp(event, self.counts) for event in events]
        self.log.append(said)
        return said


@contextmanager
def team() -> Iterator[Team]:
    """A new ledger."""
    made = Team()
    yield made
    made.log.close()


class Program:
    """An example, running."""

    def __init__(self, folder: Path, name: str, *options: str, **more: str) -> None:
        self._errors = folder / f"{name}-{uuid.uuid4().hex[:6]}.txt"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [PYTHON, str(CONSUMERS / name), *options],
                cwd=folder,
                env=environment(folder, **more),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    def said(self) -> str:
        """What it printed so far."""
        return self._errors.read_text("utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until it says something."""

        def there() -> bool:
            assert self.process.poll() is None or text in self.said(), self.said()
            return text in self.said()

        wait_until(there, STARTS_WITHIN_S, f"it says {text!r}\n{self.said()}")

    def end(self) -> None:
        """Ask it to end, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(ENDS_WITHIN_S) == 0, self.said()
        assert "Traceback" not in self.said()

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.process.kill()
        self.process.wait(ENDS_WITHIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
