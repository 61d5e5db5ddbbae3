"""A log behind TLS and SASL: every way in that the documentation shows, and what a refusal says."""

from __future__ import annotations

import base64
import logging
import re
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.bus import KafkaLog, KafkaPlace, KafkaSettings, kafka_place
from mlflow_ledger.schemas import LogUnavailable
from tests.kafka.identity import CLIENT_ID, CLIENT_SECRET, Identity
from tests.kafka.secure import KEY_PASSWORD, PASSWORD, USER, Secure, secure

from .records import RUNS, many

pytestmark = pytest.mark.brokers

LEDGER_ID = "0123456789abcdef"
PREFIX = "MLFLOW_LEDGER_KAFKA_"
PAGE = Path(__file__).parents[2] / "docs" / "kafka.md"
LISTENERS = {
    "TLS": "TLS",
    "Client certificates": "MTLS",
    "A user's password: SCRAM or PLAIN": "SASL",
    "A token from a file": "OAUTH",
    "A token from an identity provider": "OAUTH",
}


def examples() -> dict[str, dict[str, str]]:
    """The settings that the page shows, by heading."""
    section = PAGE.read_text("utf-8").split("\n## Security\n")[1].split("\n## ")[0]
    shown = re.findall(r"\n### (.*?)\n.*?```sh\n(.*?)```", section, re.DOTALL)
    return {
        heading: dict(line.split("=", 1) for line in block.splitlines()) for heading, block in shown
    }


EXAMPLES = examples()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in KafkaSettings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{field.upper()}", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which client the settings name."""
    monkeypatch.setenv(f"{PREFIX}CLIENT", request.param)
    return str(request.param)


@pytest.fixture
def broker() -> Secure:
    return secure()


@pytest.fixture
def identity(broker: Secure) -> Iterator[Identity]:
    with broker.identity as running:
        running.asked.clear()
        yield running


@pytest.fixture
def real(broker: Secure, identity: Identity, tmp_path: Path) -> dict[str, str]:
    """What stands here in place of the examples' files and secrets."""
    token = tmp_path / "token"
    token.write_text(identity.token(CLIENT_ID), encoding="utf-8")
    return {
        "SSL_CAFILE": broker.cafile,
        "SSL_CERTFILE": broker.certfile,
        "SSL_KEY_PASSWORD": KEY_PASSWORD,
        "USERNAME": USER,
        "PASSWORD": PASSWORD,
        "OAUTH_TOKEN_FILE": str(token),
        "OAUTH_TOKEN_URL": identity.url,
        "OAUTH_CLIENT_ID": CLIENT_ID,
        "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
    }


def place(broker: Secure, listener: str) -> KafkaPlace:
    return kafka_place(f"ledger+kafka://{broker.servers(listener)}/test-{uuid.uuid4().hex}")


def settings_of(example: dict[str, str], real: dict[str, str], **more: Any) -> KafkaSettings:
    names = {name.removeprefix(PREFIX): value for name, value in example.items()}
    given = {name.lower(): real.get(name, value) for name, value in names.items()}
    return KafkaSettings(**{**given, "partitions": 1, **more})


def works(where: KafkaPlace, settings: KafkaSettings) -> None:
    """A log does all that a log does."""
    log = KafkaLog(where, settings, LEDGER_ID)
    log.create()
    stored = log.append(many(3))
    assert list(log.read(log.start())) == stored
    assert log.end().offsets[RUNS] == 3
    assert log.position_at(stored[-1].append_ms).offsets[RUNS] == 3
    log.close()


def refused(where: KafkaPlace, settings: KafkaSettings) -> str:
    """What the log says where it is not let in, well before time is up."""
    log = KafkaLog(where, settings, LEDGER_ID)
    began = time.monotonic()
    with pytest.raises(LogUnavailable) as raised:
        log.create()
    assert time.monotonic() - began < settings.timeout_s / 2
    log.close()
    told = "".join(traceback.format_exception(raised.value))
    assert "hunter2" not in told
    return str(raised.value)


def test_the_page_shows_every_way_in() -> None:
    assert set(EXAMPLES) == set(LISTENERS)
    shown = {name for example in EXAMPLES.values() for name in example}
    assert {f"{PREFIX}{field.upper()}" for field in KafkaSettings.model_fields} - shown == {
        f"{PREFIX}{name}"
        for name in (
            "SSL_CHECK_HOSTNAME", "SSL_KEYFILE", "OAUTH_CAFILE", "TIMEOUT_S", "PARTITIONS",
            "REPLICATION", "CLIENT",
        )
    }  # fmt: skip


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("heading", LISTENERS)
def test_a_log_works_by_every_example_of_the_page(
    broker: Secure, real: dict[str, str], heading: str
) -> None:
    works(place(broker, LISTENERS[heading]), settings_of(EXAMPLES[heading], real))


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("listener", ["SASL", "TEXT"])
def test_a_user_comes_in_by_password(broker: Secure, mechanism: Any, listener: str) -> None:
    clear = listener == "TEXT"
    settings = KafkaSettings(
        security_protocol="SASL_PLAINTEXT" if clear else "SASL_SSL",
        ssl_cafile=None if clear else broker.cafile,
        sasl_mechanism=mechanism,
        username=USER,
        password=PASSWORD,  # type: ignore[arg-type]
        partitions=1,
    )
    works(place(broker, listener), settings)


@pytest.mark.usefixtures("client")
def test_the_name_in_a_certificate_counts_unless_switched_off(broker: Secure) -> None:
    servers = broker.servers("TLS").replace("127.0.0.1", "localhost")
    where = kafka_place(f"ledger+kafka://{servers}/test-{uuid.uuid4().hex}")
    tls: dict[str, Any] = {"security_protocol": "SSL", "ssl_cafile": broker.cafile}
    assert "SSL_CHECK_HOSTNAME=false" in refused(where, KafkaSettings(**tls))
    works(where, KafkaSettings(ssl_check_hostname=False, partitions=1, **tls))


@pytest.mark.parametrize(
    ("heading", "wrong", "says"),
    [
        ("TLS", {"ssl_cafile": None}, "local issuer.*: whom to trust is in the system's"),
        ("TLS", {"ssl_cafile": "stranger"}, "stranger.pem, see MLFLOW_LEDGER_KAFKA_SSL_CAFILE"),
        (
            "Client certificates",
            {"ssl_certfile": None, "ssl_key_password": None},
            "refuses our side of TLS .* no certificate: .*MLFLOW_LEDGER_KAFKA_SSL_CERTFILE",
        ),
        (
            "A user's password: SCRAM or PLAIN",
            {"password": "wrong-hunter2"},
            r"let the user 'boss=of,all' in by SCRAM-SHA-512 .*: check MLFLOW_LEDGER_KAFKA_USER",
        ),
        (
            "A user's password: SCRAM or PLAIN",
            {"password": "wrong-hunter2", "sasl_mechanism": "PLAIN"},
            "does not let the user .* in by PLAIN .*: check MLFLOW_LEDGER_KAFKA_USERNAME",
        ),
        (
            "A token from an identity provider",
            {"oauth_client_secret": "wrong-hunter2"},
            r"no token for Kafka from http.*HTTP 401: invalid_client",
        ),
        ("A token from a file", {"oauth_token_file": "expired"}, "bearer of our token.*expiry"),
        ("A token from a file", {"oauth_token_file": "empty"}, "the token file .* is empty"),
    ],
)
def test_whoever_is_not_let_in_is_told_why_at_once(
    broker: Secure,
    real: dict[str, str],
    tmp_path: Path,
    heading: str,
    wrong: dict[str, str | None],
    says: str,
) -> None:
    (tmp_path / "expired").write_text(broker.identity.token(CLIENT_ID, -1000), encoding="utf-8")
    (tmp_path / "empty").touch()
    if wrong.get("ssl_cafile"):
        wrong = {"ssl_cafile": broker.stranger}
    settings = settings_of(EXAMPLES[heading], real, **wrong)
    assert re.search(says, refused(place(broker, LISTENERS[heading]), settings))


@pytest.mark.parametrize(
    ("listener", "protocol", "says"),
    [
        ("TLS", "PLAINTEXT", r"perhaps it wants TLS \(SSL or SASL_SSL\)"),
        ("TEXT", "PLAINTEXT", r"perhaps it wants a user \(SASL_SSL\)"),
        ("SASL", "SSL", r"perhaps it wants a user \(SASL_SSL\)"),
        ("CLIENT", "SSL", "does not speak TLS .* MLFLOW_LEDGER_KAFKA_SECURITY_PROTOCOL=SSL asks"),
        ("CLIENT", "SASL_PLAINTEXT", "does not let the user .* has the mechanism enabled"),
        ("OAUTH", "SASL_SSL", "does not let the user .* has the mechanism enabled"),
    ],
)
def test_a_wrong_port_or_protocol_is_told(
    broker: Secure, listener: str, protocol: str, says: str
) -> None:
    given: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        given["ssl_cafile"] = broker.cafile
    if protocol.startswith("SASL"):
        given |= {"sasl_mechanism": "SCRAM-SHA-256", "username": USER, "password": PASSWORD}
    assert re.search(says, refused(place(broker, listener), KafkaSettings(**given)))


@pytest.mark.usefixtures("client")
def test_one_server_that_lets_in_is_enough(broker: Secure) -> None:
    servers = f"127.0.0.1:1,{broker.servers('TLS')}"
    where = kafka_place(f"ledger+kafka://{servers}/test-{uuid.uuid4().hex}")
    works(where, KafkaSettings(security_protocol="SSL", ssl_cafile=broker.cafile, partitions=1))


@pytest.mark.usefixtures("client")
def test_a_token_that_ends_under_way_is_told(broker: Secure, real: dict[str, str]) -> None:
    settings = settings_of(EXAMPLES["A token from a file"], real, timeout_s=2)
    log = KafkaLog(place(broker, "OAUTH"), settings, LEDGER_ID)
    log.create()
    Path(real["OAUTH_TOKEN_FILE"]).write_text(broker.identity.token(CLIENT_ID, -1000), "utf-8")
    with pytest.raises(LogUnavailable, match="does not let the bearer of our token in"):
        log.append(many(1))
    Path(real["OAUTH_TOKEN_FILE"]).write_text(broker.identity.token(CLIENT_ID), "utf-8")
    assert len(log.append(many(1))) == 1
    log.close()


@pytest.mark.brokers
@pytest.mark.usefixtures("client")
def test_a_log_outlives_its_tokens(
    broker: Secure, real: dict[str, str], identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "lifetime_s", 3)
    settings = settings_of(EXAMPLES["A token from an identity provider"], real)
    log = KafkaLog(place(broker, "OAUTH"), settings, LEDGER_ID)
    log.create()
    count, deadline = 0, time.monotonic() + 60
    while len(identity.asked) < 3:
        assert time.monotonic() < deadline
        count += len(log.append(many(1, first=count + 1)))
    assert len(list(log.read(log.start()))) == count
    log.close()


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("heading", "more"),
    [
        ("Client certificates", {}),
        ("A user's password: SCRAM or PLAIN", {}),
        ("A user's password: SCRAM or PLAIN", {"sasl_mechanism": "PLAIN"}),
        ("A token from a file", {}),
        ("A token from an identity provider", {}),
    ],
)
def test_nothing_secret_is_logged(
    broker: Secure,
    real: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    heading: str,
    more: dict[str, str],
) -> None:
    caplog.set_level(1)
    for name in ("kafka", "httpx", "httpcore", "mlflow_ledger"):
        caplog.set_level(1, name)
    works(place(broker, LISTENERS[heading]), settings_of(EXAMPLES[heading], real, **more))
    text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "SaslAuthenticateRequest" in text or heading == "Client certificates"
    assert "hunter2" not in text
    assert Path(real["OAUTH_TOKEN_FILE"]).read_text("utf-8")[-40:] not in text
    assert "auth=Bearer" not in text
    basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    assert basic not in text


def test_a_certificate_may_be_renewed_under_a_running_log(
    broker: Secure, real: dict[str, str], tmp_path: Path, client: str
) -> None:
    shown = tmp_path / "client.pem"
    shown.write_bytes(Path(broker.certfile).read_bytes())
    real = {**real, "SSL_CERTFILE": str(shown)}
    settings = settings_of(EXAMPLES["Client certificates"], real, timeout_s=2)
    log = KafkaLog(place(broker, "MTLS"), settings, LEDGER_ID)
    log.create()
    shown.write_bytes(Path(broker.stranger_certfile).read_bytes())
    with pytest.raises(LogUnavailable, match="MLFLOW_LEDGER_KAFKA_SSL_CERTFILE"):
        log.append(many(1))
    with pytest.raises(LogUnavailable, match="MLFLOW_LEDGER_KAFKA_SSL_CERTFILE"):
        log.end()
    shown.write_bytes(Path(broker.certfile).read_bytes())
    assert log.append(many(1)) == list(log.read(log.start())), client
    log.close()


def test_the_clients_own_complaints_are_for_whoever_asks_for_them() -> None:
    logger = logging.getLogger("kafka")
    before = logger.level
    try:
        for given, effective in ((logging.NOTSET, logging.CRITICAL), (logging.INFO, logging.INFO)):
            logger.setLevel(given)
            KafkaSettings().connection(kafka_place("ledger+kafka://127.0.0.1:1/team"))
            assert logger.getEffectiveLevel() == effective
    finally:
        logger.setLevel(before)
