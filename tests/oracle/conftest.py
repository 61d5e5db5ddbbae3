"""Fixtures that give each test, or each module, a pair of MLflow's stores and ours."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import Phase, settings

# MLflow reads the key once, when its models are imported; both stores must have the same.
os.environ.setdefault("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", Fernet.generate_key().decode())

from .pair import Factory, Pair, Template, open_pair
from .stores import (
    make_kafka_ledger,
    make_ledger,
    make_self,
    make_template,
    make_thin_ledger,
    wants_kafka,
    wants_self,
    wants_share,
    wants_thin,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--oracle-self",
        action="store_true",
        help="hold MLflow's store against itself instead of ours: a test of the harness",
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """An empty MLflow database, migrated once for the whole session."""
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def factory(request: pytest.FixtureRequest, template: Template) -> Factory:
    """What makes the store that is held against the oracle."""
    if wants_self() or request.config.getoption("--oracle-self", default=False):
        return make_self(template[0])
    if wants_thin():
        return make_thin_ledger
    return make_kafka_ledger if wants_kafka() else make_ledger


@pytest.fixture
def pair(tmp_path: Path, template: Template, factory: Factory) -> Iterator[Pair]:
    """A fresh, empty pair of stores."""
    made = open_pair(tmp_path, template, factory)
    yield made
    made.close()


settings.register_profile("long")  # read by test_machine.py, which sets its own bounds
settings.register_profile("as-found", phases=[each for each in Phase if each != Phase.shrink])


def pytest_configure(config: pytest.Config) -> None:
    if wants_kafka() or wants_thin():  # where to make a history small takes too long
        settings.load_profile(config.getoption("--hypothesis-profile") or "as-found")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give histories their time, and leave out what a share on Kafka need not have."""
    ours = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in ours:
        if "histories" in item.name:  # Hypothesis takes five minutes to make one small
            item.add_marker(pytest.mark.timeout(900))
    if wants_share():
        alike: defaultdict[str, list[pytest.Item]] = defaultdict(list)
        for item in sorted(ours, key=lambda item: item.nodeid):
            if "pair" in getattr(item, "fixturenames", ()):
                alike[item.nodeid.partition("[")[0]].append(item)
        spared = {
            item
            for cases in alike.values()
            for item in cases
            if item not in (cases[0], cases[len(cases) // 2], cases[-1])
        }
        config.hook.pytest_deselected(items=list(spared))
        items[:] = [item for item in items if item not in spared]
