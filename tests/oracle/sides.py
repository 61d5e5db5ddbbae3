"""One side of a pair: how arguments are put to its stores, and how their answers are read."""

from __future__ import annotations

import base64
import bisect
import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from mlflow.entities import Span

from . import field_policy

_ROOT = "<root>"
# Ids that a store makes up itself: ledger experiment ids, run ids and model ids, webhook ids.
_GIVEN_ID = re.compile(r"(0*)([0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|[1-9]\d{14,})")


class Ref(str):
    """An id: reads as the oracle's, and is given to the other store as that store's own."""

    __slots__ = ("other",)
    other: str

    def __new__(cls, oracle: str, other: str) -> Self:
        ref = super().__new__(cls, oracle)
        ref.other = other
        return ref


class Text:
    """A text with ids in it (a filter, an order), made anew for each store."""

    def __init__(self, template: str, *refs: str) -> None:
        self.template, self.refs = template, refs

    def __repr__(self) -> str:
        return repr(self.for_side(0))

    def for_side(self, number: int) -> str:
        return self.template.format(*(resolve(ref, number) for ref in self.refs))


def resolve(  # noqa: PLR0911 - one line a kind of value
    value: Any, number: int, known: Mapping[str, str] | None = None
) -> Any:
    """The argument as this store knows it."""
    if isinstance(value, Ref):
        return value.other if number else str(value)
    if isinstance(value, Text):
        return value.for_side(number)
    if isinstance(value, Span):  # holds no ids of a store, and cannot be copied
        return value
    if known and isinstance(value, str):
        return known.get(value, value)
    if isinstance(value, list | tuple | set):
        return type(value)(resolve(item, number, known) for item in value)
    if isinstance(value, dict):
        return {key: resolve(item, number, known) for key, item in value.items()}
    if isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type | Enum):
        twin = copy.copy(value)  # a store must not see what the other did to an argument
        twin.__dict__.update({k: resolve(v, number, known) for k, v in vars(value).items()})
        return twin
    return value


def newest(value: Any, now: int) -> int:
    """The latest time in an argument that the clock may have shown; 0 where there is none."""
    if isinstance(value, int):
        return value if value <= now else 0
    if isinstance(value, str | Span | type | Enum):
        return 0
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(getattr(value, "__dict__", None), dict):
        value = vars(value).values()
    elif not isinstance(value, list | tuple | set):
        return 0
    return max((newest(item, now) for item in value), default=0)


@dataclass
class Side:
    """One of the two couples of stores, with what is needed to read its answers."""

    number: int
    tracking: Any
    registry: Any
    root: str = ""
    canonical: dict[str, str] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def text(self, value: str) -> str:
        """A text with root and ids as the oracle has them."""
        if self.root:
            value = value.replace(self.root, _ROOT)
        if self.canonical:
            value = _GIVEN_ID.sub(lambda m: m[1] + self.canonical.get(m[2], m[2]), value)
        return value

    def when(self, value: Any) -> Any:
        """A clock reading as the number of its call; another number (given by a test) stays."""
        if isinstance(value, int):
            index = bisect.bisect_right(self.starts, value) - 1
            if index >= 0 and value <= self.ends[index]:
                return f"time of call {self.calls[index]}"
        return value

    def token(self, value: Any) -> Any:
        """A page token decoded, so that ids inside it can be compared."""
        try:
            parsed = json.loads(base64.b64decode(value))
        except (ValueError, TypeError):
            return self.plain(value)
        if isinstance(parsed, dict) and "query" in parsed:  # a digest, over an experiment's id too
            parsed["query"] = len(parsed["query"])
            parsed["after"] = [self.when(key) for key in parsed.get("after", ())]
        return [type(value).__name__, self.plain(parsed)]

    def plain(  # noqa: C901, PLR0911 - one line a kind of value
        self, value: Any, rule: str | None = None
    ) -> Any:
        """An answer as a tree of plain values, in the oracle's terms."""
        if rule == "time":
            return self.when(value)
        if rule == "token":
            return self.token(value)
        if rule == "unordered" and isinstance(value, list | tuple):
            return sorted((self.plain(item) for item in value), key=repr)
        if isinstance(value, Enum):
            return f"{type(value).__name__}.{value.name}"
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float | bytes):
            return value
        if isinstance(value, list) and hasattr(value, "token"):
            items = [self.plain(item) for item in value]
            counted = {"total_count": getattr(value, "total_count", None)}
            return {
                "type": "PagedList",
                "items": items,
                "token": self.token(value.token),
                **counted,
            }
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self.plain(item) for item in value), key=repr)
        if isinstance(value, dict):
            pairs = ((self.plain(key), self.plain(item)) for key, item in value.items())
            return dict(sorted(pairs, key=lambda pair: repr(pair[0])))
        if isinstance(value, Span):
            return {"type": "Span", **self.plain(value.to_dict())}
        return self.entity(value)

    def entity(self, value: Any) -> dict[str, Any]:
        """Every field of an entity: what it keeps, and what its properties make of that."""
        name = type(value).__name__
        kept = (
            vars(value)
            if hasattr(value, "__dict__")
            else {key: getattr(value, key) for key in value.__slots__}
        )
        found = {key.lstrip("_"): item for key, item in kept.items()}
        for key in getattr(type(value), "_properties", list)():
            if key not in found:
                found[key] = getattr(value, key)
        rules = {key: field_policy.FIELDS.get((name, key)) for key in found}
        fields = {k: self.plain(v, rules[k]) for k, v in found.items() if rules[k] != "unsaid"}
        return {"type": name, **dict(sorted(fields.items()))}


class TokenRef(Ref):
    """A page token; MLflow's own are bytes for runs and experiments, text for logged models."""

    @classmethod
    def of(cls, oracle: Any, other: Any) -> Ref:
        both = [t.decode() if isinstance(t, bytes) else str(t) for t in (oracle, other)]
        return Ref(*both)


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}… ({len(text)} characters)"


def differences(one: Any, two: Any, path: str = "answer") -> Iterator[str]:
    """Where two plain trees differ; types and signs of zero count, NaN equals NaN."""
    if type(one) is not type(two):
        yield f"{path}: {short(one)} ({type(one).__name__}) is {short(two)} ({type(two).__name__})"
    elif isinstance(one, dict):
        for key in [*one, *(k for k in two if k not in one)]:
            missing = object()
            a, b = one.get(key, missing), two.get(key, missing)
            if a is missing or b is missing:
                shown = short(b if a is missing else a)
                yield f"{path}.{key}: only {'the other' if a is missing else 'the oracle'}: {shown}"
            else:
                yield from differences(a, b, f"{path}.{key}")
    elif isinstance(one, list):
        if len(one) != len(two):
            yield f"{path}: {len(one)} items are {len(two)}: {short(one)} is {short(two)}"
            return
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            yield from differences(a, b, f"{path}[{index}]")
    elif repr(one) != repr(two):
        yield f"{path}: {short(one)} is {short(two)}"
