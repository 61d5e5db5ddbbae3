"""Programs that tests run in processes of their own: ``python -m tests.bus.programs NAME ARGS``."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from mlflow_ledger.bus import FileLock, forkable
from mlflow_ledger.bus import failpoint as failpoints
from mlflow_ledger.consumers import Ledger, open_ledger
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    RunCreated,
    RunDataLogged,
    RunDataLoggedContent,
)

ROOT = Path(__file__).parents[2]
_PATIENCE_S = 120


FORKSERVER = multiprocessing.get_context("forkserver")
"""Starts processes that have no threads and, since it imports this module first, no delay."""
FORKSERVER.set_forkserver_preload([__name__])


def start(work: Callable[..., None], *arguments: object, failpoint: str = "") -> ForkServerProcess:
    """Run a function of this module in a process of its own, to be killed at a failpoint."""
    process = FORKSERVER.Process(target=_work, args=(work, arguments, failpoint))
    process.start()
    return process


def _work(work: Callable[..., None], arguments: Sequence[object], failpoint: str) -> None:
    signal.alarm(_PATIENCE_S)
    if failpoint:
        failpoints._WANTED = failpoint  # what the environment says, read at import
    work(*arguments)


def finished(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as a user would."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", __name__, name, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run(name: str, *arguments: object) -> str:
    """Run a program to its end; what it printed. Nothing may be complained of."""
    done = finished(name, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def created(run_id: str) -> Event:
    return RunCreated(run_id=run_id, experiment_id="0", artifact_uri="x")


def tagged(run_id: str, key: str, value: str = "") -> Event:
    """A tag that marks one write."""
    return RunDataLogged(
        run_id=run_id, content=RunDataLoggedContent(tags=[KeyValue(key=key, value=value)])
    )


def say(ledger: Ledger, *events: Event) -> None:
    ledger.write(lambda _: events)


def in_child(work: Callable[[], None]) -> int:
    """Fork, work in the child; returns the child's process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001  # a child must not return into its parent's program
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def wait_for(*children: int) -> None:
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def lock_and_fork(folder: str) -> None:
    """Children live and end beside a parent that takes and releases the lock."""
    lock = FileLock(Path(folder) / "lock")
    forkable(lock)
    with lock:
        pass
    stay, go = os.pipe()

    def live() -> None:
        os.close(go)
        os.read(stay, 1)  # until the parent closes its end
        with lock:
            pass

    living, ending = in_child(live), in_child(lambda: None)
    os.close(stay)
    with lock:
        wait_for(ending)
        assert not FileLock(Path(folder) / "lock").try_acquire()  # its end freed nothing
    other = FileLock(Path(folder) / "lock")
    assert other.try_acquire()  # and the child that lives keeps nothing
    other.release()
    os.close(go)
    wait_for(living)
    print("ok")  # noqa: T201


def write_marks(folder: Path, acknowledged: Path, rounds: int, rebuild_every: int) -> None:
    """Write marked events by two, note each mark once it is acknowledged, rebuild now and then."""
    ledger = Ledger(folder)
    name = f"p{os.getpid()}"
    say(ledger, created(name))
    notes = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(rounds):
        mark = f"{name}-{number}"
        say(ledger, tagged(name, mark, "a"), tagged(name, mark, "b"))
        os.write(notes, f"{name} {mark}\n".encode())
        if rebuild_every and number % rebuild_every == rebuild_every - 1:
            ledger.rebuild()


def fork_and_write(folder: str, count: str) -> None:
    """Parent and two children write at once on one ledger that the parent had opened before."""
    ledger = open_ledger(f"ledger:{folder}")
    say(ledger, created("parent"))
    assert ledger.query(lambda db: db.execute("SELECT count(*) FROM runs").fetchone()) == (1,)

    def write(name: str) -> None:
        if name != "parent":
            say(ledger, created(name))
        for number in range(int(count)):
            say(ledger, tagged(name, f"{name}-{number}"))
            seen = ledger.query(
                lambda db: db.execute(
                    "SELECT count(*) FROM tags JOIN runs USING (run_no) WHERE run_id = ?", (name,)
                ).fetchone()[0]
            )
            assert seen == number + 1, (name, seen, number)

    children = [in_child(lambda name=name: write(name)) for name in ("c1", "c2")]  # type: ignore[misc]
    write("parent")
    wait_for(*children)
    print(json.dumps(sorted(sources(ledger).items())))  # noqa: T201


def fork_while_reading(folder: str) -> None:
    """A child that is born inside a view leaves its parent's connection alone."""
    ledger = open_ledger(f"ledger:{folder}")
    say(ledger, created("parent"))
    with ledger.read() as inherited:
        child = os.fork()
    if child == 0:
        assert inherited not in ledger.readers.idle()
        with ledger.read() as own:
            assert own is not inherited
        say(ledger, created("child"))
        os._exit(0)
    wait_for(child)
    assert inherited in ledger.readers.idle()
    assert ledger.query(lambda d: d.execute("SELECT count(*) FROM runs").fetchone()) == (2,)
    print("ok")  # noqa: T201


def fork_among_threads(folder: str) -> None:
    """Threads write, and threads fork, all at once; every child writes too."""
    ledger = open_ledger(f"ledger:{folder}")
    say(ledger, created("parent"))
    failures: list[BaseException] = []

    def writing(name: str) -> None:
        for number in range(40):
            say(ledger, tagged("parent", f"{name}-{number}"))

    def forking(name: str) -> None:
        for number in range(5):
            mark = f"{name}-{number}"
            wait_for(in_child(lambda mark=mark: say(ledger, tagged("parent", mark))))  # type: ignore[misc]

    def guarded(work: Callable[[str], None], name: str) -> None:
        try:
            work(name)
        except BaseException as error:  # noqa: BLE001  # told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(writing, f"w{n}")) for n in range(2)]
    threads += [threading.Thread(target=guarded, args=(forking, f"f{n}")) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    (count,) = ledger.query(lambda db: db.execute("SELECT count(*) FROM tags").fetchone())
    print(count)  # noqa: T201


def open_and_leave(folder: str) -> None:
    """Open a ledger, use nothing of it, and end."""
    open_ledger(f"ledger:{folder}")


def write_one(folder: str) -> None:
    """Create one run."""
    say(open_ledger(f"ledger:{folder}"), created("r"))


def write_and_remove(folder: str) -> None:
    """Write, see the folder removed, and end."""
    ledger = open_ledger(f"ledger:{folder}")
    say(ledger, created("r"))
    subprocess.run(["rm", "-r", folder], check=True)


def sources(ledger: Ledger) -> dict[str, list[int]]:
    """The ids of each source in the log, in their order."""
    found: dict[str, list[int]] = {}
    for stored in ledger.log.rows(1):
        found.setdefault(stored.record.envelope.source, []).append(stored.record.envelope.id)
    return found


if __name__ == "__main__":
    signal.alarm(_PATIENCE_S)  # a dead lock ends here, with a signal that the test sees
    globals()[sys.argv[1]](*sys.argv[2:])
