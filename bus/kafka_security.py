"""How the connection to a Kafka cluster is secured, and who we are there: settings, checked."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_ledger.schemas import SettingsError

from .kafka_tokens import ClientTokens, FileTokens, Tokens

__all__ = ["KafkaSecurity"]

_PREFIX = "MLFLOW_LEDGER_KAFKA_"
_FOR_TLS = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password")
_FOR_PASSWORDS = ("username", "password")
_OF_PROVIDER = ("oauth_token_url", "oauth_client_id", "oauth_client_secret")
_FOR_PROVIDER = ("oauth_scope", "oauth_cafile")
_FOR_TOKENS = ("oauth_token_file", *_OF_PROVIDER, *_FOR_PROVIDER)
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "oauth_token_file", "oauth_cafile")


class KafkaSecurity(BaseSettings):
    """What the environment (``MLFLOW_LEDGER_KAFKA_*``) and ``.env`` say of who may talk to whom.

    Clients take from it what their library wants: files by name, or :meth:`ssl_context`;
    passwords, or :attr:`tokens`.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        env_ignore_empty=True,  # compose files hand on what is not set as nothing
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the connection is secured."""

    ssl_cafile: str | None = None
    """Certificates of who may sign for the brokers (PEM); default: those of the system."""

    ssl_check_hostname: bool = True
    """Whether a broker's certificate has to name the host that was connected to."""

    ssl_certfile: str | None = None
    """The client's own certificate (PEM), where brokers ask for one."""

    ssl_keyfile: str | None = None
    """The key of that certificate (PEM), where it does not stand beside it."""

    ssl_key_password: SecretStr | None = None
    """What that key is encrypted with."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """How the user proves who they are, where the protocol is one of SASL."""

    username: str | None = None
    """The user, for PLAIN and SCRAM."""

    password: SecretStr | None = None
    """The user's password, for PLAIN and SCRAM."""

    oauth_token_file: str | None = None
    """A file that holds a token, renewed by someone else; read whenever one is needed."""

    oauth_token_url: str | None = None
    """Where an identity provider gives tokens for a client's id and secret."""

    oauth_client_id: str | None = None
    """The client, at the identity provider."""

    oauth_client_secret: SecretStr | None = None
    """The client's secret, at the identity provider."""

    oauth_scope: str | None = None
    """The scope to ask for."""

    oauth_cafile: str | None = None
    """Who may sign for the identity provider (PEM); default: those of the system."""

    _tokens: Tokens | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse what contradicts itself, all of it at once."""
        problems = (self._unused(), self._wanted(), self._wanted_for_tokens(), self._files())
        said = "; ".join(chain(*problems))
        if said:
            raise ValueError(said)
        self._tokens = self._source_of_tokens()
        return self

    @property
    def tokens(self) -> Tokens | None:
        """Where tokens come from, for OAUTHBEARER; one for all clients made of these settings."""
        return self._tokens

    def ssl_context(self) -> ssl.SSLContext | None:
        """What a connection trusts and shows, as the files are now; None without TLS.

        Raises:
            SettingsError: a file is not what its setting says.
        """
        if not self._encrypted():
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
        except (OSError, ValueError) as error:
            raise _unfit("ssl_cafile", self.ssl_cafile, "certificates in PEM", error) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certfile is not None:
            self._show(context, self.ssl_certfile)
        return context

    def _show(self, context: ssl.SSLContext, certfile: str) -> None:
        """Have the client show its own certificate."""
        secret = self.ssl_key_password.get_secret_value() if self.ssl_key_password else ""
        try:
            # Without a password OpenSSL would ask the terminal for one, and wait.
            context.load_cert_chain(certfile, self.ssl_keyfile, lambda: secret)
        except (OSError, ValueError) as error:
            what = "a certificate and its key in PEM"
            if isinstance(error, ssl.SSLError) and error.reason != "NO_START_LINE":
                what += f", the key encrypted with {_names('ssl_key_password')} or not at all"
            files = " and ".join(filter(None, (certfile, self.ssl_keyfile)))
            raise _unfit("ssl_certfile", files, what, error) from error

    def _encrypted(self) -> bool:
        return self.security_protocol in {"SSL", "SASL_SSL"}

    def _sasl(self) -> bool:
        return self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    def _set(self, *names: str) -> list[str]:
        """Those of the settings that are set."""
        return [name for name in names if getattr(self, name) is not None]

    def _unset(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is None]

    def _unused(self) -> Iterator[str]:
        """What is set and would do nothing: whoever set it believes to be safer than they are."""
        protocol = f"{_names('security_protocol')}={self.security_protocol}"
        tls = self._set(*_FOR_TLS) + ([] if self.ssl_check_hostname else ["ssl_check_hostname"])
        if tls and not self._encrypted():
            yield f"{_names(*tls)} is for TLS, which {protocol} is without: set SSL or SASL_SSL"
        sasl = self._set("sasl_mechanism", *_FOR_PASSWORDS, *_FOR_TOKENS)
        if sasl and not self._sasl():
            yield f"{_names(*sasl)} is for SASL, which {protocol} is without: set SASL_SSL"
            return
        others = self._set(*(_FOR_PASSWORDS if self._by_token() else _FOR_TOKENS))
        if others and self.sasl_mechanism is not None:
            mechanism = f"{_names('sasl_mechanism')}={self.sasl_mechanism}"
            yield f"{_names(*others)} means nothing to {mechanism}: unset one of the two"

    def _wanted(self) -> Iterator[str]:
        """What is missing, of all but tokens."""
        if self._sasl() and self.sasl_mechanism is None:
            yield (
                f"{_names('security_protocol')}={self.security_protocol} needs "
                f"{_names('sasl_mechanism')}: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
            )
        if self.sasl_mechanism is not None and not self._by_token():
            missing = self._unset(*_FOR_PASSWORDS)
            if missing:
                yield f"{_names('sasl_mechanism')}={self.sasl_mechanism} needs {_names(*missing)}"
        alone = self._set("ssl_keyfile", "ssl_key_password")
        if alone and self.ssl_certfile is None:
            yield f"{_names(*alone)} belongs to {_names('ssl_certfile')}: set that too"

    def _by_token(self) -> bool:
        return self.sasl_mechanism == "OAUTHBEARER"

    def _wanted_for_tokens(self) -> Iterator[str]:
        """What is missing of a source of tokens, or one too many."""
        if not self._by_token():
            return
        file, provider = self.oauth_token_file, self._set(*_OF_PROVIDER, *_FOR_PROVIDER)
        if file is not None and provider:
            yield (
                f"{_names('oauth_token_file')} and {_names(*provider)} are two sources of tokens: "
                "unset one"
            )
        elif file is None and not provider:
            yield (
                f"{_names('sasl_mechanism')}=OAUTHBEARER needs a source of tokens: "
                f"{_names('oauth_token_file')}, or {_names(*_OF_PROVIDER)}"
            )
        elif provider:
            missing = self._unset(*_OF_PROVIDER)
            if missing:
                yield f"{_names(*provider)} needs {_names(*missing)} too"
            yield from self._wrong_url()

    def _wrong_url(self) -> Iterator[str]:
        if self.oauth_token_url is None:
            return
        parts = urlsplit(self.oauth_token_url)
        if "@" in parts.netloc:
            yield (
                f"{_names('oauth_token_url')} holds a name or secret: they go into "
                f"{_names('oauth_client_id', 'oauth_client_secret')}"
            )
        elif parts.scheme not in {"https", "http"} or not parts.hostname:
            yield (
                f"{_names('oauth_token_url')}={self.oauth_token_url} is no URL of a token "
                "endpoint: one is https://host/path"
            )

    def _files(self) -> Iterator[str]:
        """Files that are not there, or not for us."""
        for name in self._set(*_FILES):
            path = getattr(self, name)
            try:
                Path(path).open("rb").close()
            except OSError as error:
                yield f"{_names(name)}={path} cannot be read ({error.strerror})"

    def _source_of_tokens(self) -> Tokens | None:
        if not self._by_token():
            return None
        if self.oauth_token_file is not None:
            return FileTokens(Path(self.oauth_token_file).absolute())
        assert self.oauth_token_url is not None
        assert self.oauth_client_id is not None
        assert self.oauth_client_secret is not None
        return ClientTokens(
            self.oauth_token_url,
            self.oauth_client_id,
            self.oauth_client_secret.get_secret_value(),
            self.oauth_scope,
            self.oauth_cafile,
        )


def _names(*fields: str) -> str:
    """The variables of fields."""
    return ", ".join(f"{_PREFIX}{field.upper()}" for field in fields)


def _unfit(field: str, value: str | None, wanted: str, error: Exception) -> SettingsError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return SettingsError(f"{_names(field)}={value} does not hold {wanted} ({reason})")
