"""Programs as a user starts them: in a folder of their own, with an environment of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
BIN = Path(sysconfig.get_path("scripts"))
PYTHON, MLFLOW, COMMAND = (str(BIN / name) for name in ("python", "mlflow", "mlflow-ledger"))
STARTS_WITHIN_S = 120
ENDS_WITHIN_S = 60
HTTP_OK = 200

KNOWN = re.compile(
    r" INFO "
    r"|Successfully registered model '|Registered model '[\w-]+' already exists"
    r"|Created version '\d+' of model '"
    r"|mlflow\.sklearn: Saving scikit-learn models in the pickle or cloudpickle format requires"
    r"|mlflow\.utils\.environment: Failed to resolve installed pip version"
    r"|FutureWarning: `y_pred` was renamed to `y_proba`"
    r"|FutureWarning: ``mlflow\.tracking\.client\.MlflowClient\.\w+`` is deprecated since 2\.9"
    r"|UserWarning: Hint: Inferred schema contains integer column"
    r"|^  \S.*$"  # the line of source that a warning shows
)
"""What MLflow and scikit-learn say on any store, and what changes nothing."""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The caller's environment without settings of MLflow's or ours, and without the internet."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "_MLFLOW", "PYTEST_", "COVERAGE"))
    }
    scratch = folder / ".scratch"
    scratch.mkdir(exist_ok=True)
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}",
        "TMPDIR": str(scratch),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_CEILING_DIRECTORIES": str(folder),
        **more,
    }


def run(
    folder: Path, *command: str | Path, status: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; ``more`` are variables of its environment."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done


def unknown(stderr: str) -> list[str]:
    """The lines that a user has not seen before they came to us."""
    return [line for line in stderr.splitlines() if line.strip() and not KNOWN.search(line)]


def last_json(stdout: str) -> Any:
    """What a script printed as its last line."""
    return json.loads(stdout.strip().splitlines()[-1])


def wait_until(true: Callable[[], bool], within_s: float, what: str) -> None:
    """Look again and again until something is the case."""
    deadline = time.monotonic() + within_s
    pause = 0.02
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(pause)  # between two looks, not in place of one
        pause = min(pause * 1.5, 0.25)


class Server:
    """A server, in a process group of its own."""

    def __init__(self, folder: Path, command: Sequence[str], **more: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = folder / f"server-{self.port}.txt"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=folder,
                env=environment(folder, **more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """What it printed so far."""
        return self._output.read_text("utf-8", "replace")

    def tracebacks(self) -> list[str]:
        """What it printed of exceptions, each with the lines before and after it."""
        lines = self.output().splitlines()
        starts = [place for place, line in enumerate(lines) if "Traceback" in line]
        return ["\n".join(lines[max(place - 5, 0) : place + 60]) for place in starts]

    def wait(self, path: str) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            assert self.process.poll() is None, self.output()
            try:
                return self.get(path)[0] == HTTP_OK
            except OSError:
                return False

        wait_until(answers, STARTS_WITHIN_S, f"{self.url}{path} answers\n{self.output()}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a page."""
        return answer(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and document that answer a document."""
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        status, data = answer(request)
        return status, json.loads(data)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ask it to end, as a service manager does, and see that nothing of it is left."""
        self.process.send_signal(how)
        try:
            self.process.wait(ENDS_WITHIN_S)
            wait_until(lambda: not _living(self.process.pid), 10, "its children end as well")
        finally:
            self.kill()

    def kill(self) -> None:
        """End whatever is left of it."""
        if _living(self.process.pid):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(folder: Path, command: Sequence[str], path: str, **more: str) -> Iterator[Server]:
    """A server that answers at a path; killed where a test fails before it stopped it."""
    server = Server(folder, command, **more)
    try:
        server.wait(path)
        yield server
    finally:
        server.kill()


def answer(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _living(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, pgid, stat in rows if int(pgid) == group and stat[0] != "Z"]
