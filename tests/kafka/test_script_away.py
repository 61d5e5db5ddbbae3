"""A data scientist's script that runs while the brokers are away, from its start to its end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_ledger.bus import KafkaSettings, Settings, kafka_place
from mlflow_ledger.consumers import KafkaLedger, find_replica
from tests.integration.programs import (
    COMMAND,
    PYTHON,
    environment,
    last_json,
    run,
    wait_until,
)

from .broker import Cluster
from .hosts import digests
from .servers import need_brokers

pytestmark = pytest.mark.brokers

SCRIPTS = Path(__file__).parent / "scripts"
HASTE = {
    "MLFLOW_LEDGER_DRAIN_S": "0.5",
    "MLFLOW_LEDGER_READ_WAIT_S": "1",
    "MLFLOW_LEDGER_KAFKA_TIMEOUT_S": "8",
    "MLFLOW_LEDGER_KAFKA_PARTITIONS": "2",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_brokers()
    with Cluster(tmp_path_factory.mktemp("away")) as cluster:
        yield cluster


def opened(uri: str, home: Path) -> KafkaLedger:
    kafka = KafkaSettings(partitions=2)
    found = find_replica(kafka_place(uri), home, kafka)
    return KafkaLedger(found, Settings.read(delivery="ack", home=str(home)), kafka)


def killed_with_a_full_spool(folder: Path, uri: str, home: Path) -> str:
    """A script that is killed once it has logged; the run that it has left."""
    script = (
        "import mlflow, time\n"
        "mlflow.set_experiment('study')\n"
        "run = mlflow.start_run(run_name='killed')\n"
        "for n in range(50): mlflow.log_metric('m', n, step=n)\n"
        "print(run.info.run_id, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [PYTHON, "-c", script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=environment(
            folder, MLFLOW_TRACKING_URI=uri, MLFLOW_LEDGER_HOME=str(home), **HASTE
        ),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
    assert run_id
    return run_id


@pytest.mark.timeout(600)
def test_a_script_from_start_to_end_without_brokers(cluster: Cluster, tmp_path: Path) -> None:
    uri = f"ledger+kafka://{cluster.servers}/study"
    here = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_LEDGER_HOME": str(tmp_path / "here"), **HASTE}
    there = here | {"MLFLOW_LEDGER_HOME": str(tmp_path / "there")}
    patient = {"MLFLOW_LEDGER_DRAIN_S": "60", "MLFLOW_LEDGER_READ_WAIT_S": "30"}
    run(tmp_path, PYTHON, SCRIPTS / "known.py", **(here | patient))
    assert json.loads(run(tmp_path, COMMAND, "spool", uri, "--json", **here).stdout)["events"] == 0
    cluster.kill(0)

    done = run(tmp_path, PYTHON, SCRIPTS / "study.py", **here)
    said = last_json(done.stdout)
    assert said["status"] == "FINISHED"
    assert (said["loss"], said["C"]) == (0.05, "1.0")
    assert said["run_id"] in said["searched"]
    assert len(said["searched"]) == 2
    assert said["predicted"] == [0, 1, 0, 1]
    assert "Nothing is lost" in done.stderr
    assert f"mlflow-ledger forward {uri}" in done.stderr

    killed = killed_with_a_full_spool(tmp_path, uri, tmp_path / "here")
    waits = json.loads(run(tmp_path, COMMAND, "spool", uri, "--json", **here).stdout)
    kinds = {row["type"]: row["events"] for row in waits["waiting"]}
    assert kinds["RunCreated"] == 2
    assert kinds["RunDataLogged"] >= 70
    assert waits["since"] is not None
    shown = run(tmp_path, COMMAND, "spool", uri, **here).stdout
    assert f"{waits['events']} events wait" in shown
    away = run(tmp_path, COMMAND, "forward", uri, "--patience-s", "1", status=1, **here)
    assert f"{waits['events']} wait" in away.stdout

    cluster.start(0)
    cluster.wait()
    sent = run(tmp_path, COMMAND, "forward", uri, **here)
    assert sent.stdout == f"{waits['events']} events sent, 0 wait\n"

    other = last_json(
        run(
            tmp_path, PYTHON, SCRIPTS / "other.py", said["run_id"], said["model_uri"],
            **(there | patient),
        ).stdout
    )  # fmt: skip
    assert other == {
        "status": "FINISHED", "loss": 0.05, "steps": 20, "C": "1.0", "predicted": [0, 1],
        "notes": "all is well",
    }  # fmt: skip
    with (
        closing(opened(uri, tmp_path / "here")) as first,
        closing(opened(uri, tmp_path / "there")) as second,
    ):
        assert digests(first) == digests(second)
        history = second.query(
            lambda db: db.execute(
                "SELECT count(*) FROM runs WHERE run_id IN (?, ?)", (killed, said["run_id"])
            ).fetchone()
        )
        assert history == (2,)


@pytest.mark.parametrize("delivery", ["spool", "ack"])
def test_threads_nested_runs_and_forked_workers(
    cluster: Cluster, tmp_path: Path, delivery: str
) -> None:
    if not cluster.is_running(0):
        cluster.start(0)
    cluster.wait()
    uri = f"ledger+kafka://{cluster.servers}/loader-{delivery}"
    done = run(
        tmp_path, PYTHON, SCRIPTS / "loader.py",
        MLFLOW_TRACKING_URI=f"{uri}?delivery={delivery}",
        MLFLOW_LEDGER_HOME=str(tmp_path / "here"),
        **(HASTE | {"MLFLOW_LEDGER_DRAIN_S": "60", "MLFLOW_LEDGER_READ_WAIT_S": "30"}),
    )  # fmt: skip
    said = last_json(done.stdout)
    with (
        closing(opened(uri, tmp_path / "here")) as first,
        closing(opened(uri, tmp_path / "there")) as second,
    ):
        wait_until(lambda: first.forwarder.run(10.0) == 0, 60, "the spool is drained")
        assert digests(first) == digests(second)
        logged = dict(
            second.query(
                lambda db: db.execute(
                    "SELECT run_id || ' ' || key, value FROM metrics JOIN runs USING (run_no)"
                ).fetchall()
            )
        )
    assert said["counts"].keys() == {"t0", "t1"}
    for name, count in said["counts"].items():
        assert logged[f"{said['parent']} {name}"] == count - 1
    for number, child in enumerate(said["children"]):
        assert logged[f"{child} nested"] == number
        assert logged[f"{child} worker{number}"] == 4
