"""Rules about small families, said once for all: created, updated, tagged, deleted.

A family says what it is (:class:`Family`) and which of its events does what. Its items stand in the
tables ``items`` and ``item_tags``: the fields of their events as one document, id, parent, name and
times apart. An item goes with its parent, which is another item or an experiment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, TypeVar

from mlflow_ledger.schemas import ItemEvent, Reason, Refused

from .context import Context, experiment_number, rule

__all__ = [
    "Family",
    "Held",
    "Reference",
    "add_item",
    "check_children_free",
    "families",
    "forget_children",
    "forget_item",
]

E = TypeVar("E", bound=ItemEvent)
About = Callable[[Context, E, dict[str, Any]], None]

_NO_FIELDS = {"content", "cleared"}
_FAMILIES: dict[str, Family] = {}


@dataclass(frozen=True)
class Reference:
    """A field that names what must be there when it is said; ``missing`` may name its ``{id}``.

    Of a field that holds a part, or a list of parts, ``field`` is ``<field>.<field of the part>``.
    """

    field: str
    kind: str
    missing: str
    reason: Reason = Reason.MISSING

    def named(self, event: ItemEvent) -> list[str]:
        """The ids that an event names."""
        field, _, inner = self.field.partition(".")
        value = getattr(event, field, None)
        values = value if isinstance(value, list) else [] if value is None else [value]
        return [str(getattr(part, inner)) if inner else str(part) for part in values]


@dataclass(frozen=True)
class Held:
    """An item that one of another kind names in ``field`` may not be deleted."""

    kind: str
    field: str
    held: str
    reason: Reason = Reason.STATE


@dataclass(frozen=True)
class Family:
    """One small family: the texts of its errors, and what is unique in it.

    All may name the id as ``{id}`` and any field of the event, ``exists`` also ``{parent_id}``;
    in ``parent_missing`` the id is the parent's, in those of a reference the one that is missing.
    ``parent`` names the field that holds the parent's
    id, ``parent_kind`` the parent's kind.
    A name, where ``name`` says which field holds one, is unique among the items of one parent and
    workspace.
    """

    missing: str
    exists: str
    name: str | None = None
    parent: str | None = None
    parent_kind: str = "experiments"
    parent_missing: str = "No Experiment with id={id} exists"
    numbered: bool = False
    """Whether an item's name is its number among its parent's: one more than the highest there."""
    dead: tuple[str, str] | None = None
    """Field and value by which an item counts as missing, though its name stays taken."""
    tag_missing: str | None = None
    """What is said of a tag that is deleted and was not there; nothing where that is no error."""
    untagged: str | None = None
    """What is said where tags are set on an item that is missing, if it is not ``missing``."""
    derive: Callable[[Context, dict[str, Any]], None] | None = None
    """Adds to the fields of a new item what follows from them."""
    taken: Reason = Reason.EXISTS
    """Why a name that another item has is refused."""
    references: tuple[Reference, ...] = ()
    held_by: tuple[Held, ...] = ()
    apart: frozenset[str] = frozenset()
    """Fields that a rule of the family's own keeps elsewhere."""
    id_parts: tuple[str, ...] = ()
    """By what names the texts may call the parts of an id that ``/`` joins."""

    def created(self, event: type[ItemEvent]) -> Family:
        """An event that brings an item into being: its id, and its name, are given once."""
        _FAMILIES[event.kind] = self
        rule(event)(self.create)
        return self

    def updated(self, event: type[ItemEvent]) -> Family:
        """An event that changes fields of an item."""
        rule(event)(self.update)
        return self

    def deleted(self, event: type[ItemEvent]) -> Family:
        """An event that takes an item away, with its tags and all that belongs to it."""
        rule(event)(self._delete)
        return self

    def about(self, event: type[E]) -> Callable[[About[E]], About[E]]:
        """Make a function the rule for an event about an item that is there, given its fields."""

        def register(function: About[E]) -> About[E]:
            def decide(context: Context, event: E) -> None:
                _, _, document = self.existing(context, event)
                function(context, event, json.loads(document))

            rule(event)(decide)
            return function

        return register

    def tags_set(self, event: type[ItemEvent]) -> Family:
        """An event whose content holds ``tags``, which overwrite tags of the same key."""
        rule(event)(self._set_tags)
        return self

    def tag_deleted(self, event: type[ItemEvent]) -> Family:
        """An event whose field ``tag`` names the tag that goes."""
        rule(event)(self._delete_tag)
        return self

    def fields_of(
        self,
        context: Context,
        event: ItemEvent,
        missing: str | None = None,
        reason: Reason = Reason.MISSING,
    ) -> dict[str, Any]:
        """The fields of the item that an event is about, for rules of the family's own.

        Raises:
            Refused: there is no such item; ``missing`` and ``reason`` say so in other words.
        """
        fields: dict[str, Any] = json.loads(self.existing(context, event, missing, reason)[2])
        return fields

    def save(
        self, context: Context, event: ItemEvent, fields: dict[str, Any], *, updated: bool
    ) -> None:
        """Keep the fields of an item, and where it counts as ``updated`` also when."""
        context.write(
            "UPDATE items SET fields = ?, updated_ms = CASE WHEN ? THEN ? ELSE updated_ms END "
            "WHERE kind = ? AND item_id = ?",
            _document(fields),
            updated,
            context.envelope.time_ms,
            event.kind,
            event.key,
        )

    def create(self, context: Context, event: ItemEvent) -> None:
        """What :meth:`created` does, for a rule that does more."""
        parent, fields = "", self._fields(event)
        if self.parent is not None:
            parent_id = str(getattr(event, self.parent))
            self._check_parent(context, event, parent_id)
            parent = f"{self.parent_kind}:/{parent_id}"
        tags = fields.pop("tags", None)
        self._check_references(context, event)
        if context.row("SELECT 1 FROM items WHERE kind = ? AND item_id = ?", event.kind, event.key):
            raise self._refusal(event, parent, Reason.EXISTS)
        name = self._name(context, event, parent)
        if self.derive is not None:
            self.derive(context, fields)
        add_item(context, event.kind, event.key, parent, fields, name)
        if tags:
            _set_tags(context, event, tags)

    def update(self, context: Context, event: ItemEvent) -> None:
        """What :meth:`updated` does, for a rule that does more."""
        parent, name, document = self.existing(context, event)
        given = self._fields(event)
        given.pop("tags", None)
        self._check_references(context, event)
        new = None if self.name is None else getattr(event, self.name, None)
        if new is not None and new != name:
            self._check_name(context, event, parent, new)
            name = new
        fields = json.loads(document) | given
        for cleared in getattr(event, "cleared", ()):
            fields.pop(cleared, None)
        context.write(
            "UPDATE items SET name = ?, updated_ms = ?, fields = ? WHERE kind = ? AND item_id = ?",
            name,
            context.envelope.time_ms,
            _document(fields),
            event.kind,
            event.key,
        )

    def _delete(self, context: Context, event: ItemEvent) -> None:
        self.existing(context, event)
        self.check_free(context, event.key)
        forget_item(context, event.kind, event.key)

    def check_free(self, context: Context, item_id: str) -> None:
        """Refuse to let go of an item that another one holds."""
        for held in self.held_by:
            if context.row(
                "SELECT 1 FROM items WHERE kind = ? AND json_extract(fields, ?) = ?",
                held.kind,
                f"$.{held.field}",
                item_id,
            ):
                raise Refused(held.reason, held.held)

    def _set_tags(self, context: Context, event: ItemEvent) -> None:
        self.existing(context, event, self.untagged)
        tags = [tag.model_dump() for tag in getattr(event.content, "tags", ())]
        _set_tags(context, event, tags)

    def _delete_tag(self, context: Context, event: ItemEvent) -> None:
        self.existing(context, event)
        tag = event.tag  # type: ignore[attr-defined]  # by what tag_deleted asks for
        gone = context.write(
            "DELETE FROM item_tags WHERE kind = ? AND item_id = ? AND key = ?",
            event.kind,
            event.key,
            tag,
        )
        if not gone and self.tag_missing is not None:
            raise Refused(Reason.MISSING, self._told(self.tag_missing, event))

    def existing(
        self,
        context: Context,
        event: ItemEvent,
        missing: str | None = None,
        reason: Reason = Reason.MISSING,
    ) -> Any:
        """The row of an item that must be there; ``missing`` and ``reason`` say so otherwise."""
        row = _row(context, event)
        if row is not None and self.dead is not None:
            field, value = self.dead
            row = None if json.loads(row[2]).get(field) == value else row
        if row is None:
            raise Refused(reason, self._told(missing or self.missing, event))
        return row

    def _name(self, context: Context, event: ItemEvent, parent: str) -> str | None:
        """The name of a new item: its next number, or what its event says, if it is free."""
        if self.numbered:
            (number,) = context.row(
                "SELECT coalesce(max(CAST(name AS INTEGER)), 0) + 1 FROM items "
                "WHERE parent = ? AND kind = ?",
                parent,
                event.kind,
            )
            return str(number)
        name = None if self.name is None else getattr(event, self.name)
        self._check_name(context, event, parent, name)
        return name

    def _check_name(self, context: Context, event: ItemEvent, parent: str, name: Any) -> None:
        if name is not None and context.row(
            "SELECT 1 FROM items "
            "WHERE kind = ? AND workspace = ? AND parent = ? AND name = ? AND item_id <> ?",
            event.kind,
            context.envelope.workspace,
            parent,
            name,
            event.key,
        ):
            raise self._refusal(event, parent, self.taken)

    def _check_parent(self, context: Context, event: ItemEvent, parent_id: str) -> None:
        if not _there(context, self.parent_kind, parent_id):
            raise Refused(Reason.MISSING, self._told(self.parent_missing, event, id=parent_id))

    def _check_references(self, context: Context, event: ItemEvent) -> None:
        for reference in self.references:
            for item_id in reference.named(event):
                if not _there(context, reference.kind, item_id):
                    raise Refused(
                        reference.reason, self._told(reference.missing, event, id=item_id)
                    )

    def _fields(self, event: ItemEvent) -> dict[str, Any]:
        """What an event says beside the item's id, structure and content alike."""
        said = event.model_dump(exclude={*_NO_FIELDS, *self.apart, event.id_field})
        if event.content is not None:
            said |= event.content.model_dump()
        return {name: value for name, value in said.items() if value is not None}

    def _refusal(self, event: ItemEvent, parent: str, reason: Reason) -> Refused:
        parent_id = parent.partition(":/")[2]
        return Refused(reason, self._told(self.exists, event, parent_id=parent_id))

    def _told(self, text: str, event: ItemEvent, **more: str) -> str:
        said = {name: getattr(event, name) for name in type(event).model_fields}
        parts = event.key.split("/", max(len(self.id_parts) - 1, 0))
        named = dict(zip_longest(self.id_parts, parts[: len(self.id_parts)], fillvalue=""))
        return text.format_map(named | said | {"id": event.key} | more)


def families() -> Mapping[str, Family]:
    """All small families by kind."""
    return MappingProxyType(_FAMILIES)


def add_item(
    context: Context,
    kind: str,
    item_id: str,
    parent: str,
    fields: dict[str, Any],
    name: str | None = None,
) -> None:
    """Bring an item into being; whoever does so has looked whether it may be."""
    now_ms = context.envelope.time_ms
    context.write(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        kind,
        item_id,
        context.envelope.workspace,
        parent,
        name,
        now_ms,
        now_ms,
        _document(fields),
    )


def check_children_free(context: Context, parent: str) -> None:
    """Refuse to let go of a parent of whose items another one is held."""
    held = {kind: family for kind, family in _FAMILIES.items() if family.held_by}
    for kind, family in held.items():
        for (item_id,) in context.db.execute(
            "SELECT item_id FROM items WHERE parent = ? AND kind = ?", (parent, kind)
        ).fetchall():
            family.check_free(context, item_id)


def forget_children(context: Context, parent: str) -> None:
    """Take away all items of a parent, which is named as events name it, and theirs."""
    children = context.db.execute(
        "SELECT kind, item_id FROM items WHERE parent = ?", (parent,)
    ).fetchall()
    for kind, item_id in children:
        forget_item(context, kind, item_id)


def forget_item(context: Context, kind: str, item_id: str) -> None:
    """Take away an item with its tags and all that belongs to it."""
    for table in ("items", "item_tags"):
        context.write(f"DELETE FROM {table} WHERE kind = ? AND item_id = ?", kind, item_id)
    forget_children(context, f"{kind}:/{item_id}")


def _there(context: Context, kind: str, item_id: str) -> bool:
    if kind == "experiments":
        sql = (
            "SELECT 1 FROM experiments "
            "WHERE experiment_id = ? AND workspace = ? AND lifecycle <> 'purged'"
        )
        return bool(context.row(sql, experiment_number(item_id), context.envelope.workspace))
    sql = "SELECT 1 FROM items WHERE kind = ? AND item_id = ? AND workspace = ?"
    return bool(context.row(sql, kind, item_id, context.envelope.workspace))


def _row(context: Context, event: ItemEvent) -> Any:
    return context.row(
        "SELECT parent, name, fields FROM items WHERE kind = ? AND item_id = ? AND workspace = ?",
        event.kind,
        event.key,
        context.envelope.workspace,
    )


def _document(fields: dict[str, Any]) -> str:
    try:
        return json.dumps(fields, sort_keys=True, allow_nan=False)
    except ValueError as error:
        # SQLite could not look into such a document.
        raise Refused(Reason.INVALID, "An item's numbers must be finite") from error


def _set_tags(context: Context, event: ItemEvent, tags: list[dict[str, Any]]) -> None:
    context.db.executemany(
        "INSERT OR REPLACE INTO item_tags VALUES (?, ?, ?, ?)",
        [(event.kind, event.key, tag["key"], tag["value"]) for tag in tags],
    )
