# Every target works in a bare clone: it makes .venv, from requirements.lock, before it needs it.
# `make PYTHON=python3.12 test` picks another interpreter.

PYTHON ?= python3
UV     := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN    := .venv/bin
READY  := .venv/.ready
OLDEST := .venv-oldest

FOLDERS := schemas bus consumers query producers
STORE   := ledger:./demo-store
VERSION := models:/wine-classifier/2

TESTS_OF_OLDEST := $(patsubst %,tests/integration/test_%.py,script gc server)

# The demo's registry is its store, whatever the caller's environment says.
unexport MLFLOW_REGISTRY_URI

.PHONY: demo kafka-demo test test-oldest test-kafka oracle-kafka lint types lock bench soak clean

demo: $(READY)
	rm -rf demo-store
	MLFLOW_TRACKING_URI=$(STORE) $(BIN)/python examples/sweep.py
	$(BIN)/mlflow-ledger sql $(STORE) "$$(cat examples/leaderboard.sql)"
	$(BIN)/mlflow-ledger lineage $(STORE) $(VERSION)
	$(BIN)/mlflow-ledger replay $(STORE) $(VERSION)
	$(BIN)/mlflow-ledger audit $(STORE) $(VERSION)

# The set of compose.yaml as plain processes, and the demo on it; it wants Java and Maven.
kafka-demo: $(READY)
	$(BIN)/python -m tests.kafka.demo

test: $(READY)
	$(BIN)/pytest

# The oldest MLflow that we say we work with, in an environment of its own.
test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/pytest $(TESTS_OF_OLDEST)

# What takes longer: brokers that are killed, hosts, services and browsers on Kafka; histories of
# each family there; and the tours of the UI on MLflow's own store.
test-kafka: $(READY)
	$(BIN)/pytest -m brokers

# The oracle on a ledger in Kafka, topics of its own for each case: all tests, of their arguments
# and histories a share. ORACLE=all takes all of these too, which is more than an hour.
ORACLE ?= 1
oracle-kafka: $(READY)
	MLFLOW_LEDGER_ORACLE_KAFKA=$(ORACLE) $(BIN)/pytest -m '' tests/oracle

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

# What is checked is the package as it is installed: mypy cannot follow an editable install.
types: $(READY)
	rm -rf build
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --target build/types .
	MYPYPATH=build/types $(BIN)/mypy $(FOLDERS:%=-p mlflow_ledger.%)

# uv.lock would name the registry of whoever made it; this names versions and hashes only.
lock: $(UV)
	$(UV) pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock
	echo 'mlflow==3.12.*' | $(UV) pip compile pyproject.toml --constraint - --group dev --universal \
	    --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --quiet \
	    --output-file requirements-oldest.lock

bench: $(READY)
	$(BIN)/python -m benchmarks

# About 15 minutes; `python -m tests.soak kills --help` says what can be changed.
soak: $(READY)
	$(BIN)/python -m tests.soak kills
	$(BIN)/python -m tests.soak day
	MLFLOW_LEDGER_TEST_AWAY_S=30 $(BIN)/pytest -n 0 tests/kafka/test_brokers.py

clean:
	rm -rf build dist demo-store .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): requirements.lock pyproject.toml | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "mlflow-ledger needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q $(FOLDERS) tests
	touch $@

$(OLDEST)/.ready: requirements-oldest.lock pyproject.toml | $(UV)
	test -x $(OLDEST)/bin/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(OLDEST)
	$(UV) pip sync --quiet --compile-bytecode --python $(OLDEST)/bin/python \
	    --require-hashes requirements-oldest.lock
	$(UV) pip install --quiet --python $(OLDEST)/bin/python --no-deps --no-build-isolation --editable .
	touch $@

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet 'uv>=0.9'
