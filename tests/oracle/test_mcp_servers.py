"""MCP servers, their versions, aliases, tags and access endpoints, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.entities.mcp_server import MCPRemoteTransportType, MCPStatus, MCPTool
from mlflow.entities.mcp_server_version import ConnectOptionSettings

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import EXISTS, INVALID, MISSING

MAKERS["create_mcp_access_endpoint"] = lambda endpoint: str(endpoint.id)
field_policy.FIELDS |= {
    (kind, field): "time"
    for kind in ("MCPServer", "MCPServerVersion", "MCPAccessEndpoint")
    for field in ("creation_timestamp", "last_updated_timestamp")
}

NAME, OTHER = "org.example/weather", "org.example/time"
ICON = {"src": "https://1.1.1.1/i.png", "mimeType": "image/png", "theme": "dark"}
SORTED = ["1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-beta", "1.0.0", "1.0.0+b", "1.2.0", "1.10.0"]
TOOL = MCPTool(name="now", description="die Zeit", input_schema={"type": "object"}, icons=[ICON])


def server_json(version: str = "1.0.0", name: str = NAME, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, **more}


def new_version(pair: Pair, version: str = "1.0.0", name: str = NAME, **more: Any) -> None:
    pair.ok("create_mcp_server_version", server_json=server_json(version, name), **more)


def look(pair: Pair, name: str = NAME) -> None:
    for method in ("get_mcp_server", "get_latest_mcp_server_version"):
        pair.call(method, name=name)
    pair.ok("search_mcp_server_versions", name=name)
    pair.ok("search_mcp_servers")
    pair.ok("search_mcp_access_endpoints")


def test_a_server_from_its_creation_to_its_end(pair: Pair) -> None:
    pair.ok("create_mcp_server", name=NAME, description="d", icons=[ICON], created_by="zoë")
    pair.fails(EXISTS, "create_mcp_server", name=NAME)
    look(pair)
    pair.ok("update_mcp_server", name=NAME)
    pair.ok("update_mcp_server", name=NAME, display_name="Weather", last_updated_by="bob")
    for what in ("description", "display_name", "icons"):
        pair.ok("update_mcp_server", name=NAME, **{what: None})
    pair.ok("update_mcp_server", name=NAME, description="", icons=[])
    pair.ok("update_mcp_server", name=NAME, description="x" * 300_000)
    look(pair)
    pair.ok("delete_mcp_server", name=NAME)
    for method in ("get_mcp_server", "delete_mcp_server", "update_mcp_server"):
        pair.fails(MISSING, method, name=NAME)
    pair.ok("create_mcp_server", name=NAME)
    look(pair)


@pytest.mark.parametrize("name", ["", "x", "a/b", "org.example/tags", "a/b/c", "org.example/ü"])
def test_senseless_names(pair: Pair, name: str) -> None:
    pair.fails(INVALID, "create_mcp_server", name=name)
    pair.fails(INVALID, "create_mcp_server_version", server_json=server_json(name=name))


@pytest.mark.parametrize(
    "icons",
    [[{}], ["x"], [{"src": "http://1.1.1.1/i"}], [{**ICON, "mimeType": "x"}], [{**ICON, "source":
        "version"}], {}],
    ids=repr,
)  # fmt: skip
def test_senseless_icons(pair: Pair, icons: Any) -> None:
    pair.call("create_mcp_server", name=NAME, icons=icons)
    pair.call("create_mcp_server_version", server_json=server_json(icons=icons))
    pair.ok("search_mcp_servers")


def test_versions_bring_their_server_along(pair: Pair) -> None:
    what = server_json(description="d", icons=[{**ICON, "source": "server"}], _meta={"a": [1, 2.5]})
    pair.ok(
        "create_mcp_server_version", server_json=what, source="s", status=MCPStatus.ACTIVE,
        tools=[TOOL], created_by="zoë", connect_options={"a": ConnectOptionSettings(hidden=True)},
    )  # fmt: skip
    look(pair)
    pair.fails(EXISTS, "create_mcp_server_version", server_json=what)
    pair.ok("update_mcp_server", name=NAME, icons=[{"src": "https://1.1.1.1/light.png"}])
    large = server_json("2.0.0", description="ü" * 300_000)
    pair.ok("create_mcp_server_version", server_json=large, tools=[])
    look(pair)
    pair.ok("get_mcp_server_version", name=NAME, version="2.0.0")
    for version in ("1", "x", "1.0", "1.0.0-01", "9999999999.0.0", 1):
        wrong = server_json(version)  # type: ignore[arg-type]  # on purpose
        pair.fails(INVALID, "create_mcp_server_version", server_json=wrong)
    pair.fails(INVALID, "create_mcp_server_version", server_json={"name": NAME})
    pair.fails(
        INVALID, "create_mcp_server_version", server_json=server_json("3.0.0"),
        status=MCPStatus.DEPRECATED,
    )  # fmt: skip
    pair.fails(INVALID, "delete_mcp_server", name=NAME)


def test_a_version_changes(pair: Pair) -> None:
    new_version(pair)
    one = {"name": NAME, "version": "1.0.0"}
    pair.ok("update_mcp_server_version", **one, tools=[TOOL], last_updated_by="bob")
    pair.ok("update_mcp_server_version", **one, tools=None)
    options = {"a": ConnectOptionSettings()}
    pair.ok("update_mcp_server_version", **one, tools=[], connect_options=options)
    pair.ok("update_mcp_server_version", **one, connect_options=None)
    pair.fails(INVALID, "update_mcp_server_version", **one, status=None)
    for status in (*MCPStatus, *reversed(MCPStatus), MCPStatus.DRAFT):
        if status != MCPStatus.DELETED:
            pair.call("update_mcp_server_version", **one, status=status)
    pair.ok("update_mcp_server_version", **one, status=MCPStatus.DELETED)
    for method in ("update_mcp_server_version", "get_mcp_server_version"):
        pair.fails(MISSING, method, **one)
    pair.fails(INVALID, "delete_mcp_server_version", **one)
    pair.fails(EXISTS, "create_mcp_server_version", server_json=server_json())
    look(pair)


def test_latest_is_the_highest_active_one(pair: Pair) -> None:
    for version in SORTED[::2] + SORTED[1::2]:
        new_version(pair, version)
        look(pair)
    for version in ("1.0.0-alpha.10", "1.0.0"):
        one = {"name": NAME, "version": version}
        pair.ok("update_mcp_server_version", **one, status=MCPStatus.ACTIVE)
        look(pair)
    pair.ok("update_mcp_server_version", **one, status=MCPStatus.DEPRECATED)
    look(pair)
    pair.ok("delete_mcp_server_version", **one)
    look(pair)


def test_searches_of_versions(pair: Pair) -> None:
    for version in SORTED[::2] + SORTED[1::2]:
        new_version(pair, version)
    pair.ok("update_mcp_server_version", name=NAME, version="1.2.0", status=MCPStatus.ACTIVE)
    pair.ok("search_mcp_server_versions", name="none")
    orders = ["version", "version DESC", "created_at DESC", "last_updated_at", "name", "nonsense"]
    for order in orders:
        pair.call("search_mcp_server_versions", name=NAME, order_by=[order])
        pair.call("search_mcp_server_versions", name=NAME, order_by=["version DESC", order])
    for comparator in ("=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE"):
        for version in ("1.0.0", "1.0.0-beta", "x"):
            text = f"version {comparator} '{version}'"
            pair.call("search_mcp_server_versions", name=NAME, filter_string=text)
    for text in (
        "status = 'active'", "status IN ('active', 'deleted')", "status NOT IN ('active')",
        "status ILIKE 'DR%'", "created_at > 5 AND status != 'draft'", "created_at < 1.5",
        f"name = '{NAME}'", "tags.a = 'b'", "version IN ('1.0.0')", "status like 'a'", "nonsense",
    ):  # fmt: skip
        pair.call("search_mcp_server_versions", name=NAME, filter_string=text)
    assert len(pair.pages("search_mcp_server_versions", 2, name=NAME)) == len(SORTED)
    for wrong in ({"max_results": 0}, {"page_token": "nonsense"}, {"max_results": 50_001}):
        pair.call("search_mcp_server_versions", name=NAME, **wrong)


def test_searches_of_servers(pair: Pair) -> None:
    for number in range(3):
        name = f"org.example/s{number}"
        new_version(pair, name=name)
        pair.ok("update_mcp_server", name=name, display_name=f"Server {number}")
        pair.ok("set_mcp_server_tag", name=name, key="team", value=f"T{number % 2}")
    pair.ok("create_mcp_server", name=NAME)
    pair.ok("set_mcp_server_tag", name=NAME, key="more", value="x")
    pair.ok(
        "update_mcp_server_version", name="org.example/s1", version="1.0.0",
        status=MCPStatus.ACTIVE,
    )  # fmt: skip
    where = {"server_name": "org.example/s1", "url": "https://a", "server_alias": "latest"}
    pair.make("create_mcp_access_endpoint", **where)
    for text in (
        "name = 'org.example/s1'", "name LIKE '%S_'", "name ILIKE '%S_'", "status = 'active'",
        "name IN ('org.example/s1', 'x')", "name NOT IN ('org.example/s1')", "status != 'active'",
        "status IN ('draft')", "display_name = 'Server 1'", "display_name ILIKE 'server%'",
        "has_access_endpoints = 'true'", "has_access_endpoints = 'False'",
        "has_access_endpoints != 'true'", "has_access_endpoints = 'x'", "tags.team = 'T0'",
        "tags.team != 'T0'", "tags.team LIKE 't%' AND tags.more = 'x'", "tags.`team` > 'T0'",
        "tags.team = 'T0' AND tags.team != 'T1' AND status = 'draft'", "tags.team IS NULL",
        "created_at > 0", "last_updated_at <= 0", "metrics.a = 1", "description = 'x'", "nonsense",
    ):  # fmt: skip
        pair.call("search_mcp_servers", filter_string=text)
    for order in ("name DESC", "created_at", "last_updated_at DESC", "status", "nonsense"):
        pair.call("search_mcp_servers", order_by=[order])
        pair.call("search_mcp_servers", order_by=[order, "name"])
    assert len(pair.pages("search_mcp_servers", 3)) == 4
    for wrong in ({"max_results": 0}, {"page_token": "nonsense"}, {"max_results": 1001}):
        pair.call("search_mcp_servers", **wrong)


def test_tags(pair: Pair) -> None:
    new_version(pair)
    server, version = {"name": NAME}, {"name": NAME, "version": "1.0.0"}
    for value in ("x", "y", ""):
        pair.ok("set_mcp_server_tag", **server, key="b", value=value)
        pair.ok("set_mcp_server_version_tag", **version, key="b", value=value)
        pair.ok("set_mcp_server_tag", **server, key="a", value=value)
        look(pair)
    for method, one in (
        ("delete_mcp_server_tag", server), ("delete_mcp_server_version_tag", version),
    ):  # fmt: skip
        pair.ok(method, **one, key="b")
        pair.fails(MISSING, method, **one, key="b")
        pair.fails(MISSING, method, **{**one, "name": "none"}, key="b")
    pair.fails(MISSING, "set_mcp_server_tag", name="none", key="a", value="b")
    pair.fails(MISSING, "set_mcp_server_version_tag", name=NAME, version="2", key="a", value="b")
    pair.ok("delete_mcp_server_version", **version)
    pair.fails(MISSING, "set_mcp_server_version_tag", **version, key="a", value="b")
    pair.fails(MISSING, "delete_mcp_server_version_tag", **version, key="a")
    look(pair)


def test_aliases(pair: Pair) -> None:
    for version in ("1.0.0", "2.0.0"):
        new_version(pair, version)
    for alias, version in (("b", "1.0.0"), ("a", "1.0.0"), ("b", "2.0.0")):
        pair.ok("set_mcp_server_alias", name=NAME, alias=alias, version=version)
        look(pair)
        pair.ok("get_mcp_server_version_by_alias", name=NAME, alias=alias)
    pair.ok("get_mcp_server_version_by_alias", name=NAME, alias="latest")
    for alias in ("none", "latest"):
        pair.fails(MISSING, "get_mcp_server_version_by_alias", name="none", alias=alias)
        pair.fails(MISSING, "delete_mcp_server_alias", name=NAME, alias=alias)
    pair.fails(MISSING, "get_mcp_server_version_by_alias", name=NAME, alias="none")
    pair.fails(INVALID, "set_mcp_server_alias", name=NAME, alias="latest", version="1.0.0")
    pair.fails(MISSING, "set_mcp_server_alias", name="none", alias="a", version="1.0.0")
    pair.fails(MISSING, "set_mcp_server_alias", name=NAME, alias="a", version="3.0.0")
    pair.ok("delete_mcp_server_alias", name=NAME, alias="a")
    # Deleted by its status, a version leaves its aliases behind.
    two = {"name": NAME, "version": "2.0.0"}
    pair.ok("update_mcp_server_version", **two, status=MCPStatus.DELETED)
    pair.fails(MISSING, "get_mcp_server_version_by_alias", name=NAME, alias="b")
    pair.fails(INVALID, "set_mcp_server_alias", name=NAME, alias="c", version="2.0.0")
    pair.fails(INVALID, "create_mcp_access_endpoint", server_name=NAME, url="u", server_alias="b")
    look(pair)


def test_endpoints(pair: Pair) -> None:
    sse = MCPRemoteTransportType.SSE
    new_version(pair)
    new_version(pair, "2.0.0", status=MCPStatus.ACTIVE)
    new_version(pair, name=OTHER)
    pair.ok("set_mcp_server_alias", name=NAME, alias="a", version="1.0.0")
    of = {"server_name": NAME, "url": "https://a"}
    ids = [
        pair.make("create_mcp_access_endpoint", **of, **to, created_by="zoë")
        for to in (
            {"server_version": "1.0.0"}, {"server_alias": "a", "transport_type": sse},
            {"server_alias": "latest"}, {"server_version": "2.0.0"},
        )
    ]  # fmt: skip
    look(pair)
    for wrong in ({}, {"server_version": "1.0.0", "server_alias": "a"}):
        pair.fails(INVALID, "create_mcp_access_endpoint", **of, **wrong)
    for url in ("", " ", None, 7):
        pair.fails(
            INVALID, "create_mcp_access_endpoint", server_name=NAME, url=url, server_alias="a"
        )
    for to in ({"server_version": "3.0.0"}, {"server_alias": "none"}):
        pair.fails(MISSING, "create_mcp_access_endpoint", **of, **to)
        one = {"server_name": NAME, "endpoint_id": ids[0]}
        pair.fails(MISSING, "update_mcp_access_endpoint", **one, **to)
    pair.fails(
        MISSING, "create_mcp_access_endpoint", server_name="none", url="u", server_alias="latest"
    )
    for change in (
        {}, {"url": "https://b", "last_updated_by": "bob"}, {"server_alias": "a"},
        {"server_version": "2.0.0", "transport_type": sse}, {"server_version": None},
        {"server_alias": None, "transport_type": None},
    ):  # fmt: skip
        pair.ok("update_mcp_access_endpoint", **one, **change)
    for change in ({"url": None}, {"url": ""}, {"server_alias": "a", "server_version": "1.0.0"}):
        pair.fails(INVALID, "update_mcp_access_endpoint", **one, **change)
    for method in (
        "get_mcp_access_endpoint", "update_mcp_access_endpoint", "delete_mcp_access_endpoint",
    ):  # fmt: skip
        pair.fails(MISSING, method, server_name=OTHER, endpoint_id=ids[0])
        pair.fails(MISSING, method, server_name=NAME, endpoint_id="none")
    for asked in (
        {"server_name": NAME}, {"server_name": OTHER}, {"server_version": "1.0.0"},
        {"server_alias": "a"}, {"server_alias": "latest"},
        {"server_alias": "a", "server_version": "1.0.0"}, {"filter_string": "status = 'active'"},
        {"filter_string": f"server_name IN ('{NAME}')"}, {"order_by": ["created_at DESC"]},
        {"filter_string": "transport_type = 'sse'"}, {"filter_string": "created_at > 0"},
        {"filter_string": "url = 'u'"}, {"order_by": ["server_name", "id DESC"]},
        {"order_by": ["url"]}, {"order_by": ["id", "id"]}, {"page_token": "nonsense"},
        {"max_results": 0}, {"filter_string": "tags.a = 'b'"},
    ):  # fmt: skip
        pair.call("search_mcp_access_endpoints", **asked)
    assert len(pair.pages("search_mcp_access_endpoints", 3)) == 4
    pair.ok("delete_mcp_access_endpoint", server_name=NAME, endpoint_id=ids[0])
    # What is deleted takes along the endpoints that name it.
    pair.ok("delete_mcp_server_version", name=NAME, version="1.0.0")
    look(pair)
    two = {"name": NAME, "version": "2.0.0"}
    for status in (MCPStatus.DRAFT, MCPStatus.DELETED):
        pair.ok("update_mcp_server_version", **two, status=status)
        look(pair)
    # This one leads nowhere, but is still there.
    pair.fails(MISSING, "get_mcp_access_endpoint", server_name=NAME, endpoint_id=ids[3])
    pair.call("update_mcp_access_endpoint", server_name=NAME, endpoint_id=ids[3], url="u")
    pair.ok("delete_mcp_access_endpoint", server_name=NAME, endpoint_id=ids[3])
    pair.ok("delete_mcp_server", name=NAME)
    look(pair, OTHER)


def test_what_is_not_there(pair: Pair) -> None:
    one = {"name": NAME, "version": "1.0.0"}
    pair.fails(MISSING, "get_mcp_server", name=NAME)
    pair.fails(MISSING, "get_latest_mcp_server_version", name=NAME)
    for method in (
        "get_mcp_server_version", "update_mcp_server_version", "delete_mcp_server_version",
    ):  # fmt: skip
        pair.fails(MISSING, method, **one)
    pair.ok("create_mcp_server", name=NAME)
    pair.fails(MISSING, "get_latest_mcp_server_version", name=NAME)
    pair.fails(
        MISSING, "create_mcp_access_endpoint", server_name=NAME, url="u", server_alias="latest"
    )


_names = st.sampled_from([NAME, NAME, OTHER])
_versions = st.sampled_from(["1.0.0", "2.0.0", "2.0.0-rc.1", "1.0.0+b"])
_aliases = st.sampled_from(["a", "b", "latest"])
_keys = st.sampled_from(["a", "b"])
_one = {"name": _names, "version": _versions}
_endpoint = {"server_name": _names, "endpoint_id": made("create_mcp_access_endpoint")}
_texts = st.sampled_from([None, "", "x"])
_target = {
    "server_version": st.one_of(st.none(), _versions),
    "server_alias": st.one_of(st.none(), _aliases),
}
CALLS: Calls = {
    "create_mcp_server": st.fixed_dictionaries({"name": _names}, optional={"description": _texts}),
    "update_mcp_server": st.fixed_dictionaries(
        {"name": _names}, optional={"description": _texts, "display_name": _texts}
    ),
    "delete_mcp_server": st.fixed_dictionaries({"name": _names}),
    "create_mcp_server_version": st.fixed_dictionaries(
        {"server_json": st.builds(server_json, _versions, _names)},
        optional={"status": st.sampled_from([None, *MCPStatus])},
    ),
    "update_mcp_server_version": st.fixed_dictionaries(
        _one, optional={"status": st.sampled_from(MCPStatus), "last_updated_by": _texts}
    ),
    "get_mcp_server_version": st.fixed_dictionaries(_one),
    "delete_mcp_server_version": st.fixed_dictionaries(_one),
    "set_mcp_server_alias": st.fixed_dictionaries({**_one, "alias": _aliases}),
    "delete_mcp_server_alias": st.fixed_dictionaries({"name": _names, "alias": _aliases}),
    "get_mcp_server_version_by_alias": st.fixed_dictionaries({"name": _names, "alias": _aliases}),
    "set_mcp_server_tag": st.fixed_dictionaries(
        {"name": _names, "key": _keys, "value": st.sampled_from(["", "v"])}
    ),
    "delete_mcp_server_tag": st.fixed_dictionaries({"name": _names, "key": _keys}),
    "set_mcp_server_version_tag": st.fixed_dictionaries(
        {**_one, "key": _keys, "value": st.sampled_from(["", "v"])}
    ),
    "delete_mcp_server_version_tag": st.fixed_dictionaries({**_one, "key": _keys}),
    "create_mcp_access_endpoint": st.fixed_dictionaries(
        {"server_name": _names, "url": st.sampled_from(["u", "v"])}, optional=_target
    ),
    "update_mcp_access_endpoint": st.fixed_dictionaries(
        _endpoint, optional={**_target, "url": st.sampled_from(["u", "w", "", None])}
    ),
    "delete_mcp_access_endpoint": st.fixed_dictionaries(_endpoint),
    "get_mcp_access_endpoint": st.fixed_dictionaries(_endpoint),
    "search_mcp_servers": st.fixed_dictionaries(
        {}, optional={"filter_string": st.sampled_from(["status = 'active'", "tags.a = 'v'"])}
    ),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for endpoint_id in ids["create_mcp_access_endpoint"]:
        pair.call("get_mcp_access_endpoint", server_name=NAME, endpoint_id=endpoint_id)
    for name in (NAME, OTHER):
        look(pair, name)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look, steps=40)
