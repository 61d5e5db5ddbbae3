"""How long experiments keep their traces, where MLflow's server is told to archive them."""

from __future__ import annotations

import logging
from typing import Any

from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

__all__ = ["with_retention"]

_logger = logging.getLogger(__name__)


def with_retention(store: Any, *experiments: Experiment) -> list[Experiment]:
    """Experiments that say how long they keep their traces, if the server archives any."""
    broader = _broader(store)
    if broader is not None:
        from mlflow.store.tracking.utils.trace_archival import (
            _resolve_effective_trace_archival_retention,
        )

        retention, allowlist = broader
        for experiment in experiments:
            experiment.effective_trace_archival_retention = (
                _resolve_effective_trace_archival_retention(
                    experiment_id=experiment.experiment_id,
                    experiment_tags=experiment.tags,
                    broader_retention=retention,
                    long_retention_allowlist=allowlist,
                )
            )
    return list(experiments)


def _broader(store: Any) -> tuple[str, set[str]] | None:
    """What holds where an experiment says nothing, and which ones may keep theirs longer."""
    try:
        from mlflow.tracing.trace_archival_config import get_trace_archival_server_config
    except ImportError:  # MLflow 3.12 archives nothing
        return None
    from mlflow.utils.validation import _validate_trace_archival_retention_string

    try:
        config = get_trace_archival_server_config()
        if config is None or not config.enabled:
            return None
        given = {"default_retention": config.retention}
        resolved = store.resolve_trace_archival_config(
            default_trace_archival_location=config.location, **given
        ).with_broader_defaults(default_location=config.location, **given)
        retention = _validate_trace_archival_retention_string(resolved.config.retention)
    except MlflowException:
        _logger.warning(
            "Ignoring invalid trace archival configuration while resolving effective "
            "experiment retention.",
            exc_info=True,
        )
        return None
    return retention, set(config.long_retention_allowlist)
