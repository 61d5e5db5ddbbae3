"""What every event has in common: a body that is always kept and a content that can be redacted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["ClaimCheck", "Content", "Event", "KeyValue", "Part", "Text", "event_types"]


class Part(BaseModel):
    """A record inside an event; named after its class in the Avro schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClaimCheck(Part):
    """Stands for a value that is too large to travel in an event; its bytes are a blob."""

    digest: str
    size_bytes: int


Text = str | ClaimCheck | None
"""A text that is never searched and may therefore be a claim check."""


class KeyValue(Part):
    """A param or a tag. A tag's value may be absent, a param's never is."""

    key: str
    value: str | None = None


class Content(Part):
    """The redactable part of an event.

    On the wire a content begins with a 16-byte random nonce, so that nobody can guess a short
    value from its digest. The nonce goes when the content goes.
    """


class Event(BaseModel):
    """One fact. A subclass for each type; the class name is the CloudEvents ``type``.

    Fields declared on the class are structure: identifiers, kinds, names that must be unique, and
    whatever a verdict depends on. They stay for ever. Values that a person may ask to have erased
    stand in ``content``, and every type folds without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic_name: ClassVar[str]
    rules_version: ClassVar[int] = 1
    """The version of the rules that decides about it: the first that knows the type."""

    content_type: ClassVar[type[Content] | None] = None
    content: Content | None = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register the type, and find the class of its content."""
        super().__pydantic_init_subclass__(**kwargs)
        if not hasattr(cls, "topic_name"):
            return
        for option in _options(cls.model_fields["content"].annotation):
            if isinstance(option, type) and issubclass(option, Content) and option is not Content:
                cls.content_type = option
        _TYPES[cls.__name__] = cls

    @property
    def topic(self) -> str:
        """The topic, without the ledger's name, on which the event is said."""
        return self.topic_name

    @property
    @abstractmethod
    def key(self) -> str:
        """The text whose murmur2 hash names the partition."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """The entity the event is about, as a URI such as ``runs:/<id>``."""

    @property
    def sealed_as(self) -> str | None:
        """Whose key seals its content where contents can be erased; None: it is never sealed.

        It is as fine as what can be erased by itself.
        """
        return self.subject


_TYPES: dict[str, type[Event]] = {}


def event_types() -> Mapping[str, type[Event]]:
    """All event types by name, in order of declaration."""
    return MappingProxyType(_TYPES)


def _options(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", None) or (annotation,)
