"""Events about registered models, their versions and aliases.

Later events name a model and a version by the uid that its writer gave it, never by the number
that the fold gave: so ledgers can be merged without an alias pointing at a stranger. Name and
version number stand beside the uid as the writer saw them, for people.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content, Event, KeyValue, Text

__all__ = [
    "DescriptionContent",
    "ModelVersionCreated",
    "ModelVersionCreatedContent",
    "ModelVersionDeleted",
    "ModelVersionEvent",
    "ModelVersionStageChanged",
    "ModelVersionTagDeleted",
    "ModelVersionTagSet",
    "ModelVersionUpdated",
    "RegisteredModelAliasDeleted",
    "RegisteredModelAliasSet",
    "RegisteredModelCreated",
    "RegisteredModelCreatedContent",
    "RegisteredModelDeleted",
    "RegisteredModelEvent",
    "RegisteredModelRenamed",
    "RegisteredModelTagDeleted",
    "RegisteredModelTagSet",
    "RegisteredModelUpdated",
    "TagContent",
]


class RegisteredModelEvent(Event):
    """Anything that happens to one registered model."""

    model_uid: str
    name: str

    @property
    def key(self) -> str:
        """The model's uid."""
        return self.model_uid

    @property
    def subject(self) -> str:
        """``models:/<name>``."""
        return f"models:/{self.name}"

    @property
    def sealed_as(self) -> str:
        """This version's, or this model's, whoever else has or had its name."""
        return f"models:/{self.name}#{getattr(self, 'version_uid', None) or self.model_uid}"


class DescriptionContent(Content):
    """A description."""

    description: Text = None


class TagContent(Content):
    """A tag's value."""

    value: str | None = None


class RegisteredModelCreatedContent(Content):
    """Description and tags given at creation."""

    description: Text = None
    tags: list[KeyValue] = Field(default_factory=list)


class RegisteredModelCreated(RegisteredModelEvent):
    """A registered model was created; refused where its name is taken."""

    topic_name: ClassVar[str] = "catalog"
    content: RegisteredModelCreatedContent | None = None


class RegisteredModelUpdated(RegisteredModelEvent):
    """A registered model got another description."""

    topic_name: ClassVar[str] = "catalog"
    content: DescriptionContent | None = None


class RegisteredModelRenamed(RegisteredModelEvent):
    """A registered model got another name; its versions, tags and aliases follow."""

    topic_name: ClassVar[str] = "catalog"
    new_name: str


class RegisteredModelDeleted(RegisteredModelEvent):
    """A registered model went, with its versions, tags and aliases."""

    topic_name: ClassVar[str] = "catalog"


class RegisteredModelTagSet(RegisteredModelEvent):
    """A tag of a registered model was set."""

    topic_name: ClassVar[str] = "catalog"
    tag: str
    content: TagContent | None = None


class RegisteredModelTagDeleted(RegisteredModelEvent):
    """A tag of a registered model was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str


class ModelVersionEvent(RegisteredModelEvent):
    """Anything that happens to one version; ``version`` is the number the writer saw."""

    version_uid: str
    version: int

    @property
    def subject(self) -> str:
        """``models:/<name>/<version>``."""
        return f"models:/{self.name}/{self.version}"


class RegisteredModelAliasSet(ModelVersionEvent):
    """An alias now names this version, and no other."""

    topic_name: ClassVar[str] = "catalog"
    alias: str


class RegisteredModelAliasDeleted(RegisteredModelEvent):
    """An alias went."""

    topic_name: ClassVar[str] = "catalog"
    alias: str


class ModelVersionCreatedContent(Content):
    """Where the version came from, and what was said of it."""

    source: str | None = None
    storage_location: str | None = None
    run_link: str | None = None
    user_id: str | None = None
    description: Text = None
    tags: list[KeyValue] = Field(default_factory=list)


class ModelVersionCreated(RegisteredModelEvent):
    """A version was created; the fold gives it the next number of its model."""

    topic_name: ClassVar[str] = "catalog"
    version_uid: str
    run_id: str | None = None
    model_id: str | None = None
    content: ModelVersionCreatedContent | None = None


class ModelVersionUpdated(ModelVersionEvent):
    """A version got another description."""

    topic_name: ClassVar[str] = "catalog"
    content: DescriptionContent | None = None


class ModelVersionStageChanged(ModelVersionEvent):
    """A version moved to a stage; where asked, those that stood there were archived."""

    topic_name: ClassVar[str] = "catalog"
    stage: str
    archive_existing: bool = False


class ModelVersionDeleted(ModelVersionEvent):
    """A version was deleted; its number stays taken."""

    topic_name: ClassVar[str] = "catalog"


class ModelVersionTagSet(ModelVersionEvent):
    """A tag of a version was set."""

    topic_name: ClassVar[str] = "catalog"
    tag: str
    content: TagContent | None = None


class ModelVersionTagDeleted(ModelVersionEvent):
    """A tag of a version was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str
