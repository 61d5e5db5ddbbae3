"""What a lineage is asked of: a data set, a run, a logged model or a model version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import SettingsError

from .address import Address

__all__ = ["LineageAddress"]

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
    def parse(cls, text: str, ledger: Ledger | None = None) -> LineageAddress:
        """Read the text form; ``models:/m-<id>`` is a logged model, as in MLflow.

        With a ledger the names of its models count, as :meth:`Address.find` says.

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
        if rest.startswith("m-") and "/" not in rest and "@" not in rest:
            return cls("logged_models", rest)
        if ledger is None:
            address = Address.parse(text, stages=True)
        else:
            address = Address.find(ledger, text, stages=True)
        if address.version is None and address.alias is None and address.stage is None:
            raise _mistaken(text)
        return cls("models", address.name, address.version, address.alias, address.stage)

    def __str__(self) -> str:
        """The text form."""
        return str(Address(self.kind, self.name, self.version, self.alias, self.stage))


def _mistaken(text: str) -> SettingsError:
    msg = f"{text!r} names nothing that has a lineage; write {_LOOKS_LIKE}"
    return SettingsError(msg)
