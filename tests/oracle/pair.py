"""A pair of MLflow stores that get every call twice, whose answers must be the same.

The oracle is MLflow's SqlAlchemyStore on SQLite; the other is ours, or (`--oracle-self`) a second
SqlAlchemyStore with other experiment ids, by which the harness itself is tested.
"""

from __future__ import annotations

import itertools
import random
import re
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.abstract_store import AbstractStore as AbstractRegistry
from mlflow.store.tracking.abstract_store import AbstractStore as AbstractTracking
from mlflow.store.workspace.abstract_store import AbstractStore as AbstractWorkspaces

from . import field_policy, stores
from .sides import Ref, Side, Text, TokenRef, differences, newest, resolve, short
from .stores import Factory, Stores, Template, now

__all__ = [
    "MADE_BESIDE",
    "MAKERS",
    "Answer",
    "Factory",
    "OracleMismatch",
    "Pair",
    "Ref",
    "Template",
    "Text",
    "open_pair",
]

T = TypeVar("T")

_READS = re.compile(r"_?(get|search|list)_")
_WRITING_READS = {
    "get_or_create_user_queue",
    "list_label_schemas",  # the first one asks a default question
}
_OF_TRACKING = {"link_prompts_to_trace"}  # the registry's own asks the tracking store
_MISUSE = re.compile(r"unexpected keyword|required positional|Store' object has no attribute")


@dataclass
class Answer:
    """What the oracle answered, and where the other store's answer differs."""

    method: str
    kwargs: dict[str, Any]
    value: Any = None
    other: Any = None
    error: str | None = None
    message: str = ""
    other_error: str | None = None
    ref: Ref | None = None
    mismatches: list[tuple[str, str]] = field(default_factory=list)

    @property
    def token(self) -> Ref | None:
        """The next page's token, good for either store."""
        token = getattr(self.value, "token", None)
        if not token or not getattr(self.other, "token", None):
            return None
        return TokenRef.of(token, self.other.token)

    def report(self) -> str:
        shown = ", ".join(f"{key}={short(item)}" for key, item in self.kwargs.items())
        lines = [f"{kind}: {text}" for kind, text in self.mismatches]
        text = f"{self.method}({shown})\n  " + "\n  ".join(lines)
        # xdist sends reports as UTF-8, which a lone surrogate has no place in.
        return text.encode("utf-8", "backslashreplace").decode()


class OracleMismatch(AssertionError):
    """The two stores answered differently."""


class Pair:
    """The two couples of stores, called in step."""

    folder: Path

    def __init__(self, oracle: Stores, other: Stores, opened: int, seed: int = 0) -> None:
        self.sides = (Side(0, *oracle), Side(1, *other))
        self.seed, self.count = seed, 0
        self.outcomes: Counter[tuple[str, bool]] = Counter()  # method, whether it succeeded
        self.known: dict[str, str] = {}  # the other store's ids by the oracle's, where they differ
        self.leftovers: set[str] = set()  # methods whose answers in MLflow hold too much
        for side in self.sides:
            location = side.tracking.get_experiment("0").artifact_location
            side.root = location.removesuffix("0").rstrip("/")
        self.clock = now()
        for side in self.sides:
            # What existed at the opening (experiment 0) counts as made by call 0.
            side.starts, side.ends, side.calls = [opened], [self.clock], [0]

    def call(self, method: str, **kwargs: Any) -> Answer:
        """Both stores' answer to one call; raises where they differ."""
        answer = self.compare(method, **kwargs)
        if answer.mismatches:
            raise OracleMismatch(answer.report())
        return answer

    def ok(self, method: str, **kwargs: Any) -> Any:
        """The oracle's answer to a call that must succeed."""
        answer = self.call(method, **kwargs)
        assert answer.error is None, f"{method}: {answer.error}: {answer.message}"
        return answer.value

    def make(self, method: str, **kwargs: Any) -> Ref:
        """The id of what a call that must succeed has made."""
        answer = self.call(method, **kwargs)
        assert answer.ref is not None, f"{method}: {answer.error}: {answer.message}"
        return answer.ref

    def fails(self, code: str, method: str, **kwargs: Any) -> str:
        """The message of a call that must fail with this code."""
        answer = self.call(method, **kwargs)
        assert answer.error == code, f"{method}: {answer.error}: {answer.message or answer.value}"
        return answer.message

    def compare(self, method: str, **kwargs: Any) -> Answer:
        """Both stores' answer to one call, with the mismatches left to the caller."""
        self.count += 1
        self.clock = max(self.clock, newest(kwargs, now()))
        outcomes = [self._one(side, method, kwargs) for side in self.sides]
        (value, error), (other, other_error) = outcomes
        self.outcomes[method, error is None] += 1
        if isinstance(error, TypeError | AttributeError) and _MISUSE.search(str(error)):
            raise TypeError(f"{method} is not called like this: {error}") from error
        answer = Answer(method, kwargs, value, other)
        if error is not None:
            answer.error, answer.message = _code(error), self.sides[0].text(str(error))
        if other_error is not None:
            answer.other_error = _code(other_error)
        if (error is None) != (other_error is None):
            told = f"{_told(error, value)} is {_told(other_error, other)}"
            answer.mismatches.append(("outcome", told))
        elif error is not None and other_error is not None:
            self._compare_errors(answer, other_error)
        else:
            self._learn(answer)
            rule = field_policy.RETURNS.get(method)
            one, two = (s.plain(v, rule) for s, v in zip(self.sides, (value, other), strict=True))
            if method in self.leftovers:
                one = [item for item in one if item in two]
            answer.mismatches += [("value", text) for text in differences(one, two)]
            self.leftovers |= field_policy.LEFTOVERS.get(method, set())
        return answer

    def pages(self, method: str, size: int, **kwargs: Any) -> list[Any]:
        """All pages of a search joined, as the oracle gives them, until the last or an error."""
        items: list[Any] = []
        token: str | None = None
        for _ in range(10_000):
            answer = self.call(method, max_results=size, page_token=token, **kwargs)
            items += answer.value or []
            token = answer.token
            if token is None:
                return items
        raise AssertionError(f"{method} never came to its last page")

    def do(self, work: Callable[[Side], T]) -> list[T]:
        """Do something else than a call to each side, such as a command of MLflow's."""
        self.count += 1
        done = []
        for side in self.sides:
            with self._writing(side):
                done.append(work(side))
        return done

    @contextmanager
    def _writing(self, side: Side) -> Iterator[None]:
        """While something is written, in milliseconds in which nothing else reads the clock.

        Neither does another call, nor a test that makes an entity before or after this one: what
        it was given as a time is never taken for one that a store has read.
        """
        self._wait()
        start = now()
        try:
            yield
        finally:
            self.clock = now()
            side.starts.append(start)
            side.ends.append(self.clock)
            side.calls.append(self.count)
            self._wait()

    def _wait(self) -> None:
        """Until the millisecond is over that was the last to be read."""
        while now() <= self.clock:
            time.sleep(0.0002)

    def _one(self, side: Side, method: str, kwargs: dict[str, Any]) -> tuple[Any, Exception | None]:
        of_registry = hasattr(AbstractRegistry, method) and method not in _OF_TRACKING
        store = side.registry if of_registry else side.tracking
        if hasattr(AbstractWorkspaces, method) and not hasattr(AbstractTracking, method):
            store = stores.workspaces(side.tracking)
        given = {
            key: resolve(value, side.number, self.known if side.number else None)
            for key, value in kwargs.items()
        }
        reads = _READS.match(method) and method not in _WRITING_READS
        stores.current.append(side.tracking)
        try:
            writing = nullcontext() if reads else self._writing(side)
            chance = _same_chance(f"{self.seed}/{self.count}")
            with writing, warnings.catch_warnings(), chance:
                # A warning made an error by pytest would change what the oracle answers.
                warnings.simplefilter("ignore")
                return getattr(store, method)(**given), None
        except Exception as error:  # noqa: BLE001 - every kind of failure is an answer to compare
            return None, error
        finally:
            stores.current.pop()

    def _compare_errors(self, answer: Answer, other: Exception) -> None:
        text = self.sides[1].text(str(other))
        told = f"{answer.error}: {answer.message} is {answer.other_error}: {text}"
        if field_policy.documented(answer.method, told):
            return
        if answer.other_error != answer.error:
            answer.mismatches.append(("error code", told))
        elif text != answer.message and not field_policy.message_may_differ(
            answer.method, answer.message
        ):
            told = f"{short(answer.message)} is {short(text)}"
            answer.mismatches.append(("message", told))

    def _learn(self, answer: Answer) -> None:
        """Note the ids that the two stores gave to what this call made."""
        if answer.method in MADE_BESIDE:
            mine, theirs = (MADE_BESIDE[answer.method](v) for v in (answer.value, answer.other))
            if mine and theirs and mine != theirs:
                self.sides[1].canonical.setdefault(theirs, mine)
        try:
            ids = [MAKERS[answer.method](value) for value in (answer.value, answer.other)]
        except (KeyError, AttributeError):
            return
        answer.ref = Ref(*ids)
        if ids[0] != ids[1]:
            # A model id is "m-" and 32 digits: the text rule looks at the digits.
            mine, theirs = (i.removeprefix("m-") for i in ids)
            self.sides[1].canonical[theirs] = mine
            if answer.method != "create_experiment":  # "1" may be any text
                self.known[ids[0]] = ids[1]

    def close(self) -> None:
        for side in self.sides:
            stores.close((side.tracking, side.registry))


MAKERS: dict[str, Callable[[Any], str]] = {
    "create_experiment": str,
    "create_run": lambda run: str(run.info.run_id),
    "create_logged_model": lambda model: str(model.model_id),
    "create_webhook": lambda webhook: str(webhook.webhook_id),
}
"""By method the id of what it has made; the tests of a family add its own."""

MADE_BESIDE: dict[str, Callable[[Any], str | None]] = {}
"""By method the id of an experiment that it may have made besides, or that shows one."""


def _code(error: Exception) -> str:
    if isinstance(error, MlflowException):
        return str(error.error_code)
    return type(error).__name__  # what MLflow lets through raw, we let through raw


def _told(error: Exception | None, value: Any) -> str:
    return short(value) if error is None else f"{_code(error)} ({short(str(error))})"


@contextmanager
def _same_chance(seed: str) -> Iterator[None]:
    """Let both stores draw the same uuids and random names, so that run ids tie-break alike."""
    generator, state = random.Random(seed), random.getstate()
    real = uuid.uuid4
    random.seed(seed)
    uuid.uuid4 = lambda: uuid.UUID(int=generator.getrandbits(128), version=4)
    try:
        yield
    finally:
        uuid.uuid4 = real
        random.setstate(state)


def open_pair(folder: Path, template: Template, factory: Factory, seed: int = 0) -> Pair:
    """A fresh pair in this folder."""
    (folder / "other").mkdir(parents=True)
    oracle = stores.open_sql(template[0])
    stores.ids[oracle[0].db_uri] = itertools.count(1)
    other = factory(folder / "other")
    made = Pair(oracle, other, template[1][0], seed)
    made.folder = folder
    return made
