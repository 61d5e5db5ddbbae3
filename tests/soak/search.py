"""A process that searches, and misses nothing that was acknowledged before it began to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from .log import BATCH_PAIRS, marked
from .notes import Call, Notes, recent
from .process import Life, Orders
from .watch import Watch

__all__ = ["search"]

_PAGE = 50
_RUNS = 25
_LOGGED = ("log_metric", "log_param", "set_tag", "log_batch")


class _Searcher:
    """A client, and the notes of those whose calls it looks for."""

    def __init__(self, life: Life, orders: Orders) -> None:
        self._life = life
        self._orders = orders
        self._rng = life.rng
        self._watch = Watch()
        self._notes = Notes(life.folder / f"times-{life.slot}.jsonl")
        self._client: Any = None

    def run(self) -> None:
        """Search until told to end."""
        questions = (
            self._search_runs, self._search_best, self._search_page, self._get_run,
            self._get_metric_history, self._get_model_version,
        )  # fmt: skip
        self._ask("open and search", self._search_runs)
        while True:
            self._orders.rest(self._rng.expovariate(self._life.rate))
            question = self._rng.choice(questions)
            self._ask(question.__name__.removeprefix("_"), question)

    def _ask(
        self, kind: str, question: Callable[[Sequence[Call]], Callable[[], None] | None]
    ) -> None:
        known = recent(_notes_of_loggers(self._life.folder))
        with self._watch as watch:
            if self._client is None:
                self._client = MlflowClient(self._life.uri, self._life.uri)
            check = question(known)
        if check is not None:
            self._notes.acknowledge(Call(0, kind, ""), "", watch.took)
            check()

    def _one(self, known: Sequence[Call], *kinds: str) -> Call | None:
        """One acknowledged call of these kinds."""
        found = [call for call in known if call.kind in kinds]
        return self._rng.choice(found) if found else None

    def _search_runs(self, known: Sequence[Call]) -> Callable[[], None] | None:
        """The one run that has a param or a tag."""
        call = self._one(known, "log_param", "set_tag", "log_batch")
        if call is None:
            return None
        kind = "tags" if call.kind == "set_tag" else "params"
        condition = f"{kind}.{marked(call.mark)} = '{call.mark}'"
        found = self._client.search_runs(["0"], condition)

        def check() -> None:
            assert [run.info.run_id for run in found] == [call.about], (condition, call)
            _check_data(found[0], known)

        return check

    def _search_best(self, known: Sequence[Call]) -> Callable[[], None] | None:
        """The run with the highest loss; losses are marks, which only grow."""
        losses = [call.mark for call in known if call.kind == "log_metric"]
        if not losses:
            return None
        found = self._client.search_runs(["0"], order_by=["metrics.loss DESC"], max_results=1)

        def check() -> None:
            assert found, "no run at all is found"
            assert found[0].data.metrics.get("loss", -1) >= max(losses), (found[0], max(losses))

        return check

    def _search_page(self, known: Sequence[Call]) -> Callable[[], None]:
        """The runs that were logged to lately, all at once."""
        runs = sorted({call.about for call in known if call.about})
        wanted = self._rng.sample(runs, min(len(runs), _RUNS)) or ["none"]
        names = ", ".join(f"'{run_id}'" for run_id in wanted)
        found = self._client.search_runs(
            ["0"], f"attributes.run_id IN ({names})", order_by=["metrics.batch"], max_results=_PAGE
        )

        def check() -> None:
            assert {run.info.run_id for run in found} | {"none"} == {*wanted, "none"}
            for run in found:
                _check_data(run, known)

        return check

    def _get_run(self, known: Sequence[Call]) -> Callable[[], None] | None:
        call = self._one(known, *_LOGGED)
        if call is None:
            return None
        run = self._client.get_run(call.about)
        return lambda: _check_data(run, known)

    def _get_metric_history(self, known: Sequence[Call]) -> Callable[[], None] | None:
        call = self._one(known, "log_metric")
        if call is None:
            return None
        found = self._client.get_metric_history(call.about, "loss")

        def check() -> None:
            logged = {c.mark for c in known if (c.kind, c.about) == ("log_metric", call.about)}
            values = [point.value for point in found]
            assert len(values) == len(set(values)), f"a point is doubled in {call.about}"
            assert logged <= set(values), (call, logged - set(values))

        return check

    def _get_model_version(self, known: Sequence[Call]) -> Callable[[], None] | None:
        call = self._one(known, "create_model_version")
        if call is None:
            return None
        assert call.answer is not None
        name, _, number = call.answer.partition("/")
        version = self._client.get_model_version(name, number)

        def check() -> None:
            assert version.tags == {marked(call.mark): str(call.mark)}, (call, version)

        return check


def _check_data(run: Run, known: Sequence[Call]) -> None:
    """All that was acknowledged for a run is in it."""
    data = run.data
    for call in known:
        if call.about != run.info.run_id:
            continue
        pairs = {marked(call.mark): str(call.mark)}
        if call.kind == "log_batch":
            pairs |= {marked(call.mark, n): str(call.mark) for n in range(BATCH_PAIRS)}
        if call.kind in ("log_param", "log_batch"):
            assert pairs.items() <= data.params.items(), (call, data.params)
        if call.kind in ("set_tag", "log_batch"):
            assert pairs.items() <= data.tags.items(), call
        if call.kind in ("log_metric", "log_batch"):
            name = call.kind.replace("log_metric", "loss").removeprefix("log_")
            assert data.metrics[name] >= call.mark, (call, data.metrics)


def _notes_of_loggers(folder: Path) -> list[Path]:
    return sorted(folder.glob("notes-*.jsonl"))


def search(life: Life, orders: Orders) -> None:
    """Search until told to end."""
    _Searcher(life, orders).run()
