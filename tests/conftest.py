"""What concerns every run of the tests."""

from __future__ import annotations

from .integration.browser import CHROMIUM, MISSING


def pytest_report_header() -> str | None:
    """Say loudly, once, what cannot be tested here."""
    return None if CHROMIUM else MISSING
