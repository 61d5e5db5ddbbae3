"""One broker that lets in by every means: TLS, client certificates, SASL; with an authorizer on."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ResourcePatternFilter,
    UserScramCredentialUpsertion,
)

from tests.ports import free_port

from .broker import Cluster
from .certificates import Authority
from .identity import CLIENT_ID, Identity
from .servers import need_brokers, running

__all__ = ["KEY_PASSWORD", "PASSWORD", "USER", "Secure", "secure"]

USER = "boss=of,all"
"""May do everything; its name is one that SCRAM has to escape."""
PASSWORD = "password-hunter2"
KEY_PASSWORD = "key-hunter2"
_LISTENERS = {
    "TLS": "SSL",
    "MTLS": "SSL",
    "SASL": "SASL_SSL",
    "TEXT": "SASL_PLAINTEXT",
    "OAUTH": "SASL_SSL",
}
_SECURITY = "org.apache.kafka.common.security"
_AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
_ALLOWED = "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls"
_OAUTH = "listener.name.oauth"


class Secure:
    """The broker, and what its clients need; all but who comes by SASL may do everything."""

    def __init__(self, folder: Path) -> None:
        """Make certificates and start the broker."""
        authority = Authority(folder, "authority")
        self.identity = Identity()
        self.cafile = str(authority.file)
        stranger = Authority(folder, "stranger")
        self.stranger = str(stranger.file)
        self.certfile = str(authority.sign("client", password=KEY_PASSWORD))
        self.stranger_certfile = str(stranger.sign("nobody", password=KEY_PASSWORD))
        self._listeners = {name: (free_port(), how) for name, how in _LISTENERS.items()}
        server = authority.sign("server", address="127.0.0.1")
        keys = self.identity.keys(folder / "keys.json")
        scram = f"{_SECURITY}.scram.ScramLoginModule required;"
        self._cluster = running(
            Cluster(
                folder / "cluster",
                listeners=self._listeners,
                flags=(f"{_ALLOWED}={keys.as_uri()}",),
                settings={
                    "ssl.keystore.type": "PEM",
                    "ssl.keystore.location": str(server),
                    "ssl.truststore.type": "PEM",
                    "ssl.truststore.location": self.cafile,
                    "listener.name.mtls.ssl.client.auth": "required",
                    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                    **{
                        f"listener.name.{listener}.{key}.sasl.jaas.config": module
                        for listener in ("sasl", "text")
                        for key, module in {
                            "plain": f"{_SECURITY}.plain.PlainLoginModule required "
                            f'"user_{USER}"="{PASSWORD}";',
                            "scram-sha-256": scram,
                            "scram-sha-512": scram,
                        }.items()
                    },
                    f"{_OAUTH}.sasl.enabled.mechanisms": "OAUTHBEARER",
                    f"{_OAUTH}.oauthbearer.sasl.jaas.config": (
                        f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule required;"
                    ),
                    f"{_OAUTH}.oauthbearer.sasl.server.callback.handler.class": (
                        f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler"
                    ),
                    f"{_OAUTH}.oauthbearer.connections.max.reauth.ms": "3600000",
                    f"{_OAUTH}.sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
                    f"{_OAUTH}.sasl.oauthbearer.expected.audience": "kafka",
                    "authorizer.class.name": _AUTHORIZER,
                    "super.users": ";".join(
                        f"User:{who}" for who in ("ANONYMOUS", "CN=client", USER, CLIENT_ID)
                    ),
                },
            )
        )
        self.add_user(USER)

    def servers(self, listener: str = "CLIENT") -> str:
        """Where a listener is: CLIENT (in the clear, may do everything), TLS, MTLS and so on."""
        if listener == "CLIENT":
            return self._cluster.servers
        return f"127.0.0.1:{self._listeners[listener][0]}"

    def admin(self) -> KafkaAdminClient:
        """A client that may do everything."""
        return KafkaAdminClient(bootstrap_servers=self.servers())

    def add_user(self, name: str) -> None:
        """Let a user in by SCRAM, with ``PASSWORD``; returns when the broker knows."""
        admin = self.admin()
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            wanted = UserScramCredentialUpsertion(name, mechanism, PASSWORD)
            told = admin.alter_user_scram_credentials([wanted])
            assert told == {name: None}, told
        while len(admin.describe_user_scram_credentials([name])[name]["credential_infos"]) < 2:
            pass
        admin.close()

    def allow(self, acls: Iterable[ACL]) -> None:
        """Give rights; returns when the broker heeds them."""
        wanted = list(acls)
        admin = self.admin()
        assert not admin.create_acls(wanted)["failed"]
        for acl in wanted:
            while not _found(admin, acl):
                pass
        admin.close()

    def forbid(self, acls: Iterable[ACL]) -> None:
        """Take rights away; returns when the broker heeds it."""
        admin = self.admin()
        for acl in acls:
            admin.delete_acls([_filter(acl)])
            while _found(admin, acl):
                pass
        admin.close()


def _found(admin: KafkaAdminClient, acl: ACL) -> bool:
    """Whether the broker has heard of an ACL."""
    found, _ = admin.describe_acls(_filter(acl))
    return bool(found)


def _filter(acl: ACL) -> ACLFilter:
    pattern = acl.resource_pattern
    return ACLFilter(
        acl.principal,
        acl.host,
        acl.operation,
        acl.permission_type,
        ResourcePatternFilter(pattern.resource_type, pattern.resource_name, pattern.pattern_type),
    )


@functools.cache
def secure() -> Secure:
    """The broker, which lasts as long as this process of the tests."""
    need_brokers()
    return Secure(Path(tempfile.mkdtemp(prefix="kafka-secure-")))
