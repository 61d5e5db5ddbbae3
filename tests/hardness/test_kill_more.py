"""kill -9 while a snapshot is published or blobs are collected: the next process carries on."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from mlflow_ledger.bus import FAILPOINTS
from mlflow_ledger.consumers import (
    FOLD_VERSION,
    Analytics,
    Ledger,
    collect,
    plan_collection,
    state_digest,
)
from mlflow_ledger.schemas import ArtifactDeleted, ArtifactLogged
from tests.bus.programs import created, say, start, tagged
from tests.bus.test_kill import replayed

LATER_MS = 2**62


def publish(folder: Path) -> None:
    ledger = Ledger(folder)
    for number in range(3):
        say(ledger, tagged("r", f"p{number}"))
        Analytics(ledger).publish()


def collect_all(folder: Path) -> None:
    ledger = Ledger(folder)
    collect(ledger, plan_collection(ledger, LATER_MS, 0))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("step", [step for step in FAILPOINTS if step.startswith("snapshot.")])
def test_a_process_killed_while_it_publishes(step: str, count: int, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    say(ledger, created("r"), *(tagged("r", f"t{n}") for n in range(20)))
    living = Analytics(ledger)
    living.digest()
    process = start(publish, ledger.folder, failpoint=f"{step}:{count}")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for analytics in (living, Analytics(ledger)):
        ours, states = analytics.digest()
        assert ours == states
        assert analytics.publish() is not None
        analytics.close()
    snapshots = ledger.folder / "snapshots"
    assert not list(snapshots.glob(".*"))  # what the dead left half-written is gone
    assert 1 <= len(list(snapshots.glob("*/manifest.json"))) <= 2
    fresh = Analytics(ledger)
    ours, states = fresh.digest()
    assert ours == states
    fresh.close()
    assert ledger.query(state_digest) == replayed(ledger)
    ledger.close()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("step", [step for step in FAILPOINTS if step.startswith("collect.")])
def test_a_process_killed_while_it_collects(step: str, count: int, tmp_path: Path) -> None:
    if (step, count) == ("collect.condemned", 2):
        count = 1  # it passes there once
    ledger = Ledger(tmp_path / "store")
    digests = []
    for number in range(4):
        digest, size_bytes = ledger.blobs.put(b"%d" % number)
        digests.append(digest)
        logged = ArtifactLogged(
            digest=digest, path=f"p{number}", size_bytes=size_bytes, owner="runs:/r", written_ns=1
        )
        say(ledger, logged)
        if number:
            say(
                ledger,
                ArtifactDeleted(digest=digest, path=f"p{number}", owner="runs:/r", written_ns=2),
            )
    process = start(collect_all, ledger.folder, failpoint=f"{step}:{count}")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    # One of the doomed is logged again, wherever the killed process had got to.
    rescued, size_bytes = ledger.blobs.put(b"3")
    say(
        ledger,
        ArtifactLogged(
            digest=rescued, path="again", size_bytes=size_bytes, owner="runs:/r", written_ns=3
        ),
    )
    collect(ledger, plan_collection(ledger, LATER_MS, 0))
    assert {digest for digest, _ in ledger.blobs.all()} == {digests[0], rescued}
    assert ledger.blobs.get(rescued) == b"3"
    left = plan_collection(ledger, LATER_MS, 0)
    assert (left.condemn, left.wait, left.remove) == ([], [], [])  # and the log says so
    collected = ledger.query(
        lambda db: {
            digest
            for (digest,) in db.execute("SELECT digest FROM blobs WHERE collected_ms IS NOT NULL")
        }
    )
    assert collected >= set(digests[1:3])
    assert ledger.query(state_digest) == replayed(ledger)
    ledger.close()


def build(folder: Path) -> None:
    Ledger(folder).rebuild()


@pytest.mark.parametrize("first", ["write", "collect", "catch up"])
def test_a_half_built_state_goes_with_the_next_opening(first: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    say(ledger, created("r"))
    ledger.close()
    process = start(build, ledger.folder, failpoint="generation.built")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(ledger.files.all()) == 2
    again = Ledger(ledger.folder)
    if first == "write":
        say(again, tagged("r", "t"))
    elif first == "collect":
        again.blobs.put(b"x")
        collect(again, plan_collection(again, LATER_MS, 0))
    else:
        again.catch_up()
    assert len(again.files.all()) == 1
    assert again.query(state_digest) == replayed(again)
    again.close()
    assert not list(ledger.folder.glob("state-*-wal"))


# --- a power cut, after which the log is older than what was folded from it


@pytest.mark.parametrize("living", [True, False])
def test_a_log_that_is_older_than_everything_beside_it(living: bool, tmp_path: Path) -> None:
    """State, snapshots, a clone and a writer know of events that are no more."""
    ledger = Ledger(tmp_path / "store")
    say(ledger, created("r"), *(tagged("r", f"t{n}") for n in range(30)))
    ledger.close()
    shutil.copy(ledger.log.path, tmp_path / "older")
    say(ledger, *(tagged("r", f"lost{n}") for n in range(30)))
    analytics = Analytics(ledger)
    analytics.publish()
    lost_offset = ledger.log.last_offset()
    identities = known(ledger)
    if not living:
        analytics.close()
        ledger.close()
    for path in ledger.folder.glob("log.sqlite-*"):
        path.unlink()
    (tmp_path / "older").replace(ledger.log.path)
    if not living:
        ledger, analytics = Ledger(ledger.folder), Analytics(ledger)
        analytics = Analytics(ledger)
    # Other events come to stand where the lost ones stood, and beyond.
    say(ledger, *(tagged("r", f"new{n}") for n in range(40)))
    assert ledger.log.last_offset() > lost_offset
    ours, states = analytics.digest()
    assert ours == states
    analytics.close()
    fresh = Analytics(ledger)
    ours, states = fresh.digest()
    assert ours == states
    fresh.close()
    shown = ledger.query(lambda db: {key for (key,) in db.execute("SELECT key FROM tags")})
    assert shown == {f"t{n}" for n in range(30)} | {f"new{n}" for n in range(40)}
    assert ledger.query(state_digest) == replayed(ledger)
    for identity, digest in known(ledger).items():
        assert identities.get(identity, digest) == digest  # none is used twice
    ledger.close()


def test_a_snapshot_of_a_lost_history_is_not_taken(tmp_path: Path) -> None:
    """The state was deleted too, so that its generation begins again with the same name."""
    ledger = Ledger(tmp_path / "store")
    say(ledger, created("r"), tagged("r", "t"))
    ledger.close()
    shutil.copytree(ledger.folder, tmp_path / "older")
    say(ledger, tagged("r", "lost"))
    Analytics(ledger).publish()
    ledger.close()
    for path in ledger.folder.glob("*"):
        if path.name != "snapshots":
            path.unlink()
    shutil.copy(tmp_path / "older" / "log.sqlite", ledger.log.path)
    again = Ledger(ledger.folder)
    say(again, tagged("r", "new"), tagged("r", "newer"))
    assert [path.name for path in again.files.all()] == [f"state-{FOLD_VERSION}-1.sqlite"]
    assert list((ledger.folder / "snapshots").glob(f"state-{FOLD_VERSION}-1-*"))
    analytics = Analytics(again)
    ours, states = analytics.digest()
    assert ours == states
    analytics.close()
    again.close()


def test_a_whole_folder_restored_under_a_living_process(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    say(ledger, created("r"), *(tagged("r", f"t{n}") for n in range(5)))
    ledger.close()
    shutil.copytree(ledger.folder, tmp_path / "backup")
    say(ledger, *(tagged("r", f"lost{n}") for n in range(5)))
    analytics = Analytics(ledger)
    analytics.digest()
    identities = known(ledger)
    shutil.rmtree(ledger.folder)
    shutil.copytree(tmp_path / "backup", ledger.folder)
    for count in (0, 3, 7):
        say(ledger, *(tagged("r", f"new{count}-{n}") for n in range(count)))
        ours, states = analytics.digest()
        assert ours == states
    for identity, digest in known(ledger).items():
        assert identities.get(identity, digest) == digest
    assert ledger.query(state_digest) == replayed(ledger)
    analytics.close()
    ledger.close()


def known(ledger: Ledger) -> dict[tuple[str, int], bytes]:
    """The digest of each identity in the log."""
    records = [stored.record for stored in ledger.log.rows(1)]
    return {(r.envelope.source, r.envelope.id): r.digest() for r in records}
