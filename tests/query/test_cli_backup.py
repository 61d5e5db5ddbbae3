"""The commands that archive, back up and restore."""

from __future__ import annotations

from pathlib import Path

from mlflow_ledger.consumers import Ledger

from .test_cli import answer, document, run


def test_archive_says_what_it_sealed(copy: Ledger) -> None:
    uri = f"ledger://{copy.folder}"
    said = document("archive", uri)
    assert said["events"] == copy.log.last_offset()
    assert said["position"] == str(copy.log.end())
    assert "sealed 0 events in 0 segments" in answer("archive", uri)
    checked = answer("archive", uri, "--check")
    assert f"{said['events']} events in it are what the log says" in checked


def test_backup_and_restore(copy: Ledger, tmp_path: Path) -> None:
    uri, target = f"ledger://{copy.folder}", str(tmp_path / "backup")
    said = document("backup", uri, target)
    assert said["point"]["events"] == said["new_events"] == copy.log.last_offset()
    assert "added 0 events and 0 artifacts" in answer("backup", uri, target)
    again = f"ledger:{tmp_path / 'again'}"
    assert document("restore", target, again)["state_digest"] == said["point"]["state_digest"]
    third = answer(
        "restore", target, f"ledger:{tmp_path / 'third'}", "--to", said["point"]["position"]
    )
    assert f"restored {said['new_events']} events" in third
    assert "go on with one of the two" in third


def test_mistakes_are_told_in_words(copy: Ledger, tmp_path: Path) -> None:
    uri, target = f"ledger://{copy.folder}", str(tmp_path / "backup")
    nothing = run("restore", target, f"ledger:{tmp_path / 'again'}")
    assert (nothing.exit_code, "0 ledgers" in nothing.stderr) == (1, True)
    answer("backup", uri, target)
    there = run("restore", target, uri)
    assert (there.exit_code, "there is a ledger" in there.stderr) == (1, True)
    place = run("backup", uri, "ftp://somewhere/else")
    assert (place.exit_code, "is no place for blobs" in place.stderr) == (1, True)
    moment = run("restore", target, f"ledger:{tmp_path / 'again'}", "--to", "yesterday")
    assert moment.exit_code == 2


def test_redact_plans_first_and_does_it_when_told(copy: Ledger) -> None:
    uri, why = f"ledger://{copy.folder}", ("--reason", "asked for")
    planned = document("redact", uri, "models:/wine/1", *why)
    assert (planned["done"], planned["contents"] > 0) == (False, True)
    assert "nothing was done" in answer("redact", uri, "models:/wine/1", *why)
    done = document("redact", uri, "models:/wine/1", *why, "--yes")
    assert (done["done"], done["contents"]) == (True, planned["contents"])
    again = answer("redact", uri, "models:/wine/1", *why, "--yes")
    assert "erased the contents of 0 events" in again
    unknown = run("redact", uri, "runs:/nobody", *why)
    assert (unknown.exit_code, "nothing in the ledger" in unknown.stderr) == (1, True)
    assert run("redact", uri, "models:/wine/1").exit_code == 2
