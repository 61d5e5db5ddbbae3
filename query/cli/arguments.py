"""What commands are given: a ledger's URI, a moment, an entity; each checked when it is read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mlflow_ledger.consumers import Ledger

__all__ = [
    "ENTITY",
    "LINEAGE",
    "MOMENT",
    "any_uri",
    "as_json",
    "ledger_at",
    "limit",
    "since",
    "uri",
    "workspace",
]

F = TypeVar("F", bound=Callable[..., Any])


if TYPE_CHECKING:
    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # generic in newer versions of click only


class _Checked(_Text):
    """A text whose form is checked; a wrong one is a mistake in the command line."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form, give the text on as it is."""
        from mlflow_ledger.schemas import SettingsError

        try:
            self.check(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)
        return str(value)

    @abstractmethod
    def check(self, text: str) -> None:
        """Raise SettingsError where the text makes no sense."""


class _Uri(_Checked):
    name = "uri"

    def check(self, text: str) -> None:
        from mlflow_ledger.consumers import check_uri

        check_uri(text)


class _AnyUri(_Checked):
    name = "uri"

    def check(self, text: str) -> None:
        from mlflow_ledger.bus import KAFKA_SCHEME, folder_of, kafka_place, split_as_of
        from mlflow_ledger.schemas import SettingsError

        if split_as_of(text)[1] is not None:
            msg = f"{text!r}: what waits on this host waits now; leave as_of= out"
            raise SettingsError(msg)
        if text.startswith(f"{KAFKA_SCHEME}:"):
            kafka_place(text)
        else:
            folder_of(text)


class _Moment(_Checked):
    name = "moment"

    def check(self, text: str) -> None:
        from mlflow_ledger.query.moment import parse_moment

        parse_moment(text)


class _Entity(_Checked):
    name = "entity"

    def check(self, text: str) -> None:
        from mlflow_ledger.query.address import Address

        Address.parse(text)


class _LineageEntity(_Checked):
    name = "entity"

    def check(self, text: str) -> None:
        from mlflow_ledger.query.lineage_address import LineageAddress

        LineageAddress.parse(text)


ENTITY = _Entity()
LINEAGE = _LineageEntity()
MOMENT = _Moment()


def uri(command: F) -> F:
    """The argument that names the ledger."""
    return click.argument("uri", metavar="URI", type=_Uri())(command)


def any_uri(command: F) -> F:
    """The argument that names a ledger, in a folder or in Kafka."""
    return click.argument("uri", metavar="URI", type=_AnyUri())(command)


def since(command: F) -> F:
    """The option to begin at a moment."""
    return click.option(
        "--since",
        type=MOMENT,
        metavar="TIME|POSITION",
        help="Begin with what was appended at this time (RFC 3339, with Z or an offset) or later, "
        "or at this position.",
    )(command)


def limit(command: F) -> F:
    """The option to stop after some rows."""
    return click.option(
        "--limit", type=click.IntRange(min=1), metavar="N", help="Stop after this many."
    )(command)


def workspace(command: F) -> F:
    """The option that says in which workspace a name is meant."""
    return click.option(
        "--workspace", metavar="NAME", help="The workspace of MLflow's that is meant."
    )(command)


def as_json(what: str) -> Callable[[F], F]:
    """The option to answer in JSON."""
    return click.option("--json", "as_json", is_flag=True, help=f"Answer in JSON: {what}.")


def ledger_at(uri: str, *, create: bool = False, present: bool = False) -> Ledger:
    """The ledger of a URI; where there is none, nothing is made, unless ``create`` says so.

    ``present`` is for what can only be done to the ledger as it is now.

    Raises:
        SettingsError: the URI names an earlier moment, and the present is needed.
        LogMissing: there is no ledger in that folder, or no topics on that cluster.
        LogUnavailable: the cluster is away.
    """
    from mlflow_ledger.bus import KAFKA_SCHEME, folder_of, split_as_of
    from mlflow_ledger.consumers import open_ledger
    from mlflow_ledger.query.progress import ProgressShown
    from mlflow_ledger.schemas import LogMissing, SettingsError

    now, as_of = split_as_of(uri)
    if present and as_of is not None:
        msg = f"this is done to the ledger as it is, not as of {as_of}: write {now}"
        raise SettingsError(msg)
    if uri.startswith(f"{KAFKA_SCHEME}:"):
        ledger = open_ledger(uri, create=create, telling=ProgressShown())
        ledger.follow()
        return ledger
    folder = folder_of(uri)
    if not create and not (folder / "log.sqlite").is_file():
        msg = (
            f"there is no ledger in {folder}. Check the URI; a ledger comes into being when "
            f"something is logged to it, for instance by: MLFLOW_TRACKING_URI={now} python train.py"
        )
        raise LogMissing(msg)
    return open_ledger(uri, telling=ProgressShown())
