"""Where tokens come from: a file that is renewed, and an identity provider."""

from __future__ import annotations

import multiprocessing
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.bus.kafka_tokens import ClientTokens, FileTokens, Token
from mlflow_ledger.schemas import LogUnavailable
from tests.kafka.identity import CLIENT_ID, CLIENT_SECRET, Identity

WRONG = "wrong-hunter2"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def identity() -> Iterator[Identity]:
    with Identity() as running:
        yield running


def client(identity: Identity, secret: str = CLIENT_SECRET) -> ClientTokens:
    return ClientTokens(identity.url, CLIENT_ID, secret, "kafka", None)


def test_a_file_is_read_whenever_a_token_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = FileTokens(file)
    for value in ("one", "two"):
        file.write_text(f"{value}\n", encoding="utf-8")
        assert tokens.token() == Token(value, None)


def test_the_end_of_a_token_stands_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    identity = Identity()
    file.write_text(identity.token("me", 100), encoding="utf-8")
    ends_s = FileTokens(file).token().expires_s
    assert ends_s is not None
    assert 90 < ends_s - time.time() <= 100
    assert not caplog.records
    file.write_text(identity.token("me", -100), encoding="utf-8")
    FileTokens(file).token()  # the broker judges: its clock is the one that counts
    assert f"the token in {file} has expired" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo", "holds no token"),
        (b"\xff\xfe", "holds no token"),
        (b"x" * 70_000, "holds no token"),
    ],
)
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(LogUnavailable, match=f"{file} {says}.*MLFLOW_LEDGER_KAFKA_OAUTH_TOKEN_FI"):
        FileTokens(file).token()


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"cannot be read \(No such file"):
        FileTokens(tmp_path / "token").token()


@pytest.mark.parametrize("value", ["a.b.c", "a.e30.c", "a.W10.c", "x", "a.eyJleHAiOiJuYW4ifQ.c"])
def test_a_token_that_tells_nothing_of_its_end_is_taken(tmp_path: Path, value: str) -> None:
    (tmp_path / "token").write_text(value, encoding="utf-8")
    assert FileTokens(tmp_path / "token").token() == Token(value, None)


def test_a_token_is_kept_while_it_is_fresh(identity: Identity) -> None:
    tokens = client(identity)
    found: list[Token] = []
    threads = [threading.Thread(target=lambda: found.append(tokens.token())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert set(found) == {tokens.token()}
    assert identity.asked == [{"grant_type": ["client_credentials"], "scope": ["kafka"]}]


def test_a_token_whose_life_is_mostly_over_is_replaced(identity: Identity) -> None:
    identity.lifetime_s = 1
    tokens = client(identity)
    tokens.token()
    deadline = time.monotonic() + 10
    while len(identity.asked) < 2:
        assert time.monotonic() < deadline
        tokens.token()


def test_a_token_outlives_a_provider_that_is_away(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = client(identity)
    first = tokens.token()
    tokens._fresh_until_s = 0.0  # as if most of its life were over
    identity.answers = {"status": 503}
    assert tokens.token() == first
    assert "goes on with the token it has" in caplog.text
    tokens._token = Token(first.value, time.time() - 1)
    with pytest.raises(LogUnavailable, match="HTTP 503"):
        tokens.token()


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"status": 400, "error": "invalid_scope"}, "HTTP 400: invalid_scope"),
        ({"status": 200}, "HTTP 200: no access_token"),
        ({"status": 200, "access_token": ""}, "HTTP 200: no access_token"),
        ({"status": 200, "access_token": "a\r\nb"}, "HTTP 200: no access_token"),
        ({"status": 302, "error": "x" * 70_000}, "more than 65536 bytes"),
        ({"status": 400, "error": f"wrong: {CLIENT_SECRET}"}, "HTTP 400: wrong: …"),
    ],
)
def test_what_a_provider_says_instead_of_a_token_is_told(
    identity: Identity, answers: dict[str, Any], says: str
) -> None:
    identity.answers = answers
    with pytest.raises(LogUnavailable, match=says) as raised:
        client(identity).token()
    assert identity.url in str(raised.value)
    assert CLIENT_SECRET not in "".join(traceback.format_exception(raised.value))


def test_a_wrong_secret_is_told_but_not_shown(identity: Identity) -> None:
    with pytest.raises(LogUnavailable, match="HTTP 401: invalid_client: wrong secret") as raised:
        client(identity, WRONG).token()
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
    assert "hunter2" not in repr(Token("hunter2", None))


def test_a_provider_that_cannot_be_reached() -> None:
    tokens = ClientTokens("http://127.0.0.1:1/token", "me", "secret", None, None)
    with pytest.raises(
        LogUnavailable, match=r"no token for Kafka from http://127\.0\.0\.1:1/token"
    ):
        tokens.token()


def test_a_forked_child_waits_for_no_thread_of_its_parent(identity: Identity) -> None:
    tokens = client(identity)
    tokens.token()
    with tokens._asking:  # as a thread that is asking at the moment of the fork
        child = multiprocessing.get_context("fork").Process(target=tokens.token, daemon=True)
        child.start()
        child.join(30)
    assert child.exitcode == 0
