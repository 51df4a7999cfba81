"""Bad input from callers, and what it gets: the right protocol error within a bound, and nobody else disturbed."""

import base64
import json
from collections.abc import AsyncIterator, Generator
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e import lying
from tests.e2e.conftest import Serve
from tests.e2e.gateways import MODERN, Caller, Gateway, answer_in, key_of, modern_request, operator, text_of
from tests.e2e.raw_http import first_bytes, head_of
from tests.fakes_upstreams import RawServer, raw_server

pytestmark = pytest.mark.anyio

DEEP = b"[" * 10_000 + b"]" * 10_000
TWENTY_MB = 20 * 1024 * 1024
LOOSE = ("Traceback", ".py", "site-packages", "/work", "drawbridge/")
SHOP: dict[str, Any] = {"name": "shop__look", "arguments": {}}
A2A = ("a2a-version", "1.0")
HELLO: dict[str, Any] = {"message": {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}}


@pytest.fixture(scope="module")
def upstream(portal: BlockingPortal) -> Generator[RawServer]:
    with portal.wrap_async_context_manager(raw_server(lying.behave)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(serve: Serve, upstream: RawServer) -> Gateway:
    root = f"http://127.0.0.1:{upstream.port}"
    return serve(
        {
            "servers": {"shop": {"url": f"{root}/shop", "tools": {"look": {"tags": ["read"]}}}},
            "agents": {"helper": {"card": f"{root}/agent-html"}},
            "roles": {"all": {"allow": ["*"]}, "few": {"allow": ["tool:shop/look"]}},
            "principals": {
                "ana": {"roles": ["all"], "key": "env:ANA_KEY"},
                "bob": {"roles": ["few"], "key": "env:BOB_KEY"},
            },
        }
    )


@pytest.fixture
async def ana(gateway: Gateway) -> AsyncIterator[Caller]:
    """All the while somebody else's calls are answered, and whatever came before, so is her next."""
    async with Caller(gateway, "ana") as ana, Caller(gateway, "bob") as bob, anyio.create_task_group() as group:
        with anyio.fail_after(120):
            group.start_soon(_keep_calling, bob)
            yield ana
            assert text_of(await ana.call("shop__look", again=True)) == '{"arguments": {"again": true}}'
            group.cancel_scope.cancel()


async def _keep_calling(bob: Caller) -> None:
    for number in range(1000):
        assert text_of(await bob.call("shop__look", n=number)) == json.dumps({"arguments": {"n": number}})
        await anyio.sleep(0.05)


def rpc(method: str, params: Any = None, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}, **more}).encode()


def no_loose_talk(text: str, gateway: Gateway) -> bool:
    return not [word for word in (*LOOSE, f":{gateway.port}", str(gateway.folder)) if word in text]


MCP_BODIES: dict[str, tuple[bytes, int]] = {
    "half": (b'{"jsonrpc": "2.0", "id"', -32700),
    "empty": (b"", -32700),
    "html": (b"<html>", -32700),
    "not utf-8": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\xff"}}', -32700),
    "10,000 levels": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + DEEP + b"}}", -32700),
    "65 levels": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 63 + b"]" * 63 + b"}}", -32600),
    "batch": (b"[" + rpc("ping") + b"," + rpc("ping") + b"]", -32600),
    "number": (b"7", -32600),
    "JSON-RPC 1.0": (rpc("ping", jsonrpc="1.0"), -32600),
    "no method": (b'{"jsonrpc":"2.0","id":1}', -32600),
}


@pytest.mark.parametrize("what", MCP_BODIES)
async def test_a_body_that_is_no_message_at_the_mcp_door(what: str, gateway: Gateway, ana: Caller) -> None:
    body, code = MCP_BODIES[what]
    response = await ana.send("/mcp", body, ("mcp-protocol-version", MODERN), ("mcp-method", "ping"))
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert no_loose_talk(response.text, gateway)


A2A_BODIES: dict[str, tuple[bytes, int]] = {
    "half": (b'{"jsonrpc": "2.0", "id"', -32700),
    "empty": (b"", -32700),
    "not utf-8": (b"\xff\xfe", -32700),
    "10,000 levels": (b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"a":' + DEEP + b"}}", -32700),
    "batch": (b"[" + rpc("SendMessage", HELLO) + b"]", -32600),
    "no such method": (rpc("message/send", HELLO), -32601),
    "no message": (rpc("SendMessage"), -32602),
    "parameters in a list": (rpc("SendMessage", [1]), -32602),
}


@pytest.mark.parametrize("what", A2A_BODIES)
async def test_a_body_that_is_no_message_at_the_a2a_door(what: str, gateway: Gateway, ana: Caller) -> None:
    body, code = A2A_BODIES[what]
    response = await ana.send("/agents/helper", body, A2A)
    assert response.json()["error"]["code"] == code
    assert no_loose_talk(response.text, gateway)
    async with operator(gateway) as someone:
        found = await someone.records(subject="ana", call="agent:helper", outcome="error")
    assert found[-1]["protocol"] == "a2a"


@pytest.mark.parametrize("body", [b"{", b"[]", DEEP, b'{"subject": 7}', b'{"subject":"x","extra":1}'])
async def test_a_body_that_is_no_order_at_the_api(body: bytes, gateway: Gateway, ana: Caller) -> None:
    async with operator(gateway) as someone:
        response = await someone.send("/api/v1/keys", body)
    assert (response.status_code, response.json()["error"]["reason"]) == (400, "INVALID_REQUEST")
    assert no_loose_talk(response.text, gateway)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/shop", "/agents/helper"])
async def test_a_body_of_20_mb_is_refused_before_it_was_sent(path: str, gateway: Gateway, ana: Caller) -> None:
    announced = await first_bytes(gateway, head_of(gateway, path, f"Content-Length: {TWENTY_MB}"))
    assert announced.startswith(b"HTTP/1.1 413")
    assert b'"jsonrpc"' in announced


@pytest.mark.parametrize("path", ["/mcp", "/agents/helper"])
async def test_20_mb_in_pieces_are_refused_once_the_limit_is_passed(path: str, gateway: Gateway, ana: Caller) -> None:
    body = b"10000\r\n" + b" " * 65536 + b"\r\n"
    said = await first_bytes(gateway, head_of(gateway, path, "Transfer-Encoding: chunked"), body * (TWENTY_MB // 65536))
    assert said.startswith(b"HTTP/1.1 413")


async def test_20_mb_are_refused_by_the_api_too(gateway: Gateway, ana: Caller) -> None:
    head = head_of(gateway, "/api/v1/keys", f"Content-Length: {TWENTY_MB}").replace(key_of("ana"), gateway.operator_key)
    said = await first_bytes(gateway, head, b" " * TWENTY_MB)
    assert said.split()[1] in (b"400", b"413")


HEADERS: dict[str, tuple[dict[str, str], int]] = {
    "another method": ({"mcp-method": "tools/list"}, -32020),
    "no method": ({"mcp-method": ""}, -32020),
    "another name": ({"mcp-name": "shop__act"}, -32020),
    "no name": ({"mcp-name": ""}, -32020),
    "another version": ({"mcp-protocol-version": "2025-11-25"}, -32020),
    "a future version in the header only": ({"mcp-protocol-version": "2099-01-01"}, -32020),
}


@pytest.mark.parametrize("what", HEADERS)
async def test_header_and_body_must_agree(what: str, gateway: Gateway, upstream: RawServer, ana: Caller) -> None:
    changes, code = HEADERS[what]
    body, headers = modern_request("tools/call", {"name": "shop__act", "arguments": {"mark": what}})
    if what == "another name":
        body = body.replace(b"shop__act", b"shop__look")
    said = {**dict(headers), **changes}
    response = await ana.send("/mcp", body, *((name, value) for name, value in said.items() if value))
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert not [each for each in upstream.exchanges if what.encode() in each.body]


@pytest.mark.parametrize("twice", ["mcp-method", "mcp-name", "mcp-protocol-version"])
async def test_a_routing_header_comes_once(twice: str, ana: Caller) -> None:
    body, headers = modern_request("tools/call", SHOP)
    response = await ana.send("/mcp", body, *headers, (twice, dict(headers)[twice]))
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("path", ["/mcp", "/agents/helper", "/api/v1/status"])
async def test_a_credential_comes_once(path: str, ana: Caller) -> None:
    body, headers = modern_request("tools/call", SHOP)
    response = await ana.send(path, body, A2A, *headers, ("authorization", f"Bearer {key_of('bob')}"))
    assert response.status_code == 400


@pytest.mark.parametrize("twice", ["a2a-version", "content-type"])
async def test_a_header_that_decides_comes_once_at_the_a2a_door_too(twice: str, ana: Caller) -> None:
    value = {"a2a-version": "1.0", "content-type": "application/json"}
    response = await ana.send("/agents/helper", rpc("SendMessage", HELLO), A2A, (twice, value[twice]))
    assert response.json()["error"]["code"] == -32600


async def test_an_unknown_version_is_answered_with_those_spoken_here(ana: Caller) -> None:
    body, headers = modern_request("tools/call", SHOP)
    said = {**dict(headers), "mcp-protocol-version": "2099-01-01"}
    response = await ana.send("/mcp", body.replace(MODERN.encode(), b"2099-01-01"), *said.items())
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["data"]["requested"]) == (400, -32022, "2099-01-01")
    assert MODERN in error["data"]["supported"]
    answer = await ana.send("/agents/helper", rpc("SendMessage", HELLO), ("a2a-version", "7.0"))
    assert answer.json()["error"]["code"] == -32009


async def test_an_unknown_version_in_a_handshake_is_answered_with_the_newest_of_its_era(ana: Caller) -> None:
    params = {"protocolVersion": "1999-01-01", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    response = await ana.send("/mcp", rpc("initialize", params))
    assert response.json()["result"]["protocolVersion"] == "2025-11-25"


async def test_an_unknown_method_is_not_there(ana: Caller) -> None:
    response = await ana.modern("tools/destroy", {})
    assert (response.status_code, response.json()["error"]["code"]) == (404, -32601)


@pytest.mark.parametrize("name", ["shop__nothing", "nobody__act", "", "x" * 5000, "shop__act\u0000", "../../etc"])
async def test_an_unknown_tool_is_unknown_and_recorded(name: str, gateway: Gateway, ana: Caller) -> None:
    body, headers = modern_request("tools/call", {"name": "PLACE", "arguments": {}})
    coded = json.dumps(name).encode()
    plain = name.isprintable() and name
    lines = [each for each in headers if each[0] != "mcp-name"]
    lines.append(("mcp-name", name if plain else _sentinel(name)))
    response = await ana.send("/mcp", body.replace(b'"PLACE"', coded), *lines)
    assert response.json()["error"]["code"] == -32602
    assert no_loose_talk(response.text, gateway)
    async with operator(gateway) as someone:
        record = await someone.record(response.json()["error"]["data"]["record"])
    assert (record["outcome"], record["code"], record["subject"]) == ("error", 1404, "ana")


def _sentinel(name: str) -> str:
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


async def test_what_is_not_granted_is_denied_with_its_record_and_not_listed(gateway: Gateway, ana: Caller) -> None:
    async with Caller(gateway, "bob") as bob:
        assert await bob.tools() == ["shop__look"]
        said = await bob.call("shop__act")
        error = said["result"]["_meta"]["drawbridge/error"]
        assert (error["code"], error["policy"]) == (1403, "access")
        answer = await bob.a2a("helper", "SendMessage", HELLO)
    assert answer["error"]["code"] == 1403
    async with operator(gateway) as someone:
        record = await someone.record(error["record"])
        assert (record["outcome"], record["subject"]) == ("denied", "bob")
        other = await someone.record(answer["error"]["data"][0]["metadata"]["record"])
        assert (other["outcome"], other["capability"]) == ("denied", "agent:helper")


@pytest.mark.parametrize("path", ["/mcp", "/agents/helper", "/api/v1/status", "/readyz"])
async def test_another_host_is_not_answered_to(path: str, gateway: Gateway, ana: Caller) -> None:
    for host in ("evil.example", f"evil.example:{gateway.port}", "127.0.0.1", f"127.0.0.1:{gateway.port + 1}"):
        said = await first_bytes(gateway, head_of(gateway, path, "Content-Length: 0", host=host))
        assert said.startswith(b"HTTP/1.1 421"), said


async def test_two_hosts_or_none_are_not_answered_to(gateway: Gateway, ana: Caller) -> None:
    for lines in ([f"Host: 127.0.0.1:{gateway.port}", "Host: evil.example"], [], ["Host: evil.example"]):
        for order in (lines, [*reversed(lines)]):
            head = "\n".join(["GET /readyz HTTP/1.1", *order, "Connection: close"]) + "\n\n"
            said = await first_bytes(gateway, head)
            assert said.split()[1] in (b"400", b"421"), said


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "https://localhost"])
async def test_another_origin_may_not_call(origin: str, ana: Caller) -> None:
    response = await ana.modern("tools/call", SHOP, ("origin", origin))
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


async def test_a_page_of_the_gateways_own_origin_may_call(gateway: Gateway, ana: Caller) -> None:
    response = await ana.modern("tools/call", SHOP, ("origin", gateway.url))
    assert response.status_code == 200


WRONG_CREDENTIALS = {
    "none": "",
    "a wrong key": "Bearer dbk_aaaaaaaaaa_0123456789012345678901234567890123456789012",
    "another scheme": "Basic YW5hOmFuYQ==",
    "a forged token": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcGVyYXRvciJ9.",
    "an endless one": "Bearer " + "x" * 9000,
    "only the scheme": "Bearer",
}


@pytest.mark.parametrize("what", WRONG_CREDENTIALS)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/shop", "/agents/helper", "/api/v1/status"])
async def test_without_a_valid_credential_nothing_is_answered(
    what: str, path: str, gateway: Gateway, ana: Caller
) -> None:
    credential = WRONG_CREDENTIALS[what]
    more = [("authorization", credential)] if credential else []
    claims = [("x-forwarded-user", "ana"), ("x-drawbridge-principal", "ana")]
    method = "GET" if path.startswith("/api") else "POST"
    response = await ana.send(path, rpc("ping"), A2A, *claims, *more, without=("authorization",), method=method)
    assert response.status_code == 401
    assert no_loose_talk(response.text, gateway)
    if path.startswith("/mcp"):
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_strangers_are_recorded(gateway: Gateway) -> None:
    searched = gateway.drawbridge("audit", "search", "--outcome", "denied", "--json", "-n", "200")
    found = [each for each in json.loads(searched.stdout)["records"] if each["code"] == 1401]
    assert {each["protocol"] for each in found} >= {"mcp", "a2a"}
    assert {each.get("subject", "") for each in found} == {""}
    assert key_of("ana") not in searched.stdout


async def test_claimed_identities_change_nothing(gateway: Gateway, ana: Caller) -> None:
    claims = [("x-forwarded-user", "ana"), ("x-user", "ana"), ("remote-user", "ana"), ("x-drawbridge-tenant", "other")]
    async with Caller(gateway, "bob") as bob:
        said = answer_in(await bob.modern("tools/call", {"name": "shop__act", "arguments": {}}, *claims))
    assert said["result"]["_meta"]["drawbridge/error"]["code"] == 1403
    async with operator(gateway) as someone:
        record = await someone.record(said["result"]["_meta"]["drawbridge/error"]["record"])
    assert (record["subject"], record["tenant"]) == ("bob", "default")


async def test_the_api_is_for_operators(gateway: Gateway, ana: Caller) -> None:
    for path in ("/status", "/audit", "/keys", "/runs", "/tools", "/principals", "/agents"):
        response = await ana.api(path)
        assert (response.status_code, response.json()["error"]["rule"]) == (403, "operators-only")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/mcpx", 404),
        ("POST", "/mcp/nobody", 404),
        ("POST", "/mcp/shop/more", 404),
        ("POST", "/agents/", 404),
        ("POST", "/agents/nobody", 200),
        ("POST", "/agents/%2e%2e%2fapi", 404),
        ("GET", "/agents/helper", 405),
        ("DELETE", "/api/v1/status", 405),
        ("GET", "/api/v1/nothing", 404),
        ("PUT", "/mcp", 405),
    ],
)
async def test_what_is_not_there_is_said_not_to_be(
    method: str, path: str, status: int, gateway: Gateway, ana: Caller
) -> None:
    body, headers = modern_request("tools/list", {})
    async with operator(gateway) as someone:
        caller = someone if "/api" in path else ana
        body = rpc("SendMessage", HELLO) if path.startswith("/agents") else body
        response = await caller.send(path, body, A2A, *headers, method=method)
    assert response.status_code == status, response.text
    assert no_loose_talk(response.text, gateway)


RAW = {
    "no HTTP": "\x16\x03\x01 hello\n\n",
    "two lengths": "POST /mcp HTTP/1.1\nHost: HERE\nContent-Length: 5\nContent-Length: 6\n\nhello",
    "length and chunks": "POST /mcp HTTP/1.1\nHost: HERE\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n",
    "a negative length": "POST /mcp HTTP/1.1\nHost: HERE\nContent-Length: -1\n\n",
    "a line that is no header": "POST /mcp HTTP/1.1\nHost: HERE\nno header\n\n",
}


@pytest.mark.parametrize("what", RAW)
async def test_bytes_that_are_no_request_end_the_connection(what: str, gateway: Gateway, ana: Caller) -> None:
    said = await first_bytes(gateway, RAW[what].replace("HERE", f"127.0.0.1:{gateway.port}"))
    assert said == b"" or said.startswith(b"HTTP/1.1 400"), said
    assert no_loose_talk(said.decode("latin-1"), gateway)


async def test_a_client_that_stops_in_the_middle_of_its_body_harms_nobody(gateway: Gateway, ana: Caller) -> None:
    for _ in range(5):
        stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
        await stream.send(head_of(gateway, "/mcp", "Content-Length: 100").replace("\n", "\r\n").encode() + b'{"json')
        await stream.aclose()
