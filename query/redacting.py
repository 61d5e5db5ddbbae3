"""Which events a redaction of an entity is about."""

from __future__ import annotations

from mlflow_ledger.bus import Selection
from mlflow_ledger.consumers import Ledger, Scope
from mlflow_ledger.schemas import ModelVersionCreated, SettingsError

from .address import Address, Unknown
from .model_history import ModelHistory
from .workspace import check_workspace

__all__ = ["scope_about"]


def scope_about(ledger: Ledger, entity: str, workspace: str | None = None) -> Scope:
    """The events about an entity: of a model through all its names, of a version only its own.

    With ``workspace`` a name means a model of it, else those of all workspaces.

    Raises:
        SettingsError: no entity is written like that, or it is an alias.
        Unknown: no event is about that entity, or there is no such workspace.
    """
    check_workspace(ledger, workspace)
    address = Address.find(ledger, entity)
    if address.alias is not None:
        msg = f"{entity!r} names an alias; name a version, such as {address.subject}/1"
        raise SettingsError(msg)
    if address.kind == "models":
        return _of_model(ledger, address, workspace)
    subject = Selection(subjects=(address.subject,))
    if not any(True for _ in ledger.log.select(subject, limit=1)):
        raise _unknown(ledger, address)
    if address.kind == "traces":  # a trace's files are its own, as a run's are
        return Scope(address.subject, (address.subject, f"runs:/{address.name}"))
    return Scope(address.subject, (address.subject,))


def _of_model(ledger: Ledger, address: Address, workspace: str | None) -> Scope:
    history = ModelHistory(ledger, address.name, workspace)
    names = sorted({address.name, *(n for names in history.names.values() for n in names)})
    subjects = tuple(f"models:/{name}" for name in names)
    if not history.names:
        raise _unknown(ledger, address)
    model_uids = tuple(sorted(history.names))
    if address.version is None:
        return Scope(str(address), subjects, model_uids)
    found = [
        (told.uid, told.judged.event.version_uid)
        for told in history.told()
        if isinstance(told.judged.event, ModelVersionCreated)
        and told.version == address.version
        and told.judged.verdict.kind == "accepted"
    ]
    if not found:
        raise _unknown(ledger, address)
    models = tuple(sorted({uid for uid, _ in found if uid is not None}))
    return Scope(str(address), subjects, models, tuple(uid for _, uid in found))


def _unknown(ledger: Ledger, address: Address) -> Unknown:
    return Unknown(f"nothing in the ledger in {ledger.folder} is about {address}")
