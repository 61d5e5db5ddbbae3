"""The model registry, folded from the events of the catalog topic.

The topic also holds events that lost a race: a name that was taken a moment before, an alias for a
version that was just deleted. They were said, and they count for nothing: the first one in the
order of the log wins. No message says so, since the log is written before anyone can know; whoever
reads decides by the same rules from the same order, and so all come to the same answer. These are
the rules for models, versions, aliases and stages (rules version 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from catalog import Event

DELETED = "Deleted_Internal"

TYPES = frozenset(
    {
        "RegisteredModelCreated", "RegisteredModelRenamed", "RegisteredModelDeleted",
        "ModelVersionCreated", "ModelVersionDeleted", "ModelVersionStageChanged",
        "RegisteredModelAliasSet", "RegisteredModelAliasDeleted",
    }
)  # fmt: skip
"""The events that decide; all others say nothing about who is promoted."""


class Promotion(NamedTuple):
    """An alias that was set, or a stage that was changed, and what was there before."""

    kind: str
    model: str
    version: int
    before: Any
    after: Any


@dataclass
class Model:
    """A registered model; ``aliases`` names versions by uid."""

    workspace: str
    name: str
    last: int = 0
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass
class Version:
    """A model version: its number is given in log order, never by its writer."""

    model: str
    number: int
    stage: str = "None"


class Registry:
    """Models and versions by uid."""

    def __init__(self) -> None:
        """Know of nothing."""
        self.models: dict[str, Model] = {}
        self.versions: dict[str, Version] = {}

    def champion(self, name: str, alias: str, workspace: str = "default") -> int | None:
        """Give the version that an alias of a model names."""
        for model in self.models.values():
            if (model.workspace, model.name) == (workspace, name) and alias in model.aliases:
                return self.versions[model.aliases[alias]].number
        return None

    def apply(self, event: Event) -> Promotion | None:
        """Take an event in; gives what it promotes. An event that lost changes nothing."""
        data = event.data
        uid = data["model_uid"]
        if event.type == "RegisteredModelCreated":
            workspace = event.headers["ce_workspace"]
            if uid not in self.models and not self._taken(workspace, data["name"]):
                self.models[uid] = Model(workspace, data["name"])
        elif "version" in data:  # it is about one version
            version = self.versions.get(data["version_uid"])
            if version is not None and version.stage != DELETED:
                return self._change_version(event.type, version, data)
        elif uid in self.models:
            self._change_model(event.type, uid, data)
        return None

    def _change_model(self, type_: str, uid: str, data: dict[str, Any]) -> None:
        model = self.models[uid]
        if type_ == "RegisteredModelRenamed":
            name = data["new_name"]
            if name == model.name or not self._taken(model.workspace, name):
                model.name = name
        elif type_ == "RegisteredModelDeleted":
            del self.models[uid]
            self.versions = {v: one for v, one in self.versions.items() if one.model != uid}
        elif type_ == "RegisteredModelAliasDeleted":
            model.aliases.pop(data["alias"], None)
        elif type_ == "ModelVersionCreated" and data["version_uid"] not in self.versions:
            model.last += 1
            self.versions[data["version_uid"]] = Version(uid, model.last)

    def _change_version(
        self, type_: str, version: Version, data: dict[str, Any]
    ) -> Promotion | None:
        model = self.models[version.model]
        if type_ == "ModelVersionDeleted":
            version.stage = DELETED
            gone = data["version_uid"]
            model.aliases = {alias: v for alias, v in model.aliases.items() if v != gone}
            return None
        if type_ == "RegisteredModelAliasSet":
            before = model.aliases.get(data["alias"])
            model.aliases[data["alias"]] = data["version_uid"]
            was = self.versions[before].number if before else None
            return Promotion(
                f"alias {data['alias']}", model.name, version.number, was, version.number
            )
        stage = version.stage
        if data["archive_existing"]:
            for other in self.versions.values():
                if (other.model, other.stage) == (version.model, data["stage"]):
                    other.stage = "Archived"
        version.stage = data["stage"]
        return Promotion("stage", model.name, version.number, stage, version.stage)

    def _taken(self, workspace: str, name: str) -> bool:
        return any((m.workspace, m.name) == (workspace, name) for m in self.models.values())
