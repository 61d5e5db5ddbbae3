"""Work done by other users: in a process of its own, with everything imported before it changes."""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.bus.programs import FORKSERVER

NOBODY = 65534
_PATIENCE_S = 120

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: only root can become another user"
)


class Told(Exception):
    """What the other user's work raised."""

    def __init__(self, kind: str, text: str, trace: str) -> None:
        super().__init__(f"{kind}: {text}\n{trace}")
        self.kind, self.text = kind, text


class Other:
    """Another user's process, which does one piece of work after the other."""

    def __init__(
        self, scratch: Path, uid: int = NOBODY, gid: int = NOBODY, umask: int = 0o022
    ) -> None:
        scratch.mkdir(exist_ok=True)
        scratch.chmod(0o1777)
        self._here, there = FORKSERVER.Pipe()
        self._process = FORKSERVER.Process(target=_serve, args=(scratch, uid, gid, umask, there))
        self._process.start()

    def start(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Begin a piece of work: a function of a module that tests can import."""
        self._here.send((work, arguments))

    def result(self) -> Any:
        """What the work returned, or raised as :class:`Told`."""
        failure, result = self._here.recv()
        if failure is not None:
            raise Told(*failure)
        return result

    def does(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Work to its end."""
        self.start(work, *arguments)
        return self.result()

    def end(self) -> None:
        """Let the process end in order."""
        self._here.send(None)
        self._process.join()

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.join()


def _serve(scratch: Path, uid: int, gid: int, umask: int, there: Connection) -> None:
    from . import works

    signal.alarm(_PATIENCE_S)
    with tempfile.TemporaryDirectory() as folder:
        works.warm_up(Path(folder) / "store")  # what is imported late: it may be out of reach then
    tempfile.tempdir = str(scratch)
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(umask)
    os.chdir(scratch)
    while (asked := there.recv()) is not None:
        work, arguments = asked
        try:
            there.send((None, work(*arguments)))
        except BaseException as error:  # noqa: BLE001  # told to the test
            failure = (type(error).__name__, str(error), traceback.format_exc())
            there.send((failure, None))
