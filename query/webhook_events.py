"""What webhooks are told of an event: MLflow's name for it, and the payload MLflow would send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from mlflow_ledger.schemas import (
    ClaimCheck,
    Event,
    KeyValue,
    ModelVersionCreated,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    RegisteredModelAliasDeleted,
    RegisteredModelAliasSet,
    RegisteredModelCreated,
    RegisteredModelTagDeleted,
    RegisteredModelTagSet,
)

__all__ = ["IS_PROMPT", "NOTICES", "Notice", "Said", "is_prompt", "notice_of"]

IS_PROMPT = "mlflow.prompt.is_prompt"
_PROMPT_TYPE = "_mlflow_prompt_type"
_PROMPT_TEXT = "mlflow.prompt.text"

E = TypeVar("E", bound=Event)
Said = dict[str, str | dict[str, str | None] | ClaimCheck | None]
"""A payload; a large text may be a claim check, to be redeemed by who sends it."""


class Notice(NamedTuple):
    """``action`` is MLflow's ``entity.action`` name, ``data`` the payload."""

    action: str
    data: Said


_Tell = Callable[[Any, bool, int], Notice | None]
_TELL: dict[type[Event], _Tell] = {}


def notice_of(event: Event, *, prompt: bool, number: int) -> Notice | None:
    """What MLflow's server would tell webhooks of an event, None where it tells nothing.

    ``prompt`` is whether the model was a prompt once this was said, ``number`` the one that a new
    version got. What was redacted is left out.
    """
    tell = _TELL.get(type(event))
    return None if tell is None else tell(event, prompt, number)


def is_prompt(tags: Iterable[KeyValue]) -> bool:
    """Whether the tags of a model, or of a new version, make it a prompt."""
    return (_values(tags).get(IS_PROMPT) or "false").lower() == "true"


def _told(kind: type[E]) -> Callable[[Callable[[E, bool, int], Notice | None]], object]:
    def register(tell: Callable[[E, bool, int], Notice | None]) -> object:
        _TELL[kind] = tell
        return tell

    return register


@_told(RegisteredModelCreated)
def _model_created(event: RegisteredModelCreated, prompt: bool, _: int) -> Notice:
    content = event.content
    tags = _values(content.tags if content else ())
    if prompt:
        for hidden in (IS_PROMPT, _PROMPT_TYPE):
            tags.pop(hidden, None)
    description = (content.description if content else None) or ""
    data: Said = {"name": event.name, "tags": tags, "description": description}
    return Notice("prompt.created" if prompt else "registered_model.created", data)


@_told(ModelVersionCreated)
def _version_created(event: ModelVersionCreated, _: bool, number: int) -> Notice:
    content = event.content
    given = content.tags if content else []
    tags = _values(given)
    description = (content.description if content else None) or None
    data: Said = {"name": event.name, "version": str(number)}
    if is_prompt(given):
        data["template"] = tags.pop(_PROMPT_TEXT, None)
        for hidden in (IS_PROMPT, _PROMPT_TYPE):
            tags.pop(hidden, None)
        return Notice("prompt_version.created", {**data, "tags": tags, "description": description})
    data["source"] = content.source if content else None
    data["run_id"] = event.run_id or None
    return Notice("model_version.created", {**data, "tags": tags, "description": description})


@_told(RegisteredModelTagSet)
def _model_tag_set(event: RegisteredModelTagSet, prompt: bool, _: int) -> Notice | None:
    value = event.content.value if event.content else None
    data: Said = {"name": event.name, "key": event.tag, "value": value}
    return Notice("prompt_tag.set", data) if prompt else None


@_told(RegisteredModelTagDeleted)
def _model_tag_deleted(event: RegisteredModelTagDeleted, prompt: bool, _: int) -> Notice | None:
    data: Said = {"name": event.name, "key": event.tag}
    return Notice("prompt_tag.deleted", data) if prompt else None


@_told(ModelVersionTagSet)
def _version_tag_set(event: ModelVersionTagSet, prompt: bool, _: int) -> Notice:
    value = event.content.value if event.content else None
    version = str(event.version)
    data: Said = {"name": event.name, "version": version, "key": event.tag, "value": value}
    return Notice("prompt_version_tag.set" if prompt else "model_version_tag.set", data)


@_told(ModelVersionTagDeleted)
def _version_tag_deleted(event: ModelVersionTagDeleted, prompt: bool, _: int) -> Notice:
    data: Said = {"name": event.name, "version": str(event.version), "key": event.tag}
    return Notice("prompt_version_tag.deleted" if prompt else "model_version_tag.deleted", data)


@_told(RegisteredModelAliasSet)
def _alias_set(event: RegisteredModelAliasSet, prompt: bool, _: int) -> Notice:
    data: Said = {"name": event.name, "alias": event.alias, "version": str(event.version)}
    return Notice("prompt_alias.created" if prompt else "model_version_alias.created", data)


@_told(RegisteredModelAliasDeleted)
def _alias_deleted(event: RegisteredModelAliasDeleted, prompt: bool, _: int) -> Notice:
    data: Said = {"name": event.name, "alias": event.alias}
    return Notice("prompt_alias.deleted" if prompt else "model_version_alias.deleted", data)


def _values(tags: Iterable[KeyValue]) -> dict[str, str | None]:
    return {tag.key: tag.value for tag in tags}


NOTICES = frozenset(_TELL)
"""The event types that webhooks may be told of."""
