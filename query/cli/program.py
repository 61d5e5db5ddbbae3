"""The program: its commands, and what it does with errors.

Nothing here imports more than click: what a command needs, it imports when it runs, so that help
and mistakes in the command line are answered at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.metadata import version
from typing import Any

import click

from .archive import archive
from .asyncapi import asyncapi
from .audit import audit
from .backup import backup
from .changes import changes
from .check import check
from .checkpoint import checkpoint
from .collect import collect
from .consume import consume
from .create import create
from .forward import forward
from .history import history
from .keygen import keygen
from .lineage import lineage
from .log import log
from .openlineage import openlineage
from .promotions import approve, rules
from .prove import prove
from .rebuild import rebuild
from .redact import redact
from .replay import replay
from .restore import restore
from .serve import serve
from .spool import spool
from .sql import sql
from .stats import stats
from .verify import verify
from .webhooks import webhooks

__all__ = ["main", "program"]


class Program(click.Group):
    """Tells errors raised on purpose in words: status 1; a mistaken command line: status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whoever reads our output may stop reading at any time."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_output()
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            raise click.ClickException(_in_words(error)) from error
        except Exception as error:
            from mlflow_ledger.schemas import LedgerError

            if isinstance(error, LedgerError):
                raise click.ClickException(str(error)) from error
            raise
        return result


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Example:
  mlflow-ledger audit ledger:./store models:/wine/2

URI is what MLFLOW_TRACKING_URI says: ledger:./store or ledger:///data/store. Status 1 means that
something went wrong, or does not hold; status 2 that the command line makes no sense.""",
)
@click.version_option(version("mlflow-ledger"), prog_name="mlflow-ledger")
def program() -> None:
    """Ask an MLflow ledger what happened, who did it, and whether it still holds."""


def main() -> None:
    """Run the program: the entry point of ``mlflow-ledger``."""
    program(prog_name="mlflow-ledger")


def _in_words(error: OSError) -> str:
    """What the operating system refused, and with which file."""
    if error.strerror is None:
        return str(error)
    where = "" if error.filename is None else f"cannot use {str(error.filename)!r}: "
    return f"{where}{error.strerror}"


def _abandon_output() -> None:
    """Let what is still unwritten go nowhere, so that the interpreter's end does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


_COMMANDS = (
    log, audit, history, changes, lineage, sql, verify, rebuild, stats, collect, consume, create,
    serve, spool, forward, asyncapi, archive, backup, restore, keygen, checkpoint, webhooks,
    replay, openlineage, redact, rules, approve, prove, check,
)  # fmt: skip
for _command in _COMMANDS:
    program.add_command(_command)
