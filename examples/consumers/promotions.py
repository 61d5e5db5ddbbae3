"""Tell a web hook of every promotion: an alias that was set, a stage that was changed.

    python promotions.py --servers host:9092 --ledger team --hook https://example.org/hook

Each is posted as JSON, in the order of the log, until the hook takes it (2xx): at least once. The
header `Idempotency-Key` is the event's identity; a hook that minds drops a key that it has seen.
How far it came stands in the file `--cursor`: killed at any moment, it goes on from there. Without
that file it begins with the first promotion there ever was.

Attempts that lost a race are in the topic too. They are not posted: `registry.py` tells them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog import Catalog
from registry import TYPES, Registry

if TYPE_CHECKING:
    from catalog import Event
    from registry import Promotion

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
ANSWERS_WITHIN_S = 10.0


class Cursor:
    """Which offset comes next, of which ledger; kept in a file."""

    def __init__(self, path: Path) -> None:
        """Read the file, where there is one."""
        self._path = path
        kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.ledger: str | None = kept.get("ledger")
        self.next: int = kept.get("next", 0)

    def check(self, ledger: str) -> None:
        """End the program where the file speaks of another ledger than the topic does."""
        if self.ledger not in (None, ledger):
            raise SystemExit(f"{self._path} is about ledger {self.ledger}, the topic is {ledger}'s")
        self.ledger = ledger

    def advance(self, offset: int) -> None:
        """Remember that all up to this offset is done, come what may."""
        self.next = offset + 1
        new = self._path.with_name(self._path.name + ".new")
        with new.open("w") as file:
            json.dump({"ledger": self.ledger, "next": self.next}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


class Hook:
    """Where promotions are posted to."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        """Post to a URL until ``stop`` is set."""
        self._url = url
        self._stop = stop
        self._opener = urllib.request.build_opener(_NoRedirect)

    def post(self, key: str, body: dict[str, Any]) -> bool:
        """Post until it is taken, more and more slowly; False where it was stopped before."""
        request = urllib.request.Request(  # noqa: S310  # the user's own URL
            self._url,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Idempotency-Key": key},
        )
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                with self._opener.open(request, timeout=ANSWERS_WITHIN_S):
                    return True
            except (OSError, http.client.HTTPException) as error:  # no answer, or a bad one
                print(f"{self._url}: {error}; again in {pause_s} s", file=sys.stderr, flush=True)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET, which tells nobody anything: it counts as a failure."""

    def redirect_request(self, *_: Any) -> None:
        return None


def body_of(event: Event, promotion: Promotion) -> dict[str, Any]:
    """Say who promoted what, when, from what to what."""
    said = {name: event.headers[f"ce_{name}"] for name in ("time", "actor", "actorkind", "host")}
    return {
        "source": event.source,
        "id": event.id,
        **said,
        "kind": promotion.kind,
        "model": promotion.model,
        "version": promotion.version,
        "from": promotion.before,
        "to": promotion.after,
    }


def follow(catalog: Catalog, cursor: Cursor, hook: Hook, stop: threading.Event) -> None:
    """Fold every event; post what comes at the cursor or behind it."""
    registry = Registry()
    while not stop.is_set():
        for event in catalog.poll(timeout_s=1):
            if event.type == "LedgerCreated":
                if event.offset == 0:
                    cursor.check(event.data["ledger_id"])
                continue
            promotion = registry.apply(event)
            if promotion is None or event.offset < cursor.next:
                continue
            if not hook.post(f"{event.source}#{event.id}", body_of(event, promotion)):
                return
            cursor.advance(event.offset)


def main() -> None:
    """Follow the topic until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Tell a web hook of every promotion.")
    parser.add_argument("--servers", required=True, help="host:port, with commas between")
    parser.add_argument("--ledger", required=True, help="the ledger's name")
    parser.add_argument("--hook", required=True, help="the URL to post to")
    parser.add_argument("--cursor", type=Path, default=Path("promotions.json"))
    parser.add_argument("--document", type=Path, default=Path("asyncapi.json"))
    args = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    catalog = Catalog(args.servers, args.ledger, args.document, TYPES | {"LedgerCreated"})
    follow(catalog, Cursor(args.cursor), Hook(args.hook, stop), stop)
    catalog.close()


if __name__ == "__main__":
    main()
