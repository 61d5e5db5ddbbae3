"""Events about the ledger itself."""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Event, Part

__all__ = [
    "CommandRejected",
    "CommandRejectedContent",
    "LedgerCreated",
    "TopicPartitions",
]


class TopicPartitions(Part):
    """How many partitions a topic has, for ever."""

    topic: str
    count: int


class LedgerCreated(Event):
    """The first record of every ledger. Experiment 0, ``Default``, is a consequence of it."""

    topic_name: ClassVar[str] = "catalog"
    ledger_id: str
    partitions: list[TopicPartitions]
    hash: str = "sha256"
    rules: int
    erasable: bool = False
    artifact_root: str

    @property
    def key(self) -> str:
        """The ledger's id."""
        return self.ledger_id

    @property
    def subject(self) -> str:
        """``ledger:/<id>``."""
        return f"ledger:/{self.ledger_id}"


class CommandRejectedContent(Content):
    """Why, in the words the caller was given; 4 KiB at most."""

    message: str


class CommandRejected(Event):
    """A command that the rules refused before anything was said; kept for the audit."""

    topic_name: ClassVar[str] = "catalog"
    command: str
    command_topic: str
    command_key: str
    command_subject: str
    code: str
    content: CommandRejectedContent | None = None

    @property
    def topic(self) -> str:
        """The topic that the command would have been said on."""
        return self.command_topic

    @property
    def key(self) -> str:
        """The key of the refused command."""
        return self.command_key

    @property
    def subject(self) -> str:
        """The entity the command was about."""
        return self.command_subject
