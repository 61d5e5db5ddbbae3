"""Contents are sealed with a key for each subject; a key that is lost opens nothing any more."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mlflow_ledger.bus import KeyFile, Keyring, Outgoing, Writer, message_of, record_of_message
from mlflow_ledger.schemas import (
    ContentRedacted,
    ContentRedactedContent,
    DecodeError,
    Event,
    KeyValue,
    ModelVersionCreated,
    ModelVersionCreatedContent,
    ModelVersionTagSet,
    RegisteredModelTagSet,
    RunDataLogged,
    RunDataLoggedContent,
    RunTagDeleted,
    TagContent,
    decode,
)
from tests.bus.programs import start
from tests.schemas.samples import SAMPLES

PARTITIONS = {"catalog": 1, "runs": 2, "traces": 2, "artifacts": 2}


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.sqlite")


def logged(run_id: str = "r", value: str = "Zebrafink") -> RunDataLogged:
    params = [KeyValue(key="p", value=value)]
    return RunDataLogged(run_id=run_id, content=RunDataLoggedContent(params=params))


def said(file: KeyFile, event: Event) -> Outgoing:
    return Writer(keyring=Keyring(file)).stamp(event, PARTITIONS)


def test_every_event_is_sealed_but_the_redaction_itself(file: KeyFile) -> None:
    for event in SAMPLES:
        record = said(file, event).record
        plain = Writer().stamp(event, PARTITIONS).record
        assert record.head == plain.head
        sealed = event.content is not None and not isinstance(event, ContentRedacted)
        assert (record.envelope.keyid is not None) == sealed
        assert decode(record.envelope.type, record.head, record.clear()) == event
        headers, value = message_of(record)
        found = record_of_message(headers, value)
        assert found == record
        assert found.digest() == record.digest()
        assert found.clear() == (None if sealed else plain.content and record.content)


def test_a_sealed_content_says_its_length(file: KeyFile) -> None:
    for size in (0, 1, 20, 90, 5000, 300_000):
        headers, value = message_of(said(file, logged(value="x" * size)).record)
        assert record_of_message(headers, value).content is not None
        for wrong in (value[:-1], value + b"x"):
            with pytest.raises(DecodeError, match="length"):
                record_of_message(headers, wrong)
        with pytest.raises(DecodeError, match="no content behind"):
            record_of_message([h for h in headers if h[0] != "ce_keyid"], value)


def test_subjects_have_keys_of_their_own(file: KeyFile) -> None:
    model = {"model_uid": "u", "name": "wine"}
    version = {**model, "version_uid": "v", "version": 1}
    events: list[Event] = [
        logged("a"),
        logged("b"),
        RegisteredModelTagSet(**model, tag="t", content=TagContent(value="x")),
        RegisteredModelTagSet(
            **(model | {"model_uid": "w"}), tag="t", content=TagContent(value="x")
        ),
        ModelVersionTagSet.model_validate({**version, "tag": "t", "content": {"value": "x"}}),
        ModelVersionTagSet.model_validate(
            {**version, "version_uid": "z", "tag": "t", "content": {"value": "x"}}
        ),
    ]
    keys = [said(file, event).record.envelope.keyid for event in events]
    assert len({*keys}) == len(events)
    assert [said(file, event).record.envelope.keyid for event in events] == keys
    created = ModelVersionCreated.model_validate(
        {**model, "version_uid": "v", "content": ModelVersionCreatedContent(source="s")}
    )
    assert said(file, created).record.envelope.keyid == keys[4]


def test_what_is_lost_opens_nothing_in_any_process(file: KeyFile, tmp_path: Path) -> None:
    ring, other = Keyring(file), Keyring(KeyFile(tmp_path / "keys.sqlite"))
    record = Writer(keyring=ring).stamp(logged(), PARTITIONS).record
    keyid = record.envelope.keyid
    assert keyid is not None
    assert other.open(record) == record.clear()
    file.lose(7, [keyid])
    for keyring in (ring, other):
        keyring.refresh()
        assert keyring.open(record) is None
    assert record.redacted
    key = file.make("runs:/r")  # a new one
    assert file.find("runs:/r") == key
    assert file.pending() == [7]
    assert file.doomed() == ["runs:/r"]
    file.forget([7])
    assert (file.pending(), file.doomed()) == ([], [])


def test_a_lost_key_is_in_no_byte_and_does_not_come_back(file: KeyFile, tmp_path: Path) -> None:
    keys = [file.make(f"runs:/{number}") for number in range(300)]
    file.sent(key.key_id for key in keys)
    gone = keys[::3]
    file.lose(1, [key.key_id for key in gone])
    file.forget([1])
    file.take(gone, {}, 10)
    assert file.all() == sorted(set(keys) - set(gone))
    data = b"".join(path.read_bytes() for path in tmp_path.glob("keys.sqlite*"))
    assert [key for key in gone if key.key in data] == []
    assert keys[1].key in data


def test_the_file_is_the_owners(file: KeyFile, tmp_path: Path) -> None:
    file.make("runs:/r")
    for path in tmp_path.glob("keys.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR


def test_a_content_opens_for_its_own_event_only(file: KeyFile) -> None:
    ring = Keyring(file)
    writer = Writer(keyring=ring)
    one, two = (writer.stamp(logged(), PARTITIONS).record for _ in range(2))
    swapped = record_of_message(*message_of(one))
    swapped = type(one)(one.envelope, one.head, two.content, None, ring.open)
    with pytest.raises(DecodeError, match="not sealed with the key"):
        swapped.clear()


def test_without_a_file_a_key_is_forgotten_once_it_is_sent() -> None:
    file = KeyFile(None)
    writer = Writer(keyring=Keyring(file, lifetime_s=0.0))
    first, second = (writer.stamp(logged(), PARTITIONS).record.envelope.keyid for _ in range(2))
    assert first != second  # its time was over
    assert first is not None
    assert [key.key_id for key in file.unsent([first])] == [first]
    file.sent([first])
    assert file.unsent([first]) == []


def test_many_processes_make_keys(tmp_path: Path) -> None:
    processes = [start(make, str(tmp_path), number) for number in range(4)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(KeyFile(tmp_path / "keys.sqlite").all()) == 4 * 25


def make(folder: str, number: int) -> None:
    """For a process of its own."""
    ring = Keyring(KeyFile(Path(folder) / "keys.sqlite"))
    writer = Writer(keyring=ring)
    for run in range(25):
        writer.stamp(logged(f"{number}-{run}"), PARTITIONS)


def test_what_has_no_content_is_not_sealed(file: KeyFile) -> None:
    record = said(file, RunTagDeleted(run_id="r", tag="t")).record
    assert (record.content, record.envelope.keyid) == (None, None)
    reason = ContentRedactedContent(reason="why")
    event = ContentRedacted(
        redaction_id="1", entity="runs:/r", subjects=["runs:/r"], content=reason
    )
    assert said(file, event).record.envelope.keyid is None
