"""Settings of the connection to Kafka: what goes together, and that nothing secret is shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from mlflow_ledger.bus import KafkaSettings, kafka_place
from mlflow_ledger.schemas import SettingsError
from tests.kafka.certificates import Authority

PREFIX = "MLFLOW_LEDGER_KAFKA_"
SECRET = "hunter2"
PLACE = kafka_place("ledger+kafka://host:9092/team")
BY_PASSWORD = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-256",
    "username": "me",
    "password": SECRET,
}
BY_PROVIDER = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://identity.example/token",
    "oauth_client_id": "me",
    "oauth_client_secret": SECRET,
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in KafkaSettings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{field.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def read(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> KafkaSettings:
    for field, value in settings.items():
        monkeypatch.setenv(f"{PREFIX}{field.upper()}", value)
    return KafkaSettings.read()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs MLFLOW_LEDGER_KAFKA_SASL_MECHANISM: PLAIN, "),
        ({**BY_PASSWORD, "password": ""}, "SCRAM-SHA-256 needs MLFLOW_LEDGER_KAFKA_PASSWORD"),
        ({**BY_PASSWORD, "username": ""}, "SCRAM-SHA-256 needs MLFLOW_LEDGER_KAFKA_USERNAME"),
        ({**BY_PASSWORD, "sasl_mechanism": "PLAIN", "password": ""}, "PLAIN needs .*_PASSWORD"),
        ({**BY_PASSWORD, "security_protocol": "SSL"}, "_PASSWORD is for SASL, .*: set SASL_SSL"),
        ({"password": SECRET}, "PASSWORD is for SASL, which .*=PLAINTEXT is without"),
        ({"ssl_cafile": __file__}, "SSL_CAFILE is for TLS, which .*=PLAINTEXT is without"),
        ({"ssl_check_hostname": "false"}, "SSL_CHECK_HOSTNAME is for TLS"),
        ({"security_protocol": "SSL", "ssl_keyfile": __file__}, "belongs to .*_SSL_CERTFILE"),
        ({"security_protocol": "SSL", "ssl_key_password": SECRET}, "belongs to .*_SSL_CERTFILE"),
        ({"security_protocol": "SSL", "ssl_cafile": "gone.pem"}, "CAFILE=gone.pem cannot be read"),
        ({"security_protocol": "SSL", "ssl_cafile": "."}, r"CAFILE=\. cannot be read"),
        ({**BY_PASSWORD, "sasl_mechanism": "OAUTHBEARER"}, "PASSWORD means nothing to"),
        ({**BY_PROVIDER, "sasl_mechanism": "PLAIN"}, "OAUTH_CLIENT_SECRET means nothing to"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
            "needs a source of tokens: MLFLOW_LEDGER_KAFKA_OAUTH_TOKEN_FILE, or .*_TOKEN_URL",
        ),
        ({**BY_PROVIDER, "oauth_token_file": __file__}, "two sources of tokens: unset one"),
        ({**BY_PROVIDER, "oauth_client_secret": ""}, "needs MLFLOW_LEDGER_KAFKA_OAUTH_CLIENT_SEC"),
        ({**BY_PROVIDER, "oauth_token_url": ""}, "needs MLFLOW_LEDGER_KAFKA_OAUTH_TOKEN_URL too"),
        ({**BY_PROVIDER, "oauth_token_url": "identity"}, "is no URL of a token endpoint"),
        ({**BY_PROVIDER, "oauth_token_url": f"https://me:{SECRET}@host/"}, "holds a name or secr"),
        ({"timeout_s": "0"}, "MLFLOW_LEDGER_KAFKA_TIMEOUT_S: Input should be greater than 0"),
        ({"sasl_mechanism": SECRET}, "MLFLOW_LEDGER_KAFKA_SASL_MECHANISM: Input should be"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        read(monkeypatch, settings)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"security_protocol": "SASL_SSL", "ssl_cafile": "gone.pem", "ssl_keyfile": "gone.key"}
    with pytest.raises(SettingsError) as raised:
        read(monkeypatch, wrong)
    for named in ("SASL_MECHANISM", "SSL_CERTFILE", "SSL_CAFILE=gone.pem", "SSL_KEYFILE=gone.key"):
        assert f"{PREFIX}{named}" in str(raised.value)


def test_what_is_set_to_nothing_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = dict.fromkeys(KafkaSettings.model_fields, "")
    assert read(monkeypatch, empty) == KafkaSettings()


def test_settings_come_from_a_dotenv(tmp_path: Path) -> None:
    lines = [f"{PREFIX}{field.upper()}={value}\n" for field, value in BY_PASSWORD.items()]
    (tmp_path / ".env").write_text("".join(lines), encoding="utf-8")
    settings = KafkaSettings.read()
    assert settings.password is not None
    assert settings.password.get_secret_value() == SECRET


@pytest.mark.parametrize("settings", [BY_PASSWORD, BY_PROVIDER])
def test_no_secret_is_shown(settings: dict[str, str]) -> None:
    made = KafkaSettings(**settings)  # type: ignore[arg-type]
    shown = [repr(made), str(made), repr(made.tokens), made.model_dump_json()]
    told = made.connection(PLACE)
    assert SECRET not in " ".join([*shown, repr(told), str(told)])
    with pytest.raises(ValidationError) as raised:
        KafkaSettings(**{**settings, "security_protocol": "SSL"})  # type: ignore[arg-type]
    assert SECRET not in str(raised.value)


def test_a_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing", encoding="utf-8")
    settings = KafkaSettings(security_protocol="SSL", ssl_cafile=str(nothing))
    with pytest.raises(SettingsError, match=r"SSL_CAFILE=.*nothing\.pem does not hold certific"):
        settings.connection(PLACE)
    settings = KafkaSettings(security_protocol="SSL", ssl_certfile=str(nothing))
    with pytest.raises(SettingsError, match=r"SSL_CERTFILE=.*nothing\.pem does not hold a cert"):
        settings.connection(PLACE)


@pytest.mark.parametrize("given", [None, "wrong"])
def test_a_key_that_stays_locked_is_told_and_nobody_is_asked(
    tmp_path: Path, given: str | None
) -> None:
    certfile = Authority(tmp_path, "authority").sign("client", password=SECRET)
    settings = KafkaSettings(
        security_protocol="SSL",
        ssl_certfile=str(certfile),
        ssl_key_password=given,  # type: ignore[arg-type]
    )
    with pytest.raises(SettingsError, match="MLFLOW_LEDGER_KAFKA_SSL_KEY_PASSWORD"):
        settings.connection(PLACE)


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    settings = KafkaSettings(
        security_protocol="SSL",
        ssl_certfile=str(authority.sign("one")),
        ssl_keyfile=str(authority.sign("two")),
    )
    with pytest.raises(SettingsError, match=r"one\.pem and .*two\.pem does not hold .*MISMATCH"):
        settings.connection(PLACE)
