"""An identity provider of the tests: signs tokens, and hands them out for a client's secret."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "Identity"]

CLIENT_ID = "trainer"
CLIENT_SECRET = "client-secret-hunter2"


class Identity:
    """Signs tokens (RS256); ``with`` it, ``url`` gives them out."""

    def __init__(self) -> None:
        """Make a key."""
        self._key = rsa.generate_private_key(65537, 2048)
        self.lifetime_s = 300
        self.answers: dict[str, Any] | None = None
        """What is answered in place of a token, with its ``status``."""
        self.asked: list[dict[str, list[str]]] = []
        """The forms that clients have sent."""

    def keys(self, path: Path) -> Path:
        """Write the public key as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig",
            "n": _base64(numbers.n.to_bytes(256, "big")),
            "e": _base64(numbers.e.to_bytes(3, "big")),
        }  # fmt: skip
        path.write_text(json.dumps({"keys": [key]}), encoding="utf-8")
        return path

    def token(self, subject: str, lifetime_s: int | None = None) -> str:
        """A token for a subject."""
        now = int(time.time())
        lasts = self.lifetime_s if lifetime_s is None else lifetime_s
        claims = {"sub": subject, "aud": "kafka", "iat": min(now, now + lasts), "exp": now + lasts}
        signed = ".".join(
            _base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims)
        )
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        identity = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                identity.asked.append(parse_qs(self.rfile.read(length).decode()))
                status, answer = identity.answer(self.headers["Authorization"])
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, authorization: str | None) -> tuple[int, dict[str, Any]]:
        """A token for whoever knows the client's secret; else what OAuth says."""
        if self.answers is not None:
            answer = dict(self.answers)
            return int(answer.pop("status")), answer
        right = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if authorization != f"Basic {right}":
            return 401, {"error": "invalid_client", "error_description": "wrong secret"}
        token = self.token(CLIENT_ID)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_s}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
