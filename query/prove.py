"""Proofs: the events that establish an answer, each with its path to a signed root."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from mlflow_ledger.bus import EMBEDDED, Partition, Position, Selection, Stored
from mlflow_ledger.consumers import (
    Checkpoint,
    Ledger,
    NoteInvalid,
    ProofError,
    PublicKey,
    Tile,
    Trees,
    TreeStore,
    inclusion_path,
    leaf_data,
    leaf_hash,
    nodes_in,
    origin_of,
    public_keys,
    root_from_path,
    scoped,
    signing_key,
    stretches,
)
from mlflow_ledger.schemas import (
    DEFAULT_WORKSPACE,
    ArtifactError,
    LedgerError,
    ModelVersionCreated,
    RunCreated,
    SettingsError,
)

from .address import Address, Unknown
from .model_history import ModelHistory, Told
from .proof import Proof, ProvedEvent
from .registry import alias_version, model_uid
from .workspace import check_workspace

__all__ = ["Unproved", "proof_of"]


_MOST = 2**63 - 1


class Unproved(LedgerError):
    """What was asked for stands in the log, and nothing that was signed covers it."""


def proof_of(
    ledger: Ledger, entity: str, *, content: bool = True, workspace: str | None = None
) -> Proof:
    """A proof of what is said of an entity, for :func:`~mlflow_ledger.query.check.check`.

    ``entity`` is ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID``, an event's
    position or its ``SOURCE/ID``. Without ``content`` only the digests of contents are in it.
    With a key to sign by, what is not signed yet is signed now. ``workspace`` is where a name is
    looked up.

    Raises:
        SettingsError: nothing is written like that.
        Unknown: the log has no such thing, or there is no such workspace.
        Unproved: what was signed does not cover it, or does not hold.
    """
    check_workspace(ledger, workspace)
    entity, establishing = _establishing(ledger, entity, workspace)
    found = list(establishing)
    if signing_key(ledger) is not None:
        Trees(ledger).publish()
    trees = _SignedTrees(ledger)
    events = tuple(trees.proved(role, stored, content=content) for role, stored in found)
    return Proof(entity, ledger.ledger_id, events, trees.notes)


def _establishing(
    ledger: Ledger, entity: str, workspace: str | None
) -> tuple[str, Iterable[tuple[str, Stored]]]:
    """What is asked for, and the events that establish the answer, that one first."""
    if entity.startswith("v1~"):
        return entity, [("event", _at(ledger, Position.parse(entity)))]
    if ":/" not in entity:
        return entity, [("event", _identified(ledger, entity))]
    address = Address.find(ledger, entity)
    if address.kind == "runs":
        return entity, [("creation of the run", _run(ledger, address.name))]
    if address.kind == "models" and (address.version is not None or address.alias is not None):
        return str(address), _version(ledger, address, workspace or DEFAULT_WORKSPACE)
    msg = (
        f"{entity!r} cannot be proved; name models:/NAME@ALIAS, models:/NAME/VERSION, "
        "runs:/ID, or an event by its position or its SOURCE/ID"
    )
    raise SettingsError(msg)


def _version(ledger: Ledger, address: Address, workspace: str) -> Iterator[tuple[str, Stored]]:
    def asked(state: sqlite3.Connection) -> tuple[str | None, int | None]:
        db = scoped(state, workspace)
        if address.alias is None:
            return model_uid(db, address.name), address.version
        return model_uid(db, address.name), alias_version(db, address.name, address.alias)

    uid, number = ledger.query(asked)
    if uid is None or number is None:
        msg = f"there is no {address} in {ledger.folder}"
        raise Unknown(msg)
    told = _last_changes(ledger, address, uid, number)
    created = told.get("created")
    if created is None or not isinstance(created.judged.event, ModelVersionCreated):
        msg = f"there is no {address} in {ledger.folder}"
        raise Unknown(msg)
    wanted = {f"alias {address.alias}": f"alias {address.alias}"} if address.alias else {}
    wanted |= {
        "created": "creation of the version", "stage": "stage of the version",
        "name": "name of the model",
    }  # fmt: skip
    for what, role in wanted.items():
        if what in told:
            yield role, told[what].judged.stored
    run_id = created.judged.event.run_id
    if run_id and (stored := _find_run(ledger, run_id)):
        yield "creation of the run", stored


def _last_changes(ledger: Ledger, address: Address, uid: str, number: int) -> dict[str, Told]:
    """The last event of each kind that changed a version and says so of itself."""
    told: dict[str, Told] = {}
    for entry in ModelHistory(ledger, address.name).told():
        of_version = {c.what: c for c in entry.changes if (c.uid, c.version) == (uid, number)}
        for what, change in of_version.items():
            if what in ("alias", "stage") and change.after is None:
                continue
            if what == "stage" and entry.version != number:
                continue  # archived by the promotion of another version
            if what == "alias" and change.after != str(number):
                continue
            told[f"alias {change.alias}" if what == "alias" else what] = entry
    return told


def _run(ledger: Ledger, run_id: str) -> Stored:
    stored = _find_run(ledger, run_id)
    if stored is None:
        msg = f"there is no run {run_id} in {ledger.folder}"
        raise Unknown(msg)
    return stored


def _find_run(ledger: Ledger, run_id: str) -> Stored | None:
    selection = Selection((RunCreated.__name__,), (f"runs:/{run_id}",))
    return next(ledger.log.select(selection, limit=1), None)


def _at(ledger: Ledger, position: Position) -> Stored:
    if position.ledger_id != ledger.ledger_id:
        msg = f"{position} is a position of another ledger; this one is {ledger.ledger_id}"
        raise SettingsError(msg)
    stored = ledger.log.at(ledger.log.local(position).offset(EMBEDDED))
    if stored is None:
        msg = f"nothing stands at {position} in {ledger.folder}"
        raise Unknown(msg)
    return stored


def _identified(ledger: Ledger, identity: str) -> Stored:
    source, _, number = identity.rpartition("/")
    if not source or not number.isascii() or not number.isdigit():
        msg = f"{identity!r} names no event; one looks like SOURCE/ID, as `mlflow-ledger log` shows"
        raise SettingsError(msg)
    where, values = "AND source = ? AND id = ?", (source, int(number))
    known = int(number) <= _MOST  # SQLite takes no larger number
    stored = next(ledger.log.rows(1, 1, where, values), None) if known else None
    if stored is None:
        msg = f"there is no event {identity} in {ledger.folder}"
        raise Unknown(msg)
    return stored


class _SignedTrees:
    """The trees of a ledger as their newest checkpoints have them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keys = public_keys(ledger)
        self._signed: dict[Partition, Checkpoint] = {}
        self.notes: dict[str, str] = {}

    def proved(self, role: str, stored: Stored, *, content: bool) -> ProvedEvent:
        """One event with its path.

        Raises:
            Unproved: it is not covered, or the log is not what was signed.
        """
        record, place = stored.record, self._ledger.log.place(stored)
        partition, leaf = self._leaf(stored)
        origin = origin_of(self._ledger.ledger_id, partition)
        signed = self._checkpoint(partition, origin)
        if leaf >= signed.size:
            msg = (
                f"the {role} ({place}) came after the last checkpoint, of {signed.size} events; "
                "`mlflow-ledger checkpoint` signs what came since"
            )
            raise Unproved(msg)
        hashed, path = leaf_hash(leaf_data(record.digest(), stored.append_ms)), list[bytes]()
        try:
            path = self._path(TreeStore(self._ledger.blobs.place, origin), leaf, signed)
            holds = root_from_path(hashed, leaf, signed.size, path) == signed.root
        except ProofError:
            holds = False
        if not holds:
            msg = (
                f"the {role} ({place}) is not what was signed, or the tiles of {origin} are not; "
                "`mlflow-ledger verify` tells which"
            )
            raise Unproved(msg)
        return ProvedEvent(
            role=role,
            header=record.envelope.canonical().decode("utf-8", "surrogatepass"),
            head=record.head,
            content=record.content if content and record.envelope.keyid is None else None,
            content_digest=record.inner_digest(),
            append_ms=stored.append_ms,
            position=place,
            tree=origin,
            leaf=leaf,
            path=tuple(path),
        )

    def _leaf(self, stored: Stored) -> tuple[Partition, int]:
        for stretch in stretches(self._ledger.log):
            if stretch.first <= stored.offset < stretch.behind:
                return stretch.partition, stretch.leaf + stored.offset - stretch.first
        raise self._ledger.log.damaged(f"nothing is known of the origin of event {stored.offset}")

    def _checkpoint(self, partition: Partition, origin: str) -> Checkpoint:
        if partition not in self._signed:
            note = TreeStore(self._ledger.blobs.place, origin).newest()
            if note is None:
                msg = (
                    f"nothing of {origin} was signed yet; `mlflow-ledger checkpoint` does it, with "
                    "the key that MLFLOW_LEDGER_SIGNING_KEY names"
                )
                raise Unproved(msg)
            self._signed[partition] = _opened(note, self._keys, origin)
            self.notes[origin] = note
        return self._signed[partition]

    @staticmethod
    def _path(store: TreeStore, leaf: int, signed: Checkpoint) -> list[bytes]:
        def read(tile: Tile) -> bytes:
            data = store.read(tile.name)
            if data is None and tile.width < Tile(0, 0).width:  # it may be full by now
                data = store.read(Tile(tile.level, tile.number).name)
            if data is None:
                msg = f"{store}/{tile.name} is missing: without it nothing can be proved"
                raise ArtifactError(msg)
            return data

        return inclusion_path(nodes_in(read, signed.size), leaf, signed.size)


def _opened(note: str, keys: list[PublicKey], origin: str) -> Checkpoint:
    if not keys:
        msg = (
            "whose checkpoints are to be believed? Set MLFLOW_LEDGER_PUBLIC_KEY, or "
            "MLFLOW_LEDGER_SIGNING_KEY where you sign"
        )
        raise SettingsError(msg)
    try:
        return Checkpoint.opened(note, keys)
    except NoteInvalid as error:
        msg = f"the checkpoint of {origin}: {error}"
        raise Unproved(msg) from error
