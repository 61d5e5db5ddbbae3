"""Whether a proof holds, by itself and a public key: no ledger, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mlflow_ledger.consumers import (
    Checkpoint,
    NoteInvalid,
    ProofError,
    PublicKey,
    leaf_data,
    leaf_hash,
    origin_of,
    root_from_path,
)
from mlflow_ledger.schemas import (
    DecodeError,
    Event,
    ModelVersionCreated,
    ModelVersionEvent,
    RegisteredModelAliasSet,
    RegisteredModelEvent,
    RegisteredModelRenamed,
    RunCreated,
    SettingsError,
    decode,
    format_time,
)

from .address import Address
from .detail import short
from .proof import Proof, ProvedEvent

__all__ = ["Checked", "check"]


@dataclass
class Checked:
    """What a proof proves, in words, and why it does not hold where it does not."""

    entity: str
    ledger_id: str
    proved: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether all of it holds."""
        return not self.problems


def check(proof: Proof, keys: Sequence[PublicKey]) -> Checked:
    """Check every event of a proof against the checkpoints that one of the keys has signed."""
    found = Checked(proof.entity, proof.ledger_id)
    signed: dict[str, Checkpoint] = {}
    for tree, note in sorted(proof.checkpoints.items()):
        try:
            made = Checkpoint.opened(note, keys)
        except NoteInvalid as error:
            found.problems.append(f"the checkpoint of {tree}: {error}")
            continue
        if made.origin != tree or tree.split("/")[:2] != ["mlflow-ledger", proof.ledger_id]:
            found.problems.append(f"the checkpoint of {tree} is of {made.origin}")
            continue
        signed[tree] = made
        when = f" at {made.time}" if made.time else ""
        found.proved.append(f"the key has signed the first {made.size} events of {tree}{when}")
    events: list[Event] = []
    for proved in proof.events:
        try:
            event = _event(proved, signed)
            found.proved.append(_words(proved, event))
            events.append(event)
        except (ProofError, DecodeError, ValueError, KeyError, OverflowError) as error:
            place = f"number {proved.leaf + 1} of {proved.tree}"
            found.problems.append(f"the event that is called {proved.role!r}, {place}: {error}")
    if not proof.events:
        found.problems.append("it holds no event")
    if found.holds:
        found.problems += _unconnected(proof, events)
    found.not_proved += _limits(proof, events)
    return found


def _event(proved: ProvedEvent, signed: dict[str, Checkpoint]) -> Event:
    """The event, if it stood where the proof says.

    Raises:
        ProofError: it did not, or something of it was changed.
    """
    made = signed.get(proved.tree)
    if made is None:
        msg = f"there is no checkpoint of {proved.tree} that holds"
        raise ProofError(msg)
    content = proved.content
    if content is not None and hashlib.sha256(content).digest() != proved.content_digest:
        msg = "its content is not the one that its digest is of"
        raise ProofError(msg)
    leaf = leaf_hash(leaf_data(proved.digest(), proved.append_ms))
    if root_from_path(leaf, proved.leaf, made.size, proved.path) != made.root:
        msg = f"it is not number {proved.leaf + 1} of what was signed: something of it was changed"
        raise ProofError(msg)
    return decode(proved.attributes["type"], proved.head, proved.content)


def _words(proved: ProvedEvent, event: Event) -> str:
    """What an event says, from what was signed of it alone."""
    said = proved.attributes
    kinds = {"os": "the user of the process", "authenticated": "authenticated by a server"}
    kind = kinds.get(said["actorkind"], "by their own claim")
    detail = ", ".join(f"{name}={value}" for name, value in short(event, False).items())
    taken = format_time(proved.append_ms)
    return (
        f"{said['type']} ({detail}) about {said['subject']} was said by {said['actor']} ({kind}) "
        f"on {said['host']} at {said['time']}; the log took it at {taken} as number "
        f"{proved.leaf + 1} of {proved.tree}"
    )


def _unconnected(proof: Proof, events: Sequence[Event]) -> Iterator[str]:
    """Why the events, each of which stood in the log, do not establish what was asked."""
    try:
        address = Address.parse(proof.entity)
    except SettingsError:
        if proof.entity not in _names(proof, proof.events[0]):
            yield f"its first event is not {proof.entity}"
        return
    if address.kind == "models":
        yield from _not_of_version(address, events)
    elif address.name not in {event.run_id for event in events if isinstance(event, RunCreated)}:
        yield f"none of its events creates {address}"


def _not_of_version(address: Address, events: Sequence[Event]) -> Iterator[str]:
    of_model = [event for event in events if isinstance(event, RegisteredModelEvent)]
    created = [event for event in of_model if isinstance(event, ModelVersionCreated)]
    if len(created) != 1 or len({event.model_uid for event in of_model}) != 1:
        yield "its events are not of one version of one model"
        return
    version = created[0]
    names = {event.name for event in of_model}
    names |= {e.new_name for e in of_model if isinstance(e, RegisteredModelRenamed)}
    if address.name not in names:
        yield f"its events are about a model called {', '.join(sorted(names))}"
    others = [e for e in of_model if isinstance(e, ModelVersionEvent)]
    if any(event.version_uid != version.version_uid for event in others):
        yield f"some of its events are about another version than {version.version_uid}"
    aliases = {e.alias for e in others if isinstance(e, RegisteredModelAliasSet)}
    if address.alias is not None and address.alias not in aliases:
        yield f"none of its events sets the alias {address.alias}"
    if address.version is not None and any(e.version != address.version for e in others):
        yield f"some of its events call the version another number than {address.version}"
    runs = {event.run_id for event in events if isinstance(event, RunCreated)}
    if runs - {version.run_id}:
        yield f"the version names run {version.run_id}, and its events create another"


def _names(proof: Proof, proved: ProvedEvent) -> tuple[str, str]:
    """What an event may be called; where it stands follows from its leaf in a folder only."""
    said = proved.attributes
    in_folder = proved.tree == origin_of(proof.ledger_id)
    there = f"v1~{proof.ledger_id}~{proved.leaf + 1}" if in_folder else proved.position
    return there, f"{said['source']}/{said['id']}"


def _limits(proof: Proof, events: Sequence[Event]) -> Iterator[str]:
    yield "that no later event has changed it: a proof shows what stood there, not what did not"
    yield "that the log's rules accepted each event: whoever has the log sees that in its audit"
    if any(event.content is None for event in proof.events):
        yield "what contents say that are not in it: of those it holds the digests only"
    numbered = any(isinstance(event, ModelVersionEvent) for event in events)
    if proof.entity.startswith("models:/") and not numbered:
        yield "the version's number: the rules give it, and none of its events says it"
    if proof.entity.startswith("v1~") and len(proof.checkpoints) == 1:
        (tree,) = proof.checkpoints
        if tree != origin_of(proof.ledger_id):
            yield "the offset: what is signed is the event's number in its partition"
    yield "that a time is right: those are the writer's clock, the log's, and the signer's"


def as_json(found: Checked) -> dict[str, object]:
    """What was found, as a document."""
    return {
        "holds": found.holds,
        "entity": found.entity,
        "ledger": found.ledger_id,
        "proved": found.proved,
        "not_proved": found.not_proved,
        "problems": found.problems,
    }
