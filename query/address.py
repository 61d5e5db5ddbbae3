"""The address of an entity, such as ``models:/wine/2`` or ``runs:/<id>``."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_ledger.schemas import LedgerError, SettingsError, item_kinds

__all__ = ["Address", "Unknown"]

KINDS = ("models", "runs", "experiments", "logged_models", "traces", "webhooks", *item_kinds())

_EXAMPLES = f"models:/NAME, models:/NAME/VERSION or {', '.join(f'{k}:/ID' for k in KINDS[1:])}"


class Unknown(LedgerError, LookupError):
    """The ledger holds nothing about what was asked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """An entity by kind and name; of a model perhaps one version, by number or by alias."""

    kind: str
    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read the text form.

        Raises:
            SettingsError: the text is no address.
        """
        kind, found, rest = text.partition(":/")
        rest = rest.lstrip("/")
        if not found or kind not in KINDS or not rest:
            msg = f"{text!r} names no entity; one looks like {_EXAMPLES}"
            raise SettingsError(msg)
        if kind != "models":
            return cls(kind, rest)
        name, slash, version = rest.rpartition("/")
        if slash:
            if not name or not version.isascii() or not version.isdigit():
                msg = f"{text!r}: a version is a number, as in models:/{name or 'NAME'}/1"
                raise SettingsError(msg)
            return cls(kind, name, version=int(version))
        name, at, alias = rest.rpartition("@")
        return cls(kind, name, alias=alias) if at and name and alias else cls(kind, rest)

    @property
    def subject(self) -> str:
        """The entity itself as events name it; of a version its model."""
        return f"{self.kind}:/{self.name}"

    def __str__(self) -> str:
        """The text form."""
        if self.version is not None:
            return f"{self.subject}/{self.version}"
        return f"{self.subject}@{self.alias}" if self.alias else self.subject
