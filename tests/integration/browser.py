"""The system's Chromium, and a page that remembers all that went wrong on it."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import ConsoleMessage as Message
from playwright.sync_api import Page, Request, Response, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
MISSING = "no chromium on this machine (Debian: apt-get install chromium): NO UI IS TESTED"
SHOTS = os.environ.get("MLFLOW_LEDGER_SCREENSHOTS")
"""A folder for screenshots; `docs/` for those of the documentation."""
SIZE = {"width": 1280, "height": 800}
PATIENCE_MS = 60_000
BAD_STATUS = 400

# The assistant's panel opens itself on the first visit, over a third of the page.
NO_ASSISTANT = """
    if (location.protocol === "http:") {
        localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
        localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
    }
"""


@dataclass
class Visit:
    """A page of a server, driven by a test."""

    page: Page
    url: str
    remarks: list[str] = field(default_factory=list)
    """Answers with an error, requests that failed, errors on the console."""

    def __post_init__(self) -> None:
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._failed)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.remarks.append(f"uncaught: {error}"))

    def open(self, place: str) -> None:
        """Go to a place of the UI, as a link from outside would."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/#{place}")

    def shoot(self, name: str) -> None:
        """Keep a picture of the page where pictures are asked for."""
        if SHOTS is None:
            return
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(1000)  # for what fades in: this is for people's eyes alone
        picture = Image.open(io.BytesIO(self.page.screenshot(animations="disabled")))
        picture.convert("RGB").save(Path(SHOTS) / f"{name}.webp", quality=80, method=6)

    def _ours(self, address: str) -> str | None:
        """The path of an address; None where it is not the server's, as MLflow's videos are not."""
        if address and not address.startswith(self.url):
            return None
        return urlsplit(address).path

    def _answered(self, response: Response) -> None:
        path = self._ours(response.url)
        if path is not None and response.status >= BAD_STATUS:
            self.remarks.append(f"{response.request.method} {path}: {response.status}")

    def _failed(self, request: Request) -> None:
        path = self._ours(request.url)
        if path is not None and request.failure != "net::ERR_ABORTED":  # left with its page
            self.remarks.append(f"{request.method} {path}: {request.failure}")

    def _said(self, message: Message) -> None:
        path = self._ours(message.location.get("url", ""))
        if path is not None and message.type == "error":
            self.remarks.append(f"console at {path}: {message.text}")


def need_chromium() -> None:
    """Skip where there is no browser; in CI that is a failure."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), MISSING
        pytest.skip(MISSING)


@contextmanager
def visiting(url: str) -> Iterator[Visit]:
    """A fresh browser at a server."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],  # as root, which CI is, Chromium has none
        )
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(NO_ASSISTANT)
        yield Visit(context.new_page(), url)
        browser.close()
