"""The command as a process: on a terminal, in a pipe, following, interrupted, cut off."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import RegisteredModelCreated, RegisteredModelTagSet, TagContent

COMMAND = str(Path(sysconfig.get_path("scripts")) / "mlflow-ledger")
ANSI = "\x1b["


def test_a_real_process_without_a_terminal(uri: str) -> None:
    done = subprocess.run(
        [COMMAND, "audit", uri, "models:/vino/1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert ANSI not in done.stdout
    assert "RegisteredModelAliasSet" in done.stdout


def test_a_terminal_gets_a_table(uri: str) -> None:
    main, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [COMMAND, "verify", uri], stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        printed = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # what a pseudo-terminal says when its other end is closed
                break
            if not piece:
                break
            printed += piece
    os.close(main)
    assert process.returncode == 0
    assert ANSI in printed.decode()
    assert "┃" in printed.decode()


def follow(uri: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, "log", uri, "--follow", "--json", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def following(copy: Ledger) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A process that follows, and the first event that it has seen appended."""
    process = follow(f"ledger://{copy.folder}", "--since", str(copy.log.end()))
    copy.write(lambda _: [RegisteredModelCreated(model_uid="u", name="followed")])
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def test_follow_sees_what_is_appended_until_interrupted(copy: Ledger) -> None:
    process, first = following(copy)
    assert first["subject"] == "models:/followed"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_follow_ends_when_nobody_reads_any_more(copy: Ledger) -> None:
    process, _ = following(copy)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_follow_with_a_limit_ends_by_itself(copy: Ledger) -> None:
    process = follow(f"ledger://{copy.folder}", "--limit", "3")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert len(out.splitlines()) == 3


def test_follow_tells_when_the_log_is_gone(copy: Ledger) -> None:
    process, _ = following(copy)
    copy.log.path.rename(copy.log.path.with_name("elsewhere"))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "removed or replaced" in err


def test_a_reader_that_stops_early_is_no_error(copy: Ledger) -> None:
    long = TagContent(value="x" * 5000)
    tags = [
        RegisteredModelTagSet(model_uid="uid-wine", name="vino", tag=str(n), content=long)
        for n in range(50)
    ]
    copy.write(lambda _: tags)
    script = 'set -o pipefail; "$0" log "$1" --json | head -n 1'
    done = subprocess.run(
        ["bash", "-c", script, COMMAND, f"ledger://{copy.folder}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
