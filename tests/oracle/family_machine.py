"""Random calls to one small family, each answer compared; a family says which calls there are."""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from .pair import Factory, Pair, Ref, Template, open_pair
from .stores import wants_share

__all__ = ["Calls", "FamilyMachine", "Lenient", "Look", "Place", "bounds", "made", "play"]

Calls = Mapping[str, st.SearchStrategy[dict[str, Any]]]
"""By method of the store the arguments that may be drawn; :func:`made` stands for ids."""

Look = Callable[[Pair, Mapping[str, list[Ref]]], None]
"""Reads all that the pair holds of the family, given the ids that each maker has made."""

_NOT_THERE = 7


@dataclass(frozen=True)
class _Made:
    maker: str
    number: int


def made(maker: str) -> st.SearchStrategy[Any]:
    """An id that a method has given (``create_experiment`` gave "0" too), now and then none."""
    return st.integers(0, _NOT_THERE).map(lambda number: _Made(maker, number))


@dataclass(frozen=True)
class Place:
    """The URI of a folder beside the pair's own."""

    name: str


def play(
    folder: Path,
    template: Template,
    factory: Factory,
    calls: Calls,
    look: Look,
    *,
    examples: int = 12,
    steps: int = 30,
) -> None:
    """Play random histories of ``calls``, and look at the end of each."""
    count = itertools.count()

    def machine() -> FamilyMachine:
        pair = open_pair(folder / str(next(count)), template, factory)
        return machine_of(calls)(pair, look)

    run_state_machine_as_test(machine, settings=bounds(examples, steps))


def bounds(examples: int, steps: int) -> settings:
    """How many histories are played, of how many steps; on Kafka a share of them."""
    return settings(
        max_examples=max(examples // 5, 2) if wants_share() else examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class FamilyMachine(RuleBasedStateMachine):
    """One history."""

    def __init__(self, pair: Pair, look: Look) -> None:
        super().__init__()
        self.pair = pair
        self.look = look
        self.made: dict[str, list[Ref]] = defaultdict(list)

    @initialize()
    def an_experiment(self) -> None:
        self.made["create_experiment"] = [Ref("0", "0")]
        self.call("create_experiment", {"name": "a"})

    def call(self, method: str, kwargs: dict[str, Any]) -> None:
        ref = self.pair.call(method, **self.resolve(kwargs)).ref
        if ref is not None and ref not in self.made[method]:
            self.made[method].append(ref)

    def resolve(self, value: Any) -> Any:
        if isinstance(value, _Made):
            return self.made_by(value.maker, value.number)
        if isinstance(value, Place):
            return (self.pair.folder / value.name).as_uri()
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            given = {field.name: getattr(value, field.name) for field in fields(value)}
            resolved = self.resolve(given)
            if resolved == given:
                return value
            twin = copy.copy(value)  # its maker may take other arguments than its fields
            for name, item in resolved.items():
                object.__setattr__(twin, name, item)
            return twin
        return [self.resolve(item) for item in value] if isinstance(value, list) else value

    def made_by(self, maker: str, number: int) -> str:
        there = self.made[maker]
        if number == _NOT_THERE or not there:
            return "123456" if maker == "create_experiment" else "f" * 32
        return there[number % len(there)]

    def teardown(self) -> None:
        try:
            self.look(self.pair, self.made)
        finally:
            self.pair.close()


class Lenient:
    """A pair of which whatever is looked at may also be missing, on both sides alike."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def ok(self, method: str, **kwargs: Any) -> Any:
        nothing = ([], None) if method == "_load_dataset_records" else []
        return self.pair.call(method, **kwargs).value or nothing

    def pages(self, method: str, size: int, **kwargs: Any) -> Any:
        return self.pair.call(method, max_results=size, **kwargs).value or []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pair, name)


def machine_of(calls: Calls) -> type[FamilyMachine]:
    """The machine that draws among these calls."""
    drawn = st.sampled_from(sorted(calls)).flatmap(
        lambda method: st.tuples(st.just(method), calls[method])
    )

    class Machine(FamilyMachine):
        @rule(drawn=drawn)
        def call_one(self, drawn: tuple[str, dict[str, Any]]) -> None:
            self.call(*drawn)

    return Machine
