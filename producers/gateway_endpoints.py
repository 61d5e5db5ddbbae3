"""The gateway's endpoints as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import math
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from mlflow.entities import (
    ExperimentTag,
    FallbackConfig,
    GatewayEndpoint,
    GatewayEndpointModelConfig,
    GatewayEndpointModelMapping,
    GatewayEndpointTag,
    RoutingStrategy,
)
from mlflow.entities.gateway_endpoint import FallbackStrategy, GatewayModelLinkageType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    ErrorCode,
)
from mlflow.utils.mlflow_tags import (
    MLFLOW_EXPERIMENT_IS_GATEWAY,
    MLFLOW_EXPERIMENT_SOURCE_ID,
    MLFLOW_EXPERIMENT_SOURCE_TYPE,
)

from mlflow_ledger.query import (
    GatewayEndpointRow,
    GatewayMapping,
    Item,
    definition_of,
    experiment_row,
    gateway_endpoint_rows,
    item_named,
    item_of,
)
from mlflow_ledger.schemas import (
    Event,
    GatewayEndpointContent,
    GatewayEndpointCreated,
    GatewayEndpointDeleted,
    GatewayEndpointModel,
    GatewayEndpointTagDeleted,
    GatewayEndpointTagsSet,
    GatewayEndpointUpdated,
    GatewayModelAttached,
    GatewayModelCreated,
    GatewayModelDetached,
    ItemTagsContent,
    KeyValue,
    Reason,
    Refused,
)

from .edge import text
from .experiments import Experiments, experiment_no
from .gateway_models import existing_model, model_entity
from .items import existing_item, item_by_either

__all__ = ["GatewayEndpoints", "existing_endpoint"]

_KIND = GatewayEndpointCreated.kind


class GatewayEndpoints(Experiments):
    """Create, get, list, change, tag and delete endpoints; attach models to them."""

    def create_gateway_endpoint(
        self,
        name: str,
        model_configs: list[GatewayEndpointModelConfig],
        created_by: str | None = None,
        routing_strategy: RoutingStrategy | None = None,
        fallback_config: FallbackConfig | None = None,
        experiment_id: str | None = None,
        usage_tracking: bool = True,
    ) -> GatewayEndpoint:
        """Create an endpoint, and an experiment for its traces where none is given."""
        if not model_configs:
            raise MlflowException(
                "Endpoint must have at least one model configuration", INVALID_PARAMETER_VALUE
            )
        endpoint_id = f"e-{uuid.uuid4().hex}"
        models = _models(model_configs)
        self._ask(lambda db: _check_all_defined(db, models))
        if usage_tracking and experiment_id is None:
            experiment_id = self._experiment_of_endpoint(name, endpoint_id)
        with_fallback = fallback_config is not None or any(_is_fallback(m) for m in models)
        event = GatewayEndpointCreated(
            endpoint_id=endpoint_id,
            name=name,
            models=models,
            routing_strategy=routing_strategy.value if routing_strategy else None,
            fallback=_fallback(fallback_config) if with_fallback else None,
            experiment_id=None if experiment_id is None else str(experiment_no(experiment_id)),
            usage_tracking=True if usage_tracking is None else usage_tracking,
            content=GatewayEndpointContent(created_by=created_by, last_updated_by=created_by),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            _check_all_defined(db, models, event)
            _check_free(db, name, event)
            _check_experiment(db, event.experiment_id, event)
            _check_uses(models, event)
            return [event]

        self._decide(decide)
        return self.get_gateway_endpoint(endpoint_id)

    def get_gateway_endpoint(
        self, endpoint_id: str | None = None, name: str | None = None
    ) -> GatewayEndpoint:
        """An endpoint by its id or its name."""
        named = {"endpoint_id": endpoint_id, "name": name}

        def ask(db: sqlite3.Connection) -> GatewayEndpointRow:
            return _row(db, item_by_either(db, _KIND, "GatewayEndpoint", named))

        return _entity(self._ask(ask))

    def list_gateway_endpoints(
        self, provider: str | None = None, secret_id: str | None = None
    ) -> list[GatewayEndpoint]:
        """All endpoints with a model, or with one of a provider, with a secret."""
        rows: list[GatewayEndpointRow] = self._ask(gateway_endpoint_rows)
        if not provider and not secret_id:
            return [_entity(row) for row in rows if row.mappings]
        matching = [
            (mapping.model.item.created_ms, mapping.item.created_ms, row.item.item_id, row)
            for row in rows
            for mapping in row.mappings
            if (not provider or mapping.model.item.fields["provider"] == provider)
            and (not secret_id or mapping.model.secret_id == secret_id)
        ]
        found = {endpoint_id: row for *_, endpoint_id, row in sorted(matching, key=_by_age)}
        return [_entity(row) for row in found.values()]

    def update_gateway_endpoint(
        self,
        endpoint_id: str,
        name: str | None = None,
        updated_by: str | None = None,
        routing_strategy: RoutingStrategy | None = None,
        fallback_config: FallbackConfig | None = None,
        model_configs: list[GatewayEndpointModelConfig] | None = None,
        experiment_id: str | None = None,
        usage_tracking: bool | None = None,
    ) -> GatewayEndpoint:
        """Change what is given; models that are given take the place of those before."""
        row = self._ask(lambda db: _row(db, existing_endpoint(db, endpoint_id)))
        if usage_tracking and experiment_id is None and row.experiment_id is None:
            experiment_id = self._experiment_of_endpoint(name or row.item.name, endpoint_id)
        models = None if model_configs is None else _models(model_configs)
        with_fallback = fallback_config is not None or models is not None
        event = GatewayEndpointUpdated(
            endpoint_id=endpoint_id,
            name=name,
            models=models,
            routing_strategy=None if routing_strategy is None else routing_strategy.value,
            fallback=_fallback(fallback_config) if with_fallback else None,
            experiment_id=None if experiment_id is None else str(experiment_no(experiment_id)),
            usage_tracking=usage_tracking,
            content=GatewayEndpointContent(last_updated_by=updated_by or None),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            item = existing_endpoint(db, endpoint_id, event)
            if name is not None and name != item.name:
                _check_free(db, name, event)
            _check_experiment(db, event.experiment_id, event)
            for model_definition_id in {model.model_definition_id for model in models or ()}:
                existing_model(db, model_definition_id, event)
            _check_uses(models or (), event)
            return [event]

        self._decide(decide)
        return self.get_gateway_endpoint(endpoint_id)

    def delete_gateway_endpoint(self, endpoint_id: str) -> None:
        """Delete an endpoint, with all that belongs to it."""
        self._about_endpoint(GatewayEndpointDeleted(endpoint_id=endpoint_id))

    def attach_model_to_endpoint(
        self,
        endpoint_id: str,
        model_config: GatewayEndpointModelConfig,
        created_by: str | None = None,
    ) -> GatewayEndpointModelMapping:
        """Have an endpoint use one more model."""
        [model] = _models([model_config])
        content = GatewayEndpointContent(created_by=created_by, last_updated_by=created_by or None)
        event = GatewayModelAttached(endpoint_id=endpoint_id, model=model, content=content)

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = _row(db, existing_endpoint(db, endpoint_id, event))
            existing_model(db, model.model_definition_id, event)
            _check_uses([model], event)
            if _linkage(model) in {mapping.item.name for mapping in row.mappings}:
                msg = (
                    f"Model definition '{model.model_definition_id}' is already attached to "
                    f"endpoint '{endpoint_id}'"
                )
                raise Refused(Reason.EXISTS, msg, event)
            return [event]

        self._decide(decide)
        mappings = self._ask(lambda db: _row(db, existing_endpoint(db, endpoint_id))).mappings
        return next(_mapping(found) for found in mappings if found.item.item_id == model.mapping_id)

    def detach_model_from_endpoint(
        self, endpoint_id: str, model_definition_id: str, linkage_type: str | None = None
    ) -> None:
        """Have an endpoint use a model no more; of two linkages one, as MLflow does."""
        attempt = GatewayModelDetached(endpoint_id=endpoint_id, mapping_id="")

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = _row(db, existing_endpoint(db, endpoint_id, attempt))
            linked = {
                mapping.item.fields["linkage_type"]: mapping.item.item_id
                for mapping in row.mappings
                if definition_of(mapping.item) == model_definition_id
                and (not linkage_type or mapping.item.fields["linkage_type"] == linkage_type)
            }
            if not linked:
                linkage = f" with linkage type '{linkage_type}'" if linkage_type else ""
                msg = (
                    f"Model definition '{model_definition_id}' is not attached to "
                    f"endpoint '{endpoint_id}'{linkage}"
                )
                raise Refused(Reason.MISSING, msg, attempt)
            return [attempt.model_copy(update={"mapping_id": linked[min(linked)]})]

        self._decide(decide)

    def set_gateway_endpoint_tag(self, endpoint_id: str, tag: GatewayEndpointTag) -> None:
        """Set a tag of an endpoint."""
        content = ItemTagsContent(tags=[KeyValue(key=tag.key, value=text(tag.value))])
        self._about_endpoint(GatewayEndpointTagsSet(endpoint_id=endpoint_id, content=content))

    def delete_gateway_endpoint_tag(self, endpoint_id: str, key: str) -> None:
        """Delete a tag of an endpoint; one that is not there is no error."""
        self._about_endpoint(GatewayEndpointTagDeleted(endpoint_id=endpoint_id, tag=key))

    def _about_endpoint(self, event: Any) -> None:
        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_endpoint(db, event.endpoint_id, event)
            return [event]

        self._decide(decide)

    def _experiment_of_endpoint(self, name: str | None, endpoint_id: str) -> str:
        """The experiment for an endpoint's traces, which may be there from another one."""
        experiment_name = f"gateway/{name}"
        tags = [
            ExperimentTag(MLFLOW_EXPERIMENT_SOURCE_TYPE, "GATEWAY"),
            ExperimentTag(MLFLOW_EXPERIMENT_SOURCE_ID, endpoint_id),
            ExperimentTag(MLFLOW_EXPERIMENT_IS_GATEWAY, "true"),
        ]
        try:
            return self.create_experiment(experiment_name, tags=tags)
        except MlflowException as error:
            experiment = None
            if error.error_code == ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                experiment = self.get_experiment_by_name(experiment_name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


def existing_endpoint(
    db: sqlite3.Connection,
    endpoint_id: str,
    event: Event | None = None,
    noun: str = "GatewayEndpoint",
) -> Item:
    """An endpoint that must be there.

    Raises:
        Refused: it is not; ``event`` is what the command would have said.
    """
    missing = f"{noun} not found (endpoint_id='{endpoint_id}')"
    return existing_item(db, _KIND, endpoint_id, missing, event)


def _row(db: sqlite3.Connection, item: Item) -> GatewayEndpointRow:
    [row] = gateway_endpoint_rows(db, [item.item_id])
    return row


def _models(configs: Iterable[GatewayEndpointModelConfig]) -> list[GatewayEndpointModel]:
    return [
        GatewayEndpointModel(
            mapping_id=f"m-{uuid.uuid4().hex}",
            model_definition_id=config.model_definition_id,
            linkage_type=config.linkage_type.value,
            weight=1.0 if config.weight is None else config.weight,
            fallback_order=config.fallback_order,
        )
        for config in configs
    ]


def _is_fallback(model: GatewayEndpointModel) -> bool:
    return model.linkage_type == GatewayModelLinkageType.FALLBACK.value


def _linkage(model: GatewayEndpointModel) -> str:
    return f"{model.model_definition_id}/{model.linkage_type}"


def _fallback(config: FallbackConfig | None) -> str:
    """What MLflow writes of a fallback, without the models, which the mappings name."""
    strategy = config.strategy.value if config and config.strategy else None
    return json.dumps(
        {"max_attempts": config.max_attempts if config else None, "strategy": strategy}
    )


def _check_all_defined(
    db: sqlite3.Connection, models: Sequence[GatewayEndpointModel], event: Event | None = None
) -> None:
    wanted = {model.model_definition_id for model in models}
    there = {found for found in wanted if item_of(db, GatewayModelCreated.kind, found)}
    if missing := wanted - there:
        msg = f"Model definitions not found: {', '.join(missing)}"
        raise Refused(Reason.MISSING, msg, event)


def _check_free(db: sqlite3.Connection, name: str | None, event: Event) -> None:
    if name is not None and item_named(db, _KIND, name):
        msg = f"Endpoint with name '{name}' already exists"
        raise Refused(Reason.BAD_REQUEST, msg, event)


def _check_experiment(db: sqlite3.Connection, experiment_id: str | None, event: Event) -> None:
    if experiment_id is not None and experiment_row(db, int(experiment_id)) is None:
        msg = f"No Experiment with id={experiment_id} exists"
        raise Refused(Reason.BAD_REQUEST, msg, event)


def _check_uses(models: Sequence[GatewayEndpointModel], event: Event) -> None:
    if not all(math.isfinite(model.weight) for model in models):
        raise Refused(Reason.INVALID, "A weight must be a finite number", event)
    if len({_linkage(model) for model in models}) < len(models):
        msg = "A model definition is named twice for one linkage type"
        raise Refused(Reason.BAD_REQUEST, msg, event)


def _by_age(found: tuple[int, int, str, GatewayEndpointRow]) -> tuple[int, int]:
    return found[0], found[1]


def _mapping(mapping: GatewayMapping) -> GatewayEndpointModelMapping:
    item = mapping.item
    return GatewayEndpointModelMapping(
        mapping_id=item.item_id,
        endpoint_id=item.parent_id,
        model_definition_id=definition_of(item),
        model_definition=model_entity(mapping.model),
        weight=item.fields["weight"],
        linkage_type=GatewayModelLinkageType(item.fields["linkage_type"]),
        fallback_order=item.fields.get("fallback_order"),
        created_at=item.created_ms,
        created_by=item.fields.get("created_by"),
    )


def _entity(row: GatewayEndpointRow) -> GatewayEndpoint:
    item, fallback = row.item, None
    fields = item.fields
    if fields.get("fallback"):
        said = json.loads(fields["fallback"])
        strategy = FallbackStrategy(said["strategy"]) if said["strategy"] else None
        fallback = FallbackConfig(strategy=strategy, max_attempts=said["max_attempts"])
    routing = fields.get("routing_strategy")
    return GatewayEndpoint(
        endpoint_id=item.item_id,
        name=item.name,
        created_at=item.created_ms,
        last_updated_at=item.updated_ms,
        model_mappings=[_mapping(mapping) for mapping in row.mappings],
        tags=[GatewayEndpointTag(key=key, value=value) for key, value in row.tags.items()],
        created_by=fields.get("created_by"),
        last_updated_by=fields.get("last_updated_by"),
        routing_strategy=RoutingStrategy(routing) if routing else None,
        fallback_config=fallback,
        experiment_id=row.experiment_id,
        usage_tracking=fields.get("usage_tracking", True),
        workspace=item.workspace,
    )
