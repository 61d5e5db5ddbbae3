"""What a lineage is asked of: a data set, a run, a logged model or a model version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_ledger.schemas import SettingsError

from .address import Address

__all__ = ["STAGES", "LineageAddress"]

STAGES = {"none": "None", "staging": "Staging", "production": "Production", "archived": "Archived"}
"""MLflow's stages; in a URI their case does not count."""

_LOOKS_LIKE = (
    "models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, runs:/ID, logged_models:/ID or "
    "datasets:/DIGEST (or NAME, or NAME/DIGEST)"
)


@dataclass(frozen=True, slots=True)
class LineageAddress:
    """An entity; of a model version its model's name and one of number, alias and stage.

    ``name`` of a data set is its digest, its name, or both with a slash between them.
    """

    kind: Literal["datasets", "runs", "logged_models", "models"]
    name: str
    version: int | None = None
    alias: str | None = None
    stage: str | None = None

    @classmethod
    def parse(cls, text: str) -> LineageAddress:
        """Read the text form; ``models:/m-<id>`` is a logged model, as in MLflow.

        Raises:
            SettingsError: the text names nothing that has a lineage.
        """
        kind, found, rest = text.partition(":/")
        rest = rest.lstrip("/")
        if not found or not rest:
            raise _mistaken(text)
        if kind in ("datasets", "runs", "logged_models"):
            return cls(kind, rest)  # type: ignore[arg-type]  # one of the three
        if kind != "models":
            raise _mistaken(text)
        name, _, stage = rest.rpartition("/")
        if name and stage.lower() in STAGES:
            return cls("models", name, stage=STAGES[stage.lower()])
        if rest.startswith("m-") and "/" not in rest and "@" not in rest:
            return cls("logged_models", rest)
        address = Address.parse(text)
        if address.version is None and address.alias is None:
            raise _mistaken(text)
        return cls("models", address.name, address.version, address.alias)

    def __str__(self) -> str:
        """The text form."""
        if self.alias is not None:
            return f"models:/{self.name}@{self.alias}"
        part = self.version if self.version is not None else self.stage
        return f"{self.kind}:/{self.name}" + ("" if part is None else f"/{part}")


def _mistaken(text: str) -> SettingsError:
    msg = f"{text!r} names nothing that has a lineage; write {_LOOKS_LIKE}"
    return SettingsError(msg)
