"""What the events of small families have in common: things with an id, and perhaps a name and tags.

A family is a module of its own beside this one: a base class that names its kind, and an event
type for each thing that can happen. What is done with them is said in
:mod:`mlflow_ledger.consumers.rules.items`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from .event import Content, Event, KeyValue

__all__ = ["ItemEvent", "ItemTagsContent", "item_kinds"]

_KINDS: dict[str, str] = {}


class ItemEvent(Event):
    """Anything that happens to one item; ``kind`` is how its address begins.

    ``id_field`` names the field that holds its id. In an update, what is absent stays as it was;
    a type whose fields may also become nothing says so in a list of names, ``cleared``.
    """

    kind: ClassVar[str]
    id_field: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Register the kind too."""
        super().__pydantic_init_subclass__(**kwargs)
        _KINDS[cls.kind] = cls.id_field

    @property
    def key(self) -> str:
        """The item's id."""
        return str(getattr(self, self.id_field))

    @property
    def subject(self) -> str:
        """``<kind>:/<id>``."""
        return f"{self.kind}:/{self.key}"


class ItemTagsContent(Content):
    """Tags that were set."""

    tags: list[KeyValue] = Field(default_factory=list)


def item_kinds() -> tuple[str, ...]:
    """The kinds of all small families, in order of declaration."""
    return tuple(_KINDS)
