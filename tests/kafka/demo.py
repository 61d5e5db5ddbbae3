"""What ``make kafka-demo`` runs: ``compose.yaml``'s set as plain processes, and the demo on it.

A broker from Maven's jars, an S3 store, the consumer, the query service and MLflow's server start,
each with a folder of its own as if it were a host; then ``make demo`` runs unchanged, with another
``STORE``. With ``--stay`` all of it goes on until Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from tests.objects import servers as s3
from tests.objects.servers import objects
from tests.ports import free_port

from .broker import Cluster, missing

_ROOT = Path(__file__).parents[2]
_BIN = Path(sysconfig.get_path("scripts"))
_START_S = 120.0
_END_S = 20.0
_LOOK_S = 0.1


def main() -> None:
    """Start it all, run the demo, end it all."""
    parser = argparse.ArgumentParser(description="The demo, on a ledger in Kafka.")
    parser.add_argument("--stay", action="store_true", help="go on until Ctrl-C")
    stay = parser.parse_args().stay
    why = missing()
    if why is not None:
        sys.exit(f"no broker can be started: {why}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafka-demo-")))
        cluster = stack.enter_context(Cluster(folder / "broker"))
        stack.callback(s3.stop)
        store = objects("s3")
        uri = f"ledger+kafka://{cluster.servers}/team"
        shared = {**store.environment, "MLFLOW_LEDGER_BLOBS": store.url}
        print(f"broker   {cluster.servers}\nblobs    {store.url} at {shared['AWS_ENDPOINT_URL']}")
        consume = ["mlflow-ledger", "consume", uri, "--create", "--metrics-port", "{port}"]
        _start(stack, "consumer", consume, folder, shared)
        ui = ["mlflow", "server", "--backend-store-uri", uri, "--workers", "2"]
        ui += ["--artifacts-destination", "ledger-artifacts:", "--port", "{port}"]
        _start(stack, "mlflow", ui, folder, shared)
        query = ["mlflow-ledger", "serve", uri, "--port", "{port}"]
        _start(stack, "query", query, folder, shared)
        print(f"ledger   {uri}", flush=True)
        script = {**os.environ, **shared, "MLFLOW_LEDGER_HOME": str(folder / "script")}
        demo = ["make", "--no-print-directory", "demo", f"STORE={uri}"]
        status = subprocess.run(demo, cwd=_ROOT, env=script, check=False).returncode
        if stay and not status:
            print("all of it runs until Ctrl-C")
            signal.sigwait([signal.SIGINT, signal.SIGTERM])
    sys.exit(status)


def _start(
    stack: ExitStack, name: str, command: list[str], folder: Path, settings: dict[str, str]
) -> None:
    """Start one of the programs and wait until it answers."""
    port = free_port()
    program, *words = (word.format(port=port) for word in command)
    environment = {**os.environ, **settings, "MLFLOW_LEDGER_HOME": str(folder / name)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(_BIN / program), *words],
            cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    stack.callback(_end, process)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + _START_S
    while not _answers(f"{url}/health"):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{name} does not answer: {(folder / f'{name}.log').read_text('utf-8')}")
        time.sleep(_LOOK_S)
    print(f"{name:8} {url}", flush=True)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=_START_S).close()
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
