"""What concerns every run of the tests."""

from __future__ import annotations

import signal

from .integration.browser import CHROMIUM, MISSING
from .kafka import servers as kafka
from .objects import servers as objects


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start, also where a shell runs them in the background.

    There it has them ignore it, which programs inherit that they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str | None:
    """Say loudly, once, what cannot be tested here."""
    return None if CHROMIUM else MISSING


def pytest_sessionfinish() -> None:
    """End what the tests have started."""
    kafka.stop()
    objects.stop()
