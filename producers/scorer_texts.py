"""Serialized scorers: the model in one, which may be an endpoint of the gateway."""

from __future__ import annotations

import json
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchTraceUtils

__all__ = ["check_online", "endpoint_of", "model_in", "named_or_kept", "named_or_none"]


def model_in(text: str) -> str | None:
    """The model that a serialized scorer names; anything that is no scorer is refused."""
    from mlflow.genai.scorers.scorer_utils import (
        extract_model_from_serialized_scorer,
        validate_scorer_model,
    )

    model: str | None = extract_model_from_serialized_scorer(json.loads(text))
    validate_scorer_model(model)
    return model


def endpoint_of(store: Any, text: str, model: str | None) -> str:
    """A text as it is kept: an endpoint of the gateway goes by its id there, not by its name."""
    from mlflow.genai.scorers.scorer_utils import extract_endpoint_ref, is_gateway_model

    if model is None or not is_gateway_model(model):
        return text
    endpoint = store.get_gateway_endpoint(name=extract_endpoint_ref(model))
    return _with_endpoint(text, endpoint.endpoint_id)


def endpoint_id_in(text: str) -> str | None:
    """The id of the gateway's endpoint that a kept text names, if it names one."""
    from mlflow.genai.scorers.scorer_utils import extract_endpoint_ref, is_gateway_model

    model = _model(text)
    return extract_endpoint_ref(model) if model is not None and is_gateway_model(model) else None


def named_or_none(store: Any, text: str) -> str:
    """A text as it is read: an endpoint by its name, or no model where it is gone."""
    from mlflow.genai.scorers.scorer_utils import extract_endpoint_ref, is_gateway_model

    model = _model(text)
    if model is None or not is_gateway_model(model):
        return text
    try:
        endpoint = store.get_gateway_endpoint(endpoint_id=extract_endpoint_ref(model))
    except MlflowException:
        return _with_endpoint(text, None)
    return _with_endpoint(text, endpoint.name)


def named_or_kept(store: Any, text: str) -> str:
    """The same, but an endpoint that is gone keeps its id."""
    from mlflow.genai.scorers.scorer_utils import extract_endpoint_ref, is_gateway_model

    model = _model(text)
    if model is None or not is_gateway_model(model):
        return json.dumps(json.loads(text))
    try:
        endpoint = store.get_gateway_endpoint(extract_endpoint_ref(model))
    except MlflowException:
        return json.dumps(json.loads(text))
    return _with_endpoint(text, endpoint.name)


def check_online(sample_rate: float, filter_string: str | None) -> None:
    """MLflow's checks of the part of the traces that is to be scored."""
    if not isinstance(sample_rate, int | float):
        raise MlflowException.invalid_parameter_value(
            f"sample_rate must be a number, got {type(sample_rate).__name__}"
        )
    if not 0.0 <= sample_rate <= 1.0:
        raise MlflowException.invalid_parameter_value(
            f"sample_rate must be between 0.0 and 1.0, got {sample_rate}"
        )
    if filter_string:
        if not isinstance(filter_string, str):
            raise MlflowException.invalid_parameter_value(
                f"filter_string must be a string, got {type(filter_string).__name__}"
            )
        SearchTraceUtils.parse_search_filter_for_search_traces(filter_string)


def _model(text: str) -> str | None:
    from mlflow.genai.scorers.scorer_utils import extract_model_from_serialized_scorer

    model: str | None = extract_model_from_serialized_scorer(json.loads(text))
    return model


def _with_endpoint(text: str, ref: str | None) -> str:
    from mlflow.genai.scorers.scorer_utils import (
        build_gateway_model,
        update_model_in_serialized_scorer,
    )

    model = None if ref is None else build_gateway_model(ref)
    return json.dumps(update_model_in_serialized_scorer(json.loads(text), model))
