"""Reads events strictly into the classes that OpenLineage makes of its published schemas."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any

import attr
from openlineage.client import generated
from openlineage.client.generated import base
from openlineage.client.serde import Serde

__all__ = ["OWN", "check"]

OWN = "urn:mlflow-ledger:"
"""How the schemas of facets begin that are ours: nobody publishes classes of them."""
_EVENTS = (base.RunEvent, base.JobEvent, base.DatasetEvent)
_SAID_ANYWAY = ("producer", "schemaURL", "_producer", "_schemaURL")
"""What the classes fill in, and the schemas require."""


def check(event: Mapping[str, Any]) -> None:
    """Raise ValueError where an event is not what the classes say, field by field."""
    url = event.get("schemaURL")
    kind = next((kind for kind in _EVENTS if kind._get_schema() == url), None)
    if kind is None:
        msg = f"{url} is the schema of no event"
        raise ValueError(msg)
    read = _read(kind, event, "event")
    again = _plain(Serde.to_dict(read))
    _expect(again == _plain(event), f"read and written again it is {again}, and was", event)


def _facet_classes() -> Iterator[tuple[str, type[Any]]]:
    for found in pkgutil.iter_modules(generated.__path__):
        module = importlib.import_module(f"{generated.__name__}.{found.name}")
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, base.BaseFacet):
                yield one._get_schema(), one


_FACETS = dict(_facet_classes())


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return _one_of(arguments, value, where)
    if origin is list:
        _expect(isinstance(value, list), where, value)
        return [_read(arguments[0], one, f"{where}[{n}]") for n, one in enumerate(value)]
    if origin is dict:
        _expect(isinstance(value, dict), where, value)
        return {name: _facet(one, f"{where}.{name}") for name, one in _public(value)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if attr.has(kind):
        return _object(kind, value, where)
    _expect(kind is Any or type(value) is kind, where, value)
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None:
        _expect(NoneType in kinds, where, value)
        return None
    (kind,) = (kind for kind in kinds if kind is not NoneType)
    return _read(kind, value, where)


def _object(kind: Any, value: Any, where: str) -> Any:
    """An object of a class, with no field that the class lacks and all that it asks for."""
    _expect(isinstance(value, dict), where, value)
    hints, fields = typing.get_type_hints(kind), {field.name: field for field in attr.fields(kind)}
    unknown = value.keys() - fields.keys()
    _expect(not unknown, f"{where} has {sorted(unknown)}", value)
    for name, field in fields.items():
        asked = field.default is attr.NOTHING or name in _SAID_ANYWAY
        _expect(not asked or name in value, f"{where} lacks {name}", value)
    if "_schemaURL" in fields:
        _expect(value["_schemaURL"] == kind._get_schema(), f"{where}._schemaURL", value)
    given = {
        fields[name].alias: _read(hints[name], one, f"{where}.{name}")
        for name, one in value.items()
        if fields[name].init
    }
    return kind(**given)


def _facet(value: Any, where: str) -> Any:
    _expect(value.get("_schemaURL") in _FACETS, f"{where}: nobody knows its schema", value)
    return _object(_FACETS[value["_schemaURL"]], value, where)


def _public(facets: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, facet in facets.items():
        if _is_own(facet):
            _expect(bool(facet.get("_producer")), name, facet)
        else:
            yield name, facet


def _plain(value: Any) -> Any:
    """An event without facets of ours, and without the empty lists that the classes fill in."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _plain(one) for name, one in value.items() if not _is_own(one)}
    return {name: one for name, one in plain.items() if one not in ([], {})}


def _is_own(facet: Any) -> bool:
    return isinstance(facet, dict) and facet.get("_schemaURL", "").startswith(OWN)


def _expect(holds: bool, where: str, value: Any) -> None:
    if not holds:
        msg = f"{where}: {value!r}"
        raise ValueError(msg)
