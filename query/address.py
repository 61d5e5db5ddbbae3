"""The address of an entity, such as ``models:/wine/2`` or ``runs:/<id>``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from urllib.parse import unquote

from mlflow_ledger.bus import Selection
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import LedgerError, SettingsError, item_kinds

__all__ = ["LATEST", "STAGES", "Address", "Unknown"]

KINDS = ("models", "runs", "experiments", "logged_models", "traces", "webhooks", *item_kinds())
LATEST = "latest"
"""In place of a stage: the highest version that is there."""
STAGES = {
    "none": "None", "staging": "Staging", "production": "Production", "archived": "Archived",
    LATEST: LATEST,
}  # fmt: skip
"""What may stand in place of a version; in a URI its case does not count, as in MLflow."""

_EXAMPLES = f"models:/NAME, models:/NAME/VERSION or {', '.join(f'{k}:/ID' for k in KINDS[1:])}"


class Unknown(LedgerError, LookupError):
    """The ledger holds nothing about what was asked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """An entity by kind and name; of a model perhaps a version, by number, alias or stage."""

    kind: str
    name: str
    version: int | None = None
    alias: str | None = None
    stage: str | None = None

    @classmethod
    def parse(cls, text: str, *, stages: bool = False) -> Address:
        """Read the text form as MLflow would: behind an @ stands an alias.

        With ``stages`` a version may be given by its stage, too, or as the latest.

        Raises:
            SettingsError: the text is no address.
        """
        return _readings(text, stages=stages)[0]

    @classmethod
    def find(cls, ledger: Ledger, text: str, *, stages: bool = False) -> Address:
        """Read the text form in a ledger, whose models may have an @ or a % in their names.

        As MLflow reads it, if that names something; else the longest name that a model there has
        or had; else with ``%40`` for an @ and so on, as in any URI.

        Raises:
            SettingsError: the text is no address.
        """
        readings = _readings(text, stages=stages)
        if len(readings) == 1:
            return readings[0]
        known = [reading for reading in readings if _is_known(ledger, reading.name)]
        if len(known) > 1 and known[0].alias is not None and not _had_alias(ledger, known[0]):
            return max(known, key=lambda reading: len(reading.name))
        return known[0] if known else readings[0]

    @property
    def subject(self) -> str:
        """The entity itself as events name it; of a version its model."""
        return f"{self.kind}:/{self.name}"

    def __str__(self) -> str:
        """The text form."""
        if self.alias is not None:
            return f"{self.subject}@{self.alias}"
        part = self.version if self.version is not None else self.stage
        return self.subject if part is None else f"{self.subject}/{part}"


def _readings(text: str, *, stages: bool) -> list[Address]:
    """What a text may mean, what MLflow takes it for first."""
    kind, found, rest = text.partition(":/")
    rest = rest.lstrip("/")
    if not found or kind not in KINDS or not rest:
        msg = f"{text!r} names no entity; one looks like {_EXAMPLES}"
        raise SettingsError(msg)
    if kind != "models":
        return [Address(kind, rest)]
    readings = _of_model(text, rest, stages=stages)
    decoded = [_decoded(reading) for reading in readings] if "%" in rest else []
    return list(dict.fromkeys([*readings, *decoded]))


def _of_model(text: str, rest: str, *, stages: bool) -> list[Address]:
    name, slash, last = rest.rpartition("/")
    if slash:
        if name and last.isascii() and last.isdigit():
            return [Address("models", name, version=int(last))]
        if name and stages and last.lower() in STAGES:
            return [Address("models", name, stage=STAGES[last.lower()])]
        msg = f"{text!r}: a version is a number, as in models:/{name or 'NAME'}/1"
        raise SettingsError(msg)
    name, _, alias = rest.rpartition("@")
    whole = Address("models", rest)
    return [Address("models", name, alias=alias), whole] if name and alias else [whole]


def _decoded(address: Address) -> Address:
    alias = None if address.alias is None else unquote(address.alias)
    return replace(address, name=unquote(address.name), alias=alias)


def _is_known(ledger: Ledger, name: str) -> bool:
    """Whether a model has, or had, a name."""

    def ask(db: sqlite3.Connection) -> bool:
        row = db.execute("SELECT 1 FROM registered_models WHERE name = ?", (name,)).fetchone()
        return row is not None

    def ever() -> bool:
        selection = Selection(subjects=(f"models:/{name}",))
        return any(True for _ in ledger.log.select(selection, limit=1))

    return ledger.query(ask) or (ledger.has_log and ever())


def _had_alias(ledger: Ledger, address: Address) -> bool:
    """Whether a model has, or had, an alias."""
    from .model_history import ModelHistory

    told = ModelHistory(ledger, address.name).told()
    return any(change.alias == address.alias for one in told for change in one.changes)
