"""Scorers of one's own code that MLflow 3.18 can run in containers; older versions cannot."""

from __future__ import annotations

import json
import logging

from mlflow.exceptions import MlflowException

from .older_mlflow import SINCE_3_18, is_custom_code, since_3_18

__all__ = ["check_in_container", "runs_in_container", "scored_in_containers"]

_log = logging.getLogger(__name__)


def scored_in_containers(serialized_scorer: str) -> bool:
    """Whether a scorer holds code, and this server runs such scorers in containers."""
    if not SINCE_3_18:
        return False
    enabled = since_3_18("mlflow.genai.scorers.scorer_utils", "container_scoring_enabled")
    return is_custom_code(serialized_scorer) and bool(enabled())


def check_in_container(name: str, serialized_scorer: str) -> None:
    """Refuse code that no container scores traces with on its own, in MLflow's words.

    Raises:
        MlflowException: why not.
    """
    store = since_3_18("mlflow.store.tracking.sqlalchemy_store", "SqlAlchemyStore")
    # A static method that reads no database.
    store._validate_online_custom_scorer(name, json.loads(serialized_scorer))  # noqa: SLF001  # nothing public checks it


def runs_in_container(name: str, serialized_scorer: str) -> bool:
    """Whether it does now: a newer version, or the server's settings, may differ from then."""
    if not scored_in_containers(serialized_scorer):
        return False
    try:
        check_in_container(name, serialized_scorer)
    except MlflowException as error:
        _log.warning("Skipping online scorer %r: %s", name, error.message)
        return False
    return True
