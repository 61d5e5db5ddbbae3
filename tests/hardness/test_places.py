"""Places: strange names, several names of one folder, folders moved, copied or not a ledger's."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient, MlflowException
from mlflow.artifacts import download_artifacts

from mlflow_ledger.bus import folder_of, uri_of
from mlflow_ledger.consumers import Analytics, Ledger, check_uri, open_ledger
from mlflow_ledger.producers import edge
from mlflow_ledger.query.cli import program
from mlflow_ledger.schemas import LogMissing, SettingsError
from tests.bus.programs import created, say, sources, tagged

ODD_NAMES = [
    "with space", "naïve-ключ-数据", "100%", "%20", "a%2Fb", "hash#tag", "what?", "a&b=c;d", "[x]",
    "tilde~", "'quote'", '"double"', "plus+", "new\nline", "back\\slash", "-dash", "x.db", "ütf-😀",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_of_any_name_has_a_uri(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "store"
    assert folder_of(uri_of(folder)) == folder
    ledger = open_ledger(uri_of(folder))
    say(ledger, created("r"))
    assert (folder / "log.sqlite").is_file()
    analytics = Analytics(ledger)
    analytics.publish()
    assert analytics.digest()[0] == analytics.digest()[1]
    analytics.close()
    ledger.close()
    result = CliRunner().invoke(program, ["stats", uri_of(folder)])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["a b", "naïve-数", "100%25", "hash%23tag", "what%3F"])
def test_mlflow_takes_the_uri(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name's percent, hash and question mark are written as in any URI; nothing else has to."""
    uri = f"ledger:{tmp_path}/{name}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri, uri)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "hello", "deep/a b#%?.txt")
    found = download_artifacts(
        run_id=run.info.run_id, artifact_path="deep", tracking_uri=uri, dst_path=str(tmp_path / "d")
    )
    assert [path.read_text() for path in Path(found).iterdir()] == ["hello"]
    assert [found.info.run_id for found in client.search_runs(["0"])] == [run.info.run_id]
    again = os.environ["MLFLOW_TRACKING_URI"]  # made absolute for processes started elsewhere
    assert folder_of(again) == folder_of(uri)
    assert open_ledger(again) is open_ledger(uri)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ledger:", "names no folder"),
        ("ledger://host/x", "names a host"),
        ("ledger:///", "names the root of the file system"),
        ("ledger:///..", "names the root of the file system"),
        ("ledger+kafka://h/x", "is no host:port"),
        ("ledger+kafka://h:9092", "cannot be a ledger's name"),
        ("ledger+kafka://h:9092/x?deliver=ack", "option 'deliver' is unknown"),
        ("ledger+kafka://h:9092/x?delivery=never", "option 'delivery'"),
        ("ledger:./x?as_of=1", "is no moment"),
        ("ledger:./x#y", "%23"),
        ("ledger:./a%00b", "NUL"),
        ("sqlite:///x.db", "is no ledger URI"),
        ("./x", "is no ledger URI"),
    ],
)
def test_a_wrong_uri_is_told(uri: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_uri(uri)
    result = CliRunner().invoke(program, ["stats", uri])
    assert (result.exit_code, words in result.output.replace("\n", " ")) == (2, True)


def test_a_wrong_uri_of_kafka_is_told_to_users_of_mlflow() -> None:
    uri = "ledger+kafka://h/x"
    with pytest.raises(MlflowException, match="is no host:port"):
        MlflowClient(uri, uri).search_experiments()


def test_a_path_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with sqlite3.connect(tmp_path / "mlflow.db") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    for name, words in (("notes.txt", "is a file"), ("mlflow.db", "is a SQLite file")):
        client = MlflowClient(f"ledger:{tmp_path}/{name}", f"ledger:{tmp_path}/{name}")
        for call in (lambda c: c.search_runs(["0"]), lambda c: c.create_run("0")):
            with pytest.raises(MlflowException, match=words) as caught:
                call(client)
            assert f"sqlite:///{tmp_path}/{name}" in str(caught.value)
            assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_file_store_is_not_built_over(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: 0\n")
    uri = f"ledger:{tmp_path}/mlruns"
    with pytest.raises(MlflowException, match="holds an MLflow file store") as caught:
        MlflowClient(uri, uri).create_run("0")
    assert "name another folder" in str(caught.value)
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == ["0"]


def test_a_link_that_leads_in_a_circle_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(SettingsError, match="leads nowhere"):
        open_ledger(f"ledger:{tmp_path}/a/store")


@pytest.mark.parametrize("ours_tracks", [True, False])
def test_tracking_and_registry_may_be_of_two_kinds(ours_tracks: bool, tmp_path: Path) -> None:
    """As between any two of MLflow's stores: versions name the other's runs and files."""
    ours, theirs = f"ledger:{tmp_path}/store", f"sqlite:///{tmp_path}/mlflow.db"
    tracking, registry = (ours, theirs) if ours_tracks else (theirs, ours)
    client = MlflowClient(tracking, registry)
    experiment = client.create_experiment("e", None if ours_tracks else str(tmp_path / "files"))
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "hello", "model/f.txt")
    client.create_registered_model("m")
    version = client.create_model_version("m", f"{run.info.artifact_uri}/model", run.info.run_id)
    assert (version.version, version.run_id) in ((1, run.info.run_id), ("1", run.info.run_id))
    uri = client.get_model_version_download_uri("m", "1")
    found = download_artifacts(
        artifact_uri=uri, tracking_uri=tracking, registry_uri=registry, dst_path=str(tmp_path / "d")
    )
    assert (Path(found) / "f.txt").read_text() == "hello"


def test_artifacts_of_another_ledger_name_both(tmp_path: Path) -> None:
    ours, theirs = f"ledger:{tmp_path}/a", f"ledger:{tmp_path}/b"
    run = MlflowClient(ours, ours).create_run("0")
    MlflowClient(ours, ours).log_text(run.info.run_id, "x", "f.txt")
    MlflowClient(theirs, theirs).create_run("0")
    with pytest.raises(MlflowException, match="set MLFLOW_TRACKING_URI") as caught:
        download_artifacts(artifact_uri=f"{run.info.artifact_uri}/f.txt", tracking_uri=theirs)
    for folder in ("a", "b"):
        assert open_ledger(f"ledger:{tmp_path}/{folder}").ledger_id in str(caught.value)


def test_a_second_claim_to_the_scheme_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def claims(**wanted: str) -> EntryPoints:
        names = ("mlflow_ledger.producers.plugin:tracking_store", "rival.plugin:Store")
        made = [EntryPoint("ledger", value, wanted["group"]) for value in names]
        return EntryPoints(made)

    monkeypatch.setattr(edge, "entry_points", claims)
    edge.check_alone.cache_clear()
    try:
        with pytest.raises(MlflowException, match=r"rival\.plugin:Store.*uninstall one of them"):
            MlflowClient(f"ledger:{tmp_path}", f"ledger:{tmp_path}").search_runs(["0"])
    finally:
        monkeypatch.undo()
        edge.check_alone.cache_clear()
    edge.check_alone()  # and the real environment has no other


def test_one_folder_by_any_path_is_one_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")  # before there is a folder, too
    first = open_ledger(f"ledger:{tmp_path}/store")
    monkeypatch.chdir(tmp_path)
    paths = [
        "./store", "store", "store/", "./link", "link/../store", "../" + tmp_path.name + "/store",
        f"{tmp_path}//store/", "sto%72e",
    ]  # fmt: skip
    for number, path in enumerate(paths):
        ledger = open_ledger(f"ledger:{path}")
        assert ledger is first, path
        say(ledger, created(f"r{number}"))
        (tmp_path / "sub").mkdir(exist_ok=True)
    assert count(first) == len(paths)
    assert len(sources(first)) == 2  # one voice, in catalog and runs
    first.close()


def count(ledger: Ledger) -> int:
    found: int = ledger.query(lambda db: db.execute("SELECT count(*) FROM runs").fetchone()[0])
    return found


def filled(folder: Path) -> tuple[Any, str]:
    """A ledger with a run, an artifact and a snapshot."""
    uri = f"ledger:{folder}"
    client = MlflowClient(uri, uri)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "hello", "f.txt")
    analytics = Analytics(open_ledger(uri))
    analytics.publish()
    analytics.close()
    open_ledger(uri).close()
    return run.info.run_id, run.info.artifact_uri


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_closed_folder_moved_or_copied_works(how: Any, tmp_path: Path) -> None:
    run_id, artifact_uri = filled(tmp_path / "old")
    how(tmp_path / "old", tmp_path / "deep" / "er")
    uri = f"ledger:{tmp_path}/deep/er"
    client = MlflowClient(uri, uri)
    assert [run.info.run_id for run in client.search_runs(["0"])] == [run_id]
    found = download_artifacts(artifact_uri=f"{artifact_uri}/f.txt", tracking_uri=uri)
    assert Path(found).read_text() == "hello"
    client.set_tag(run_id, "a", "b")
    assert client.search_runs(["0"], "tags.a = 'b'")
    ids = sources(open_ledger(uri))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in ids.values())


def test_a_copy_and_its_original_are_not_confused(tmp_path: Path) -> None:
    """Both open in one process, each with changes of its own."""
    run_id, _ = filled(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    clients = [MlflowClient(f"ledger:{tmp_path}/{n}", f"ledger:{tmp_path}/{n}") for n in "ab"]
    for name, client in zip("ab", clients, strict=True):
        assert len(client.search_runs(["0"])) == 1
        client.set_tag(run_id, "who", name)
    for name, client in zip("ab", clients, strict=True):
        assert [r.data.tags["who"] for r in client.search_runs(["0"])] == [name]
    a, b = (sources(open_ledger(f"ledger:{tmp_path}/{n}")).keys() for n in "ab")
    assert b - a  # the copy's writer does not go on with the ids of the original's


FIRST: dict[str, Callable[[Ledger], object]] = {
    "write": lambda ledger: say(ledger, created("more")),
    "read": count,
    "search": lambda ledger: Analytics(ledger).digest(),
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("wrote", [True, False])
def test_a_folder_moved_while_open_is_told_and_nothing_is_made(
    first: str, wrote: bool, tmp_path: Path
) -> None:
    writer = Ledger(tmp_path / "old")
    say(writer, created("r"), tagged("r", "t"))
    ledger = writer
    if not wrote:
        writer.close()
        ledger = Ledger(tmp_path / "old")
    assert count(ledger) == 1
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(LogMissing, match="was moved to") as caught:
        FIRST[first](ledger)
    assert f"ledger://{tmp_path}/new" in str(caught.value)
    assert not (tmp_path / "old").exists()
    again = Ledger(tmp_path / "new")
    say(again, created("more"))
    assert count(again) == 2
    (tmp_path / "new").rename(tmp_path / "old")  # and back: it goes on
    assert count(ledger) == 2
    ledger.close()
