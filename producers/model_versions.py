"""Versions, stages and aliases of registered models, as MLflow's registry store has them."""

from __future__ import annotations

import sqlite3
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any

from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from mlflow.entities.model_registry.model_version_stages import (
    ALL_STAGES,
    DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS,
    STAGE_NONE,
    get_canonical_stage,
)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.tracking.client import MlflowClient
from mlflow.utils.validation import (
    _REGISTERED_MODEL_ALIAS_LATEST,
    _validate_model_alias_name,
    _validate_model_alias_name_reserved,
    _validate_model_name,
    _validate_model_version_tag,
    _validate_tag_name,
)

from mlflow_ledger.bus import acting_in
from mlflow_ledger.consumers import Foreseen
from mlflow_ledger.query import (
    VersionRow,
    alias_version,
    latest_versions,
    logged_model_row,
    version_row,
)
from mlflow_ledger.schemas import (
    DescriptionContent,
    Event,
    KeyValue,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionDeleted,
    ModelVersionEvent,
    ModelVersionStageChanged,
    ModelVersionTagDeleted,
    ModelVersionTagSet,
    ModelVersionUpdated,
    Reason,
    Refused,
    RegisteredModelAliasSet,
    TagContent,
)

from .edge import first, text
from .older_mlflow import version_number
from .promotion_checks import Checked, Unchecked, check_rules, rules_to_check
from .registered_models import existing_model
from .registry_entities import version_entity
from .version_searching import VersionSearching

__all__ = ["ModelVersions"]

_TRIES = 10


class ModelVersions(VersionSearching):
    """Create, get, search, tag, promote, alias and delete versions."""

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: list[ModelVersionTag] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> ModelVersion:
        """Create the next version of a registered model."""
        _validate_model_name(name)
        for tag in tags or ():
            _validate_model_version_tag(tag.key, tag.value)
        location, source_run_id, source_model_id = self._origin(source)
        if not run_id:
            run_id = source_run_id or (self._run_of(model_id) if model_id else run_id)
        unique = {tag.key: tag.value for tag in tags or ()}
        version_uid = str(uuid.uuid4())
        carried = self._travelling(description)

        def say(uid: str) -> ModelVersionCreated:
            return ModelVersionCreated(
                model_uid=uid,
                name=name,
                version_uid=version_uid,
                run_id=run_id,
                model_id=model_id or source_model_id,
                content=ModelVersionCreatedContent(
                    source=source,
                    storage_location=location,
                    run_link=run_link,
                    description=carried,
                    tags=[KeyValue(key=key, value=text(value)) for key, value in unique.items()],
                ),
            )

        facts = self._ledger.known.model(name)
        foreseen = Foreseen(
            [say(facts.uid)] if facts else [],
            lambda known: facts is not None and known.model(name) == facts,
            lambda known, state: known.look_at_model(state, name),
        )
        number = facts.versions + 1 if facts else 0
        row = self._about(
            name,
            say,
            lambda db: _version_of_uid(db, version_uid),
            foreseen,
            lambda envelope: _new_version(
                first(foreseen.events), number, envelope.time_ms, description
            ),
        )
        return version_entity(row, self._arrived)

    def get_model_version(self, name: str, version: str | int) -> ModelVersion:
        """One version with its aliases."""
        return self._entity(lambda db: _existing(db, name, version))

    def update_model_version(
        self, name: str, version: str | int, description: str | None = None
    ) -> ModelVersion:
        """Give a version another description, or none."""
        text = DescriptionContent(description=self._travelling(description))
        self._about_version(name, version, ModelVersionUpdated, content=text)
        return self.get_model_version(name, version)

    def transition_model_version_stage(
        self, name: str, version: str | int, stage: str, archive_existing_versions: bool
    ) -> ModelVersion:
        """Move a version to a stage; where asked, archive the others that stand there."""
        canonical = get_canonical_stage(stage)
        if archive_existing_versions and canonical not in DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS:
            raise MlflowException(
                "Model version transition cannot archive existing model versions "
                f"because '{stage}' is not an Active stage. Valid stages are "
                f"{DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS}"
            )
        self._promote(
            name,
            version,
            ModelVersionStageChanged,
            ("stage", canonical),
            stage=canonical,
            archive_existing=bool(archive_existing_versions),
        )
        return self.get_model_version(name, version)

    def delete_model_version(self, name: str, version: str | int) -> None:
        """Delete a version; its number stays taken."""
        self._about_version(name, version, ModelVersionDeleted)

    def set_model_version_tag(self, name: str, version: str | int, tag: ModelVersionTag) -> None:
        """Set a tag of a version."""
        _validate_model_name(name)
        version_number(version)
        _validate_model_version_tag(tag.key, tag.value)
        self._about_version(
            name,
            version,
            ModelVersionTagSet,
            tag=tag.key,
            content=TagContent(value=text(tag.value)),
        )

    def delete_model_version_tag(self, name: str, version: str | int, key: str) -> None:
        """Delete a tag of a version, if it is there."""
        _validate_model_name(name)
        version_number(version)
        _validate_tag_name(key)
        self._about_version(name, version, ModelVersionTagDeleted, tag=key)

    def set_registered_model_alias(self, name: str, alias: str, version: str | int) -> None:
        """Let an alias name a version."""
        _validate_model_name(name)
        _validate_model_alias_name(alias)
        _validate_model_alias_name_reserved(alias)
        self._promote(name, version, RegisteredModelAliasSet, ("alias", alias), alias=alias)

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that an alias names; ``latest`` is the one with the highest number."""
        _validate_model_name(name)
        _validate_model_alias_name(alias)
        if alias.lower() == _REGISTERED_MODEL_ALIAS_LATEST:
            versions = self.get_latest_versions(name)
            if not versions:
                raise Refused(Reason.MISSING, f"Latest version not found for model {name}.")
            return max(versions, key=lambda version: int(version.version))

        def question(db: sqlite3.Connection) -> VersionRow:
            existing_model(db, name)
            number = alias_version(db, name, alias)
            if number is None:
                raise Refused(Reason.INVALID, f"Registered model alias {alias} not found.")
            return _existing(db, name, number)

        return self._entity(question)

    def get_latest_versions(self, name: str, stages: list[str] | None = None) -> list[ModelVersion]:
        """The latest version of each stage, or of the stages asked for."""

        def question(db: sqlite3.Connection) -> list[VersionRow]:
            rows = latest_versions(db, existing_model(db, name).model_no)
            wanted = {get_canonical_stage(stage) for stage in stages or ALL_STAGES}
            return [row for row in rows if row.stage in wanted]

        return [version_entity(row, self._arrived) for row in self._ask(question)]

    def get_model_version_download_uri(self, name: str, version: str | int) -> str | None:
        """Where the model of a version lies."""
        row: VersionRow = self._ask(lambda db: _existing(db, name, version))
        return row.storage_location or row.source

    def _origin(self, source: str) -> tuple[str | None, str | None, str | None]:
        """Where a source's bytes lie, and the run and logged model it names, if it does."""
        if urllib.parse.urlparse(source).scheme != "models":
            return source, None, None
        parsed: Any = _parse_model_uri(source)
        try:
            return self._place(parsed)
        except Exception as error:
            raise MlflowException(
                f"Unable to fetch model from model URI source artifact location '{source}'."
                f"Error: {error}"
            ) from error

    def _place(self, parsed: Any) -> tuple[str | None, str | None, str | None]:
        if parsed.model_id is not None:
            location, run_id = self._logged_model(parsed.model_id)
            return location, run_id, parsed.model_id
        return self.get_model_version_download_uri(parsed.name, parsed.version), None, None

    def _logged_model(self, model_id: str) -> tuple[str, str | None]:
        """Location and run of a logged model: of this ledger, else of the tracking store in use."""
        row = self._ask(lambda db: logged_model_row(db, model_id))
        if row is not None and row.lifecycle != "deleted":
            return row.artifact_location, row.source_run_id
        model = MlflowClient().get_logged_model(model_id)
        return model.artifact_location, model.source_run_id

    def _run_of(self, model_id: str) -> str | None:
        return self._logged_model(model_id)[1]

    def _entity(self, question: Callable[[sqlite3.Connection], VersionRow]) -> ModelVersion:
        return version_entity(self._ask(question), self._arrived)

    def _about_version(
        self, name: str, version: str | int, kind: type[ModelVersionEvent], /, **fields: Any
    ) -> None:
        """Say something about a version, by its uid."""
        _validate_model_name(name)
        number = version_number(version)
        self._decide(lambda db: [_about(db, name, number, kind, fields)[1]])

    def _promote(
        self,
        name: str,
        version: str | int,
        kind: type[ModelVersionEvent],
        target: tuple[str, str],
        **fields: Any,
    ) -> None:
        """Promote a version to a target, which is alias or stage, and its name.

        Rules that only the producer can check are checked without holding the lock, and once more
        where they have changed meanwhile.
        """
        _validate_model_name(name)
        number = version_number(version)
        checked: Checked | None = None

        def decide(db: sqlite3.Connection) -> list[Event]:
            row, event = _about(db, name, number, kind, fields)
            rules = rules_to_check(db, event.model_uid, target)
            if not rules:
                return [event]
            if checked is None or not checked.covers(row, rules):
                raise Unchecked(row, event, rules)
            return [checked.event(event, target), event]

        for _ in range(_TRIES):
            try:
                self._decide(decide)
            except Unchecked as unchecked:
                checked = check_rules(self._ledger, unchecked, target)
            else:
                return
        raise Refused(Reason.STATE, f"the promotion rules of {name!r} change all the time")


def _about(
    db: sqlite3.Connection,
    name: str,
    number: int,
    kind: type[ModelVersionEvent],
    fields: dict[str, Any],
) -> tuple[VersionRow, ModelVersionEvent]:
    """A version, and an event about it by its uid."""
    row = version_row(db, name, number)
    if row is None:
        unknown = kind(model_uid="", name=name, version_uid="", version=number, **fields)
        raise Refused(
            Reason.MISSING, f"Model Version (name={name}, version={number}) not found", unknown
        )
    uid = _model_uid(db, row.model_no)
    return row, kind(model_uid=uid, name=name, version_uid=row.uid, version=number, **fields)


def _existing(db: sqlite3.Connection, name: str, version: str | int) -> VersionRow:
    _validate_model_name(name)
    number = version_number(version)
    row = version_row(db, name, number)
    if row is None:
        raise Refused(Reason.MISSING, f"Model Version (name={name}, version={number}) not found")
    return row


def _new_version(event: Event, number: int, now_ms: int, description: str | None) -> VersionRow:
    """A version as the state will hold it, but for the number of its model there."""
    assert isinstance(event, ModelVersionCreated)
    assert event.content is not None
    content = event.content
    return VersionRow(
        model_no=0,
        version=number,
        uid=event.version_uid,
        name=event.name,
        workspace=acting_in.get(),
        created_ms=now_ms,
        updated_ms=now_ms,
        description=description,
        user_id=content.user_id,
        stage=STAGE_NONE,
        source=content.source,
        storage_location=content.storage_location,
        run_id=event.run_id,
        run_link=content.run_link,
        model_id=event.model_id,
        tags=sorted((tag.key, tag.value) for tag in content.tags),
        aliases=[],
    )


def _version_of_uid(db: sqlite3.Connection, uid: str) -> VersionRow:
    name, number = db.execute(
        "SELECT name, version FROM model_versions v JOIN registered_models USING (model_no) "
        "WHERE v.uid = ?",
        (uid,),
    ).fetchone()
    return _existing(db, name, number)


def _model_uid(db: sqlite3.Connection, model_no: int) -> str:
    (uid,) = db.execute(
        "SELECT uid FROM registered_models WHERE model_no = ?", (model_no,)
    ).fetchone()
    return str(uid)
