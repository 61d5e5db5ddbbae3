"""Random histories: what several writers say of one world, as it reaches the log."""

from __future__ import annotations

import random
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from mlflow_ledger.bus import Actor, Outgoing, Writer
from mlflow_ledger.schemas import Event

from .folding import PARTITIONS, Clock
from .worlds import World


class History:
    """One history, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._clock = Clock()

    def events(self, count: int) -> list[Event]:
        """``count`` events of one world."""
        return World(self._random).events(count)

    def records(self, count: int) -> list[Outgoing]:
        """Records in the order in which they reach the log.

        Said by several writers whose clocks disagree; some are retried, some come late, some are
        redacted, garbled, or bear an identity that was taken.
        """
        writers = [
            Writer(Actor(f"w{n}", "claimed"), Clock(self._clock.now_ms + 50 * n)) for n in range(3)
        ]
        for writer in writers:
            self._renew(writer)
        on_time: list[Outgoing] = []
        late: list[tuple[int, Outgoing]] = []
        for event in self.events(count):
            writer = writers[self._random.randrange(3)]
            if self._random.random() < 0.01:
                self._renew(writer)
            outgoing = self._said(writer, event)
            if self._random.random() < 0.04:
                late.append((len(on_time) + self._random.randrange(1, 20), outgoing))
            else:
                on_time.append(outgoing)
            if on_time and self._random.random() < 0.04:
                on_time.append(self._random.choice(on_time))
        for place, outgoing in late:
            on_time.insert(place, outgoing)
        return on_time

    def _said(self, writer: Writer, event: Event) -> Outgoing:
        """What a writer says, with a nonce that the seed decides."""
        outgoing = writer.stamp(event, PARTITIONS)
        record = outgoing.record
        if record.content is not None:
            nonce = self._random.randbytes(16)
            record = replace(record, content=nonce + record.content[16:])
        return self._mangled(outgoing._replace(record=record))

    def _mangled(self, outgoing: Outgoing) -> Outgoing:
        record = outgoing.record
        luck = self._random.random()
        if luck < 0.02:  # redacted: only the digest of the content is left
            inner = sha256(record.content or b"").digest()
            record = replace(record, content=None, content_digest=inner)
        elif luck < 0.03:  # garbled on its way
            record = replace(record, head=record.head + b"?")
        elif luck < 0.035:  # of a type that only a newer program knows
            record = replace(record, envelope=record.envelope._replace(type="RunTeleported"))
        elif luck < 0.045 and record.envelope.id > 1:  # an identity that was taken
            envelope = record.envelope._replace(id=record.envelope.id - 1)
            record = replace(record, envelope=envelope)
        return outgoing._replace(record=record)

    def _renew(self, writer: Writer) -> None:
        """A new source, whose name the seed decides."""
        writer.renew()
        writer._uuid = str(UUID(bytes=self._random.randbytes(16), version=4))
