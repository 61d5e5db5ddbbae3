"""A proof as a document: events that stood in a log, and who vouches for that. Nothing is read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_ledger.schemas import LedgerError

__all__ = ["FORMAT", "Proof", "ProofUnreadable", "ProvedEvent"]

FORMAT = "mlflow-ledger-proof/1"


class ProofUnreadable(LedgerError, ValueError):
    """A document that is no proof of this form."""


@dataclass(frozen=True, slots=True)
class ProvedEvent:
    """An event, and the path from its leaf to a signed root.

    ``role`` says what it is there for. ``header`` is the canonical JSON that its digest covers,
    ``content`` the content behind its nonce, None where it was left out, redacted or never there.
    ``leaf`` is its number in its partition, from 0; ``tree`` names the partition's tree.
    """

    role: str
    header: str
    head: bytes
    content: bytes | None
    content_digest: bytes
    append_ms: int
    position: str
    tree: str
    leaf: int
    path: tuple[bytes, ...]

    @property
    def attributes(self) -> dict[str, str]:
        """The header as it reads."""
        said: dict[str, str] = json.loads(self.header)
        return said

    def digest(self) -> bytes:
        """The event's digest, as its record has it."""
        header = self.header.encode("utf-8", "surrogatepass")
        framed = (
            len(header).to_bytes(4, "big"), header, len(self.head).to_bytes(4, "big"), self.head,
            self.content_digest,
        )  # fmt: skip
        return hashlib.sha256(b"".join(framed)).digest()

    def as_json(self) -> dict[str, Any]:
        """What stands in the document: bytes in base64, digests in hex."""
        return {
            "role": self.role,
            "header": self.header,
            "head": _base64(self.head),
            "content": None if self.content is None else _base64(self.content),
            "content_digest": self.content_digest.hex(),
            "append_ms": self.append_ms,
            "position": self.position,
            "tree": self.tree,
            "leaf": self.leaf,
            "path": [_base64(other) for other in self.path],
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """Events that establish an answer about ``entity``, and the signed checkpoint of each tree."""

    entity: str
    ledger_id: str
    events: tuple[ProvedEvent, ...]
    checkpoints: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "format": FORMAT,
            "entity": self.entity,
            "ledger": self.ledger_id,
            "events": [event.as_json() for event in self.events],
            "checkpoints": dict(self.checkpoints),
        }

    @classmethod
    def parse(cls, text: str | bytes) -> Proof:
        """Read a document.

        Raises:
            ProofUnreadable: it is none.
        """
        try:
            said = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            msg = f"it is not JSON in UTF-8 ({error})"
            raise ProofUnreadable(msg) from error
        if not isinstance(said, dict) or "format" not in said:
            msg = f"it has no field 'format', which would say {FORMAT!r}"
            raise ProofUnreadable(msg)
        try:
            if said["format"] != FORMAT:
                msg = f"its format is {said['format']!r}, and this program reads {FORMAT}"
                raise ProofUnreadable(msg)
            return cls(
                str(said["entity"]),
                str(said["ledger"]),
                tuple(_event_in(event) for event in said["events"]),
                {str(tree): str(note) for tree, note in said["checkpoints"].items()},
            )
        except KeyError as error:
            msg = f"a field {error} is missing"
            raise ProofUnreadable(msg) from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            if isinstance(error, ProofUnreadable):
                raise
            msg = f"a field holds something else than it should ({error})"
            raise ProofUnreadable(msg) from error


def _event_in(said: Mapping[str, Any]) -> ProvedEvent:
    content = said["content"]
    return ProvedEvent(
        role=str(said["role"]),
        header=str(said["header"]),
        head=base64.b64decode(said["head"], validate=True),
        content=None if content is None else base64.b64decode(content, validate=True),
        content_digest=bytes.fromhex(said["content_digest"]),
        append_ms=int(said["append_ms"]),
        position=str(said["position"]),
        tree=str(said["tree"]),
        leaf=int(said["leaf"]),
        path=tuple(base64.b64decode(other, validate=True) for other in said["path"]),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
