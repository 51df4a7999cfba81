"""Two tenants behind one gateway: neither sees, calls, explains, lists or reads anything of the other's."""

import json
import re
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, cast

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import Caller, Gateway, answer_in, operator, text_of
from tests.fakes_upstreams import RawServer, raw_server

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(lying.behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer) -> Gateway:
    root = f"http://127.0.0.1:{upstream.port}"
    own = {
        name: {"url": f"{root}/{name}", "tenant": tenant}
        for tenant in ("acme", "beta")
        for name in (f"{tenant}-notes", f"{tenant}-page")
    }
    agents = {f"{tenant}-agent": {"card": f"{root}/agent-same", "tenant": tenant} for tenant in ("acme", "beta")}
    people = {
        name: {"roles": ["all"], "tenant": tenant, "key": f"env:{name.upper()}_KEY", "kind": kind}
        for name, tenant, kind in (
            ("ana", "acme", "client"),
            ("bea", "beta", "client"),
            ("olga", "acme", "operator"),
            ("otto", "beta", "operator"),
        )
    }
    stage = {"tool": "shared/look", "input": {"order": "$task.message"}}
    return serve(
        {
            "servers": {
                **own,
                "acme-held": {"url": f"{root}/acme-notes", "tenant": "acme", "pinning": "approve"},
                "shared": {
                    "url": f"{root}/shop",
                    "tenant": "*",
                    "tools": {"act": {"idempotency": "argument:key"}, "look": {"tags": ["read"]}},
                },
            },
            "agents": {**agents, "shared-agent": {"card": f"{root}/agent-same", "tenant": "*"}},
            "workflows": {"desk": {"pattern": "sequential", "tenant": "*", "stages": [stage]}},
            "roles": {"all": {"allow": ["*"]}},
            "principals": people,
            "egress": {"allow": ["127.0.0.0/8"], "ports": []},
        }
    )


@pytest.fixture
async def ana(gateway: Gateway) -> AsyncIterator[Caller]:
    async with Caller(gateway, "ana") as ana:
        with anyio.fail_after(120):
            yield ana


@pytest.fixture
async def bea(gateway: Gateway) -> AsyncIterator[Caller]:
    async with Caller(gateway, "bea") as bea:
        yield bea


@pytest.fixture
async def olga(gateway: Gateway) -> AsyncIterator[Caller]:
    """Operator of ana's tenant."""
    async with Caller(gateway, "olga") as olga:
        yield olga


@pytest.fixture
async def otto(gateway: Gateway) -> AsyncIterator[Caller]:
    """Operator of bea's tenant."""
    async with Caller(gateway, "otto") as otto:
        yield otto


def hello(message_id: str = "m-1") -> dict[str, Any]:
    return {"message": {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": "hello"}]}}


async def test_each_sees_its_own_and_what_is_everybodys(ana: Caller, bea: Caller) -> None:
    common = {"agents__shared-agent", "shared__act", "shared__look", "workflows__desk"}
    assert set(await ana.tools()) == {*common, "acme-notes__act", "acme-notes__look", "agents__acme-agent"}
    assert set(await bea.tools()) == {*common, "beta-notes__act", "beta-notes__look", "agents__beta-agent"}
    listed = answer_in(await ana.modern("tools/list", {}))
    assert "beta" not in json.dumps(listed)


@pytest.mark.parametrize("tool", ["notes__act", "page__act"])
async def test_a_tool_of_the_others_is_as_unknown_as_one_that_never_was(
    tool: str, ana: Caller, bea: Caller, olga: Caller, otto: Caller
) -> None:
    theirs, never = await ana.call(f"beta-{tool}"), await ana.call(f"zeta-{tool}")
    assert _alike(theirs, "beta") == _alike(never, "zeta")
    record_id = theirs["error"]["data"]["record"]
    assert (await olga.record(record_id))["code"] == 1404
    assert (await otto.api(f"/audit/{record_id}")).status_code == 404


def _alike(said: dict[str, Any], tenant: str) -> dict[str, Any]:
    """An error without what has to differ."""
    error = json.loads(json.dumps(said["error"]).replace(tenant, "X"))
    error["data"].pop("record")
    found: dict[str, Any] = error
    return found


async def test_an_endpoint_of_the_others_is_not_there(ana: Caller) -> None:
    theirs = await ana.modern("tools/list", {}, path="/mcp/beta-notes")
    never = await ana.modern("tools/list", {}, path="/mcp/zeta-notes")
    assert (theirs.status_code, never.status_code) == (404, 404)
    assert theirs.text.replace("beta", "zeta") == never.text
    assert (await ana.modern("tools/list", {}, path="/mcp/acme-notes")).status_code == 200


async def test_an_agent_of_the_others_is_not_there_and_neither_is_its_card(ana: Caller) -> None:
    theirs, never = [await ana.a2a(f"{tenant}-agent", "SendMessage", hello()) for tenant in ("beta", "zeta")]
    assert theirs["error"]["data"][0]["metadata"]["code"] == "1404"
    assert theirs["error"]["message"].replace("beta", "zeta") == never["error"]["message"]
    card = "/.well-known/agent-card.json"
    for tenant, status in (("beta", 404), ("zeta", 404), ("acme", 200)):
        assert (await ana.send(f"/agents/{tenant}-agent{card}", b"", method="GET")).status_code == status


@pytest.mark.parametrize("path", ["/tools", "/principals", "/agents", "/keys", "/status", "/runs", "/audit"])
async def test_an_operator_reads_nothing_of_the_other_tenant(path: str, ana: Caller, bea: Caller, otto: Caller) -> None:
    await ana.call("acme-notes__act", note="acme")
    await ana.call("workflows__desk", message="acme's order")
    await bea.call("workflows__desk", message="beta's order")
    said = await otto.api(path)
    assert said.status_code == 200
    assert [each for each in _texts_in(said.json()) if each == "ana" or "acme" in _WITHOUT_IDS.sub("", each)] == []


_WITHOUT_IDS = re.compile(r"\b[a-z]+_[0-9a-hjkmnp-tv-z]{26}\b")
"""An id is mostly chance, and spells any four letters now and then."""


def _texts_in(said: Any) -> Iterator[str]:
    """Every name and every text of a JSON value."""
    if isinstance(said, dict):
        members = cast("dict[str, Any]", said)
        yield from members
        said = [*members.values()]
    if isinstance(said, list):
        for each in cast("list[Any]", said):
            yield from _texts_in(each)
    elif isinstance(said, str):
        yield said


async def test_an_operator_explains_nothing_to_the_other_tenant(olga: Caller, otto: Caller) -> None:
    query = {"as": "ana", "call": "tool:shared/act"}
    assert (await olga.api("/explain", **query)).json()["allowed"] is True
    theirs, never = await otto.api("/explain", **query), await otto.api("/explain", **{**query, "as": "nobody"})
    assert (theirs.status_code, theirs.text) == (never.status_code, never.text)
    assert (await otto.api("/tools", **{"as": "ana"})).status_code == 404
    own, foreign = [
        (await otto.api("/explain", **{"as": "bea", "call": f"tool:{name}/act"})).json()
        for name in ("zeta-notes", "acme-notes")
    ]
    assert str(own).replace("zeta", "acme") == str(foreign)


async def test_what_waits_for_approval_is_as_unknown_to_the_others_as_what_never_was(
    ana: Caller, olga: Caller, otto: Caller
) -> None:
    await ana.tools()
    query = {"as": "ana", "call": "tool:acme-held/act"}
    assert (await olga.api("/explain", **query)).json()["policy"] == "pinning"
    held, never = [
        (await otto.api("/explain", **{"as": "bea", "call": f"tool:{name}-held/act"})).text for name in ("acme", "zeta")
    ]
    assert held.replace("acme", "zeta") == never


async def test_equal_task_ids_of_a_shared_agent_belong_to_whoever_opened_them(ana: Caller, bea: Caller) -> None:
    mine = await ana.a2a("shared-agent", "SendMessage", hello())
    assert mine["result"]["task"]["id"] == "t-1"
    for method in ("GetTask", "CancelTask"):
        assert (await bea.a2a("shared-agent", method, {"id": "t-1"}))["error"]["code"] == -32001
    assert (await bea.a2a("shared-agent", "ListTasks", {}))["result"]["tasks"] == []
    hers = await bea.a2a("shared-agent", "SendMessage", hello())
    assert hers["result"]["task"]["id"] == "t-1"
    for caller in (ana, bea):
        assert (await caller.a2a("shared-agent", "GetTask", {"id": "t-1"}))["result"]["id"] == "t-1"


async def test_equal_message_ids_start_two_runs_and_neither_reaches_the_others(
    ana: Caller, bea: Caller, olga: Caller, otto: Caller
) -> None:
    mine, hers = [(await each.a2a("desk", "SendMessage", hello("m-7")))["result"]["task"]["id"] for each in (ana, bea)]
    again = (await ana.a2a("desk", "SendMessage", hello("m-7")))["result"]["task"]["id"]
    assert mine == again != hers
    for method in ("GetTask", "CancelTask", "SubscribeToTask"):
        assert (await bea.a2a("desk", method, {"id": mine}))["error"]["code"] == -32001
    assert mine not in [each["id"] for each in (await bea.a2a("desk", "ListTasks", {}))["result"]["tasks"]]
    assert (await olga.api(f"/runs/{mine}")).status_code == 200
    for path, method in (("", "GET"), ("/events", "GET"), ("/cancel", "POST"), ("/resume", "POST")):
        assert (await otto.api(f"/runs/{mine}{path}", method=method)).status_code == 404


async def test_equal_idempotency_keys_of_equal_names_are_two_effects(
    gateway: Gateway, upstream: RawServer, ana: Caller, otto: Caller
) -> None:
    minted = (await otto.api("/keys", method="POST", body={"subject": "ana", "roles": ["all"]})).json()
    meta = {"drawbridge/idempotency-key": "k-1"}

    def keys_seen() -> list[str]:
        bodies = [json.loads(each.body)["params"] for each in upstream.exchanges if b'"tools/call"' in each.body]
        return [body["arguments"]["key"] for body in bodies if body["arguments"].get("mark") == "twins"]

    async with Caller(gateway, "ana", minted["secret"]) as other_ana:
        for caller in (ana, other_ana, ana, other_ana):
            assert "twins" in text_of(await caller.call("shared__act", meta=meta, mark="twins"))
    assert len(keys_seen()) == 2
    assert len(set(keys_seen())) == 2


async def test_a_session_of_the_others_is_not_there(ana: Caller, bea: Caller) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()
    session = (await ana.send("/mcp", body)).headers["mcp-session-id"]
    ping = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"}).encode()
    assert (await ana.send("/mcp", ping, ("mcp-session-id", session))).status_code == 200
    assert (await bea.send("/mcp", ping, ("mcp-session-id", session))).status_code == 404
    assert (await bea.send("/mcp", b"", ("mcp-session-id", session), method="DELETE")).status_code == 404
    assert (await ana.send("/mcp", ping, ("mcp-session-id", session))).status_code == 200


async def test_an_agent_one_operator_adds_is_nothing_to_the_other(
    upstream: RawServer, ana: Caller, bea: Caller, olga: Caller, otto: Caller
) -> None:
    order = {"url": f"http://127.0.0.1:{upstream.port}/agent-same", "slug": "added"}
    assert (await olga.api("/agents", method="POST", body=order)).status_code == 201
    assert "added" in [each["slug"] for each in (await olga.api("/agents")).json()["agents"]]
    assert "added" not in [each["slug"] for each in (await otto.api("/agents")).json()["agents"]]
    assert (await otto.api("/agents/added")).status_code == 404
    assert (await otto.api("/agents/added", method="DELETE")).status_code == 404
    sent = await ana.a2a("added", "SendMessage", hello())
    assert "result" in sent, sent
    assert "error" in await bea.a2a("added", "SendMessage", hello())
    assert (await olga.api("/agents/added", method="DELETE")).status_code == 204


async def test_keys_are_minted_and_revoked_within_a_tenant(gateway: Gateway, olga: Caller, otto: Caller) -> None:
    key = (await olga.api("/keys", method="POST", body={"subject": "new", "roles": ["all"]})).json()
    async with Caller(gateway, "new", key["secret"]) as new:
        assert "acme-notes__act" in await new.tools()
        assert (await otto.api(f"/keys/{key['key']['id']}", method="DELETE")).status_code == 404
        assert (await new.modern("tools/list", {})).status_code == 200
        assert (await olga.api(f"/keys/{key['key']['id']}", method="DELETE")).status_code == 204
        assert (await new.modern("tools/list", {})).status_code == 401


async def test_the_gateways_own_operator_works_in_the_default_tenant(gateway: Gateway) -> None:
    async with operator(gateway) as someone:
        assert "acme" not in (await someone.api("/principals")).text
        assert [each["owner"] for each in (await someone.api("/tools")).json()["tools"]].count("acme-notes") == 0
