"""What two stores may differ in: a table of fields, of unordered answers and of error texts.

All that is not named here must be equal, type included. Three things are made equal before that,
everywhere in an answer (see `pair.py`): the artifact root, ids that the two stores gave to the same
thing, and clock readings, which become the number of the call during which they were taken.
"""

from __future__ import annotations

import re
from typing import Literal

Rule = Literal["time", "unordered", "token", "unsaid"]

FIELDS: dict[tuple[str, str], Rule] = {
    # Read from a clock: compared as "which call's time is it", so "unchanged by this call",
    # "the same as the creation" and "later than the other" are all compared exactly.
    ("Experiment", "creation_time"): "time",
    ("Experiment", "last_update_time"): "time",
    ("LoggedModel", "creation_time"): "time",
    ("LoggedModel", "creation_timestamp"): "time",
    ("LoggedModel", "last_updated_timestamp"): "time",
    ("RegisteredModel", "creation_time"): "time",
    ("RegisteredModel", "creation_timestamp"): "time",
    ("RegisteredModel", "last_updated_timestamp"): "time",
    ("ModelVersion", "creation_time"): "time",
    ("ModelVersion", "creation_timestamp"): "time",
    ("ModelVersion", "last_updated_timestamp"): "time",
    ("Prompt", "creation_timestamp"): "time",
    ("PromptVersion", "creation_time"): "time",
    ("PromptVersion", "creation_timestamp"): "time",
    ("PromptVersion", "last_updated_timestamp"): "time",
    ("Webhook", "creation_timestamp"): "time",
    ("Webhook", "last_updated_timestamp"): "time",
    # MLflow selects these without ORDER BY: their order is the planner's, so no promise of MLflow.
    ("RunData", "metric_objs"): "unordered",
    ("RunInputs", "dataset_inputs"): "unordered",
    ("RunInputs", "model_inputs"): "unordered",
    ("RunOutputs", "model_outputs"): "unordered",
    ("DatasetInput", "tags"): "unordered",
    ("LoggedModel", "metrics"): "unordered",
    ("RegisteredModel", "latest_version"): "unordered",
    ("RegisteredModel", "latest_versions"): "unordered",
    ("ModelVersion", "aliases"): "unordered",
    ("PromptVersion", "aliases"): "unordered",
    ("Webhook", "events"): "unordered",
    # Opaque to callers; compared decoded (a logged-model token holds experiment ids).
    ("PagedList", "token"): "token",
}

# Headings of docs/differences.md.
WRONG_TYPES = "Arguments of a wrong type"
WHOLE_NUMBERS = "Times and steps are whole numbers"
SURROGATES = "Lone surrogates"
EMPTY_IDS = "Experiment ids"
TWO_REASONS = "Calls that are wrong in two ways"

RETURNS: dict[str, Rule] = {
    "_search_datasets": "unordered",
    "_get_deleted_runs": "unordered",
    "_get_deleted_logged_models": "unordered",
    "get_latest_versions": "unordered",
}

# Error texts that only the database could have written: (method, pattern of MLflow's message, why).
# The error code must be equal nevertheless.
MESSAGES: list[tuple[str, str, str]] = [
    ("*", r"\(sqlite3\.\w+\)|\[SQL: ", "SQLAlchemy quotes the SQL statement that failed"),
    ("*", r"sqlalche\.me|SQLAlchemy|sqlalchemy\.", "SQLAlchemy's own words"),
    ("*", r"Python int too large to convert to SQLite INTEGER", "SQLite's driver"),
    ("*", r"Error binding parameter|type '\w+' is not supported", "SQLite's driver"),
    ("*", r"codec can't encode", "SQLite's driver on lone surrogates"),
    ("*", r"must be real number", "Python's words for a number that is none"),
    ("*", r"object( '\w+')? has no attribute", "Python's words for MLflow's own attributes"),
    (
        "delete_experiment_tag",
        r"in experiment with id (?!\d+$)",
        "MLflow repeats the id as it was written",
    ),
]

_EXPERIMENT_WRITES = (
    "restore_experiment|set_experiment_tag|create_run|create_logged_model|_hard_delete_experiment"
)
_PYTHON = "(INTERNAL_ERROR|TypeError|AttributeError|ValueError|OverflowError)"

# Calls that both stores refuse, each in its own way: (method, "<MLflow's code>: <its message> is
# <our code>: <our message>" as a pattern, the heading in docs/differences.md that says why).
# Where one of them does not refuse at all, see test_differences.py.
DIFFERENCES: list[tuple[str, str, str]] = [
    ("*", r" is INVALID_PARAMETER_VALUE: [\w.]+: Input should be a valid \w+$", WRONG_TYPES),
    ("*", rf"^{_PYTHON}: (?P<text>.+) is {_PYTHON}: (?P=text)$", WRONG_TYPES),
    ("create_webhook", r"'int' object has no attribute 'encode'", WRONG_TYPES),
    ("log_batch", r"^INTERNAL_ERROR: must be real number.* is TypeError: ", WRONG_TYPES),
    ("log_metric|log_batch", r" is INVALID_PARAMETER_VALUE: nan is no whole", WHOLE_NUMBERS),
    ("log_param", r"codec can't encode.* is INVALID_PARAMETER_VALUE: Changing param", SURROGATES),
    ("log_batch", r"^INVALID_PARAMETER_VALUE: Changing param.*codec can't encode", SURROGATES),
    (
        "log_metric",
        r": (The run|Run with) .* is INVALID_PARAMETER_VALUE: Invalid value",
        TWO_REASONS,
    ),
    (
        _EXPERIMENT_WRITES,
        r" is INVALID_PARAMETER_VALUE: Invalid experiment ID '(None)?'",
        EMPTY_IDS,
    ),
]

# After the first method, MLflow's answers to the second still hold what was deleted for good.
LEFTOVERS: dict[str, set[str]] = {"_hard_delete_run": {"_search_datasets"}}


def documented(method: str, told: str) -> str | None:
    """The heading under which a difference of error codes is documented, or None."""
    for names, pattern, heading in DIFFERENCES:
        if (names == "*" or method in names.split("|")) and re.search(pattern, told, re.DOTALL):
            return heading
    return None


def message_may_differ(method: str, message: str) -> str | None:
    """Why this error's text need not be MLflow's, or None where it must be."""
    for name, pattern, why in MESSAGES:
        if name in ("*", method) and re.search(pattern, message):
            return why
    return None
