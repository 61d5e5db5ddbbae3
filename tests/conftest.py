"""What concerns every run of the tests."""

from __future__ import annotations

from .integration.browser import CHROMIUM, MISSING
from .kafka import servers as kafka
from .objects import servers as objects


def pytest_report_header() -> str | None:
    """Say loudly, once, what cannot be tested here."""
    return None if CHROMIUM else MISSING


def pytest_sessionfinish() -> None:
    """End what the tests have started."""
    kafka.stop()
    objects.stop()
