"""The commands of Kafka that the documentation shows, read as Kafka's own programs read them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

__all__ = ["Right", "rights", "topics"]

_OPERATIONS = {operation.name.replace("_", ""): operation for operation in ACLOperation}


class Right(NamedTuple):
    """What one ACL allows."""

    user: str
    operation: str
    topic: str
    pattern: str

    def acl(self) -> ACL:
        """The ACL, as an administrator's client sends it."""
        return ACL(
            f"User:{self.user}",
            "*",
            _OPERATIONS[self.operation.upper()],
            ACLPermissionType.ALLOW,
            ResourcePattern(
                ResourceType.TOPIC, self.topic, ACLResourcePatternType[self.pattern.upper()]
            ),
        )


def rights(page: str) -> list[Right]:
    """What the lines of ``kafka-acls.sh`` in a page allow."""
    parser = _parser("kafka-acls.sh")
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--topic", action="append", required=True)
    parser.add_argument("--resource-pattern-type", default="literal")
    found = []
    for said in _read(parser, page):
        kind, _, user = said.allow_principal.partition(":")
        assert kind == "User"
        found += [
            Right(user, operation, topic, said.resource_pattern_type)
            for operation in said.operation
            for topic in said.topic
        ]
    return found


def topics(page: str) -> dict[str, dict[str, Any]]:
    """What the lines of ``kafka-topics.sh`` in a page create."""
    parser = _parser("kafka-topics.sh")
    parser.add_argument("--create", action="store_true", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--config", action="append", required=True)
    return {
        said.topic: {
            "num_partitions": said.partitions,
            "configs": dict(config.split("=", 1) for config in said.config),
        }
        for said in _read(parser, page)
    }


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--bootstrap-server", required=True)
    return parser


def _read(parser: argparse.ArgumentParser, page: str) -> Iterator[argparse.Namespace]:
    for line in page.splitlines():
        if line.startswith(f"{parser.prog} "):
            yield parser.parse_args(shlex.split(line)[1:])
