"""Whatever is sent to the MCP door: a clear error of the right kind, never a crash, never a hang."""

from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mcp.refusals import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from adapters.mcp.wire import MODERN
from gateway.core.content import plain
from gateway.core.json import Json, JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, Request, Result
from tests.fakes_mcp_door import Caller, ShopGateway, Visit, modern_body, opened, tool

DEEP = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":'
    + b"[" * 10_000
    + b"]" * 10_000
    + b"}}"
)
CALL: JsonObject = {"name": "orders__refund", "arguments": {}}
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def nested(depth: int) -> bytes:
    """A call whose body nests exactly `depth` levels."""
    value: Json = '[[[ in a string, and \\" escaped'
    for _ in range(depth - 2):
        value = [value]
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": value, "b": [[]] * 100}})


BODIES: list[tuple[str, bytes, int, int]] = [
    ("empty", b"", PARSE_ERROR, PARSE_ERROR),
    ("not json", b"{", PARSE_ERROR, PARSE_ERROR),
    ("html", b"<html>", PARSE_ERROR, PARSE_ERROR),
    ("two values", b"{}{}", PARSE_ERROR, PARSE_ERROR),
    ("not utf-8", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\xff"}}', PARSE_ERROR, PARSE_ERROR),
    ("10,000 levels", DEEP, PARSE_ERROR, PARSE_ERROR),
    ("65 levels", nested(65), INVALID_REQUEST, INVALID_REQUEST),
    ("batch", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', INVALID_REQUEST, INVALID_PARAMS),
    ("empty batch", b"[]", INVALID_REQUEST, INVALID_PARAMS),
    ("string", b'"ping"', INVALID_REQUEST, INVALID_PARAMS),
    ("null", b"null", INVALID_REQUEST, INVALID_PARAMS),
    ("no version", b'{"id":1,"method":"ping"}', INVALID_REQUEST, INVALID_PARAMS),
    ("version 1", b'{"jsonrpc":"1.0","id":1,"method":"ping"}', INVALID_REQUEST, INVALID_PARAMS),
    ("no method", b'{"jsonrpc":"2.0","id":1}', INVALID_REQUEST, INVALID_PARAMS),
    ("method a number", b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST, INVALID_PARAMS),
    ("id an object", b'{"jsonrpc":"2.0","id":{},"method":"ping"}', INVALID_REQUEST, INVALID_PARAMS),
    ("id null", b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID_REQUEST, INVALID_PARAMS),
    ("id a fraction", b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', INVALID_REQUEST, INVALID_PARAMS),
    ("id a truth", b'{"jsonrpc":"2.0","id":true,"method":7}', INVALID_REQUEST, INVALID_PARAMS),
    ("params a list", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', INVALID_REQUEST, INVALID_PARAMS),
    ("params a string", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', INVALID_REQUEST, INVALID_PARAMS),
    ("meta a list", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":[]}}', INVALID_PARAMS, INVALID_PARAMS),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "modern", "legacy"), [each[1:] for each in BODIES], ids=[each[0] for each in BODIES])
async def test_a_body_that_is_no_message_gets_the_code_of_its_era(body: bytes, modern: int, legacy: int) -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        for version, code in ((MODERN, modern), ("2025-11-25", legacy), ("", legacy)):
            reply = await caller.send(caller.visit(body, mcp_protocol_version=version))
            assert (reply.status, reply.json["error"]["code"]) == (400, code)
            assert reply.json["jsonrpc"] == "2.0"


@pytest.mark.anyio
@pytest.mark.parametrize("number", [b"1e400", b"1" * 400, b"1" * 5000], ids=["1e400", "400 digits", "5000 digits"])
@pytest.mark.parametrize(
    ("member", "said"),
    [("arguments", "arguments cannot be read: $.lines[1] is"), ("_meta", "_meta cannot be read: $.lines[1] is")],
)
async def test_a_number_beyond_all_others_is_refused_with_its_place(member: str, said: str, number: bytes) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = Caller(door)
        body: Any = modern_body("tools/call", {"name": "orders__refund", "arguments": {}})
        body["params"][member]["lines"] = [1, 777777]
        raw = msgspec.json.encode(body).replace(b"777777", number)

        async def judged(request: Request, emit: Emit) -> Result:
            return Complete(body=plain(str(request.body.content().structured)))

        gateway.runs["tool:orders/refund"] = judged
        headers = {"mcp_protocol_version": MODERN, "mcp_method": "tools/call", "mcp_name": "orders__refund"}
        reply = await caller.send(caller.visit(raw, **headers))
    result = reply.json["result"]
    assert result["isError"]
    assert said in result["content"][0]["text"]
    assert "INVALID_REQUEST" in result["content"][0]["text"]


@pytest.mark.anyio
async def test_the_deepest_allowed_body_is_served() -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        await caller.initialize()
        reply = await caller.send(caller.visit(nested(64), mcp_session_id=caller.session))
    assert reply.json["result"] == {}


@pytest.mark.anyio
async def test_the_id_is_given_back_where_it_can_be_read() -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        body = b'{"jsonrpc":"2.0","id":"a\\u00e9","method":"ping","params":[1]}'
        reply = await caller.send(caller.visit(body, mcp_protocol_version=MODERN))
        other = await caller.send(caller.visit(b'{"jsonrpc":"2.0","id":[],"method":7}'))
    assert reply.json["id"] == "aé"
    assert other.json["id"] is None


HEADERS: list[tuple[str, dict[str, str], int]] = [
    ("no version", {"mcp_protocol_version": ""}, -32020),
    ("another version", {"mcp_protocol_version": "2025-11-25"}, -32020),
    ("no method", {"mcp_method": ""}, -32020),
    ("another method", {"mcp_method": "tools/list"}, -32020),
    ("no name", {"mcp_name": ""}, -32020),
    ("another name", {"mcp_name": "orders__look"}, -32020),
    ("broken sentinel", {"mcp_name": "=?base64?!?="}, -32020),
    ("unknown version", {"mcp_protocol_version": "2099-01-01"}, -32020),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("headers", "code"), [each[1:] for each in HEADERS], ids=[each[0] for each in HEADERS])
async def test_header_and_body_must_agree(headers: dict[str, Any], code: int) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = Caller(door)
        reply = await caller.send(caller.modern("tools/call", CALL, **headers))
    assert (reply.status, reply.json["error"]["code"]) == (400, code)
    assert gateway.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["b3JkZXJzX19yZWZ1bmQ=", ""])
async def test_a_name_in_its_coded_form_agrees(name: str) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = Caller(door)
        body = msgspec.json.encode(modern_body("tools/call", CALL)).replace(b"orders__refund", b"orders__\\u0072efund")
        header = f"=?base64?{name}?=" if name else "orders__refund"
        reply = await caller.send(
            caller.visit(body, mcp_protocol_version=MODERN, mcp_method="tools/call", mcp_name=header)
        )
    assert reply.status == 200
    assert gateway.requests[0].capability == "tool:orders/refund"


@pytest.mark.anyio
@pytest.mark.parametrize("twice", [b"mcp-name", b"mcp-method", b"mcp-protocol-version", b"mcp-param-region"])
async def test_a_routing_header_comes_once(twice: bytes) -> None:
    async with opened(ShopGateway(tool("refund"))) as door:
        caller = Caller(door)
        visit = caller.modern("tools/call", CALL, mcp_param_region="eu")
        lines: list[tuple[bytes, bytes]] = visit.scope["headers"]  # type: ignore[assignment]
        lines.append((twice, dict(lines)[twice]))
        reply = await caller.send(visit)
    assert (reply.status, reply.json["error"]["code"]) == (400, -32020)


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["2099-01-01", "1.0", "2025-11-25", ""])
async def test_an_unknown_version_is_told_the_known_ones(version: str) -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        visit = caller.modern("tools/list", meta={VERSION: version}, mcp_protocol_version=version or "x")
        reply = await caller.send(visit)
    error = reply.json["error"]
    assert reply.status == 400
    assert error["code"] == (-32022 if version else -32020)
    if version:
        assert MODERN in error["data"]["supported"]
        assert error["data"]["requested"] == version


@pytest.mark.anyio
async def test_an_unknown_version_without_an_envelope_is_told_the_known_ones_too() -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        body: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        reply = await caller.send(caller.visit(body, mcp_protocol_version="2099-01-01", mcp_method="initialize"))
    assert reply.json["error"]["code"] == -32022


@pytest.mark.anyio
@pytest.mark.parametrize("missing", [VERSION, CAPABILITIES])
async def test_an_envelope_that_lacks_a_part_is_refused(missing: str) -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        body: Any = modern_body("tools/list", {})
        del body["params"]["_meta"][missing]
        reply = await caller.send(caller.visit(body, mcp_protocol_version=MODERN, mcp_method="tools/list"))
    assert (reply.status, reply.json["error"]["code"]) == (400, -32602)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {}),
        ("tools/call", {"name": 7}),
        ("tools/call", {"name": None}),
        ("tools/call", {"name": "orders__refund", "arguments": [1]}),
        ("tools/call", {"name": "orders__refund", "arguments": "x"}),
        ("prompts/get", {"name": {}}),
        ("resources/read", {"uri": []}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": 7}),
        ("tools/list", {"cursor": 7}),
        ("subscriptions/listen", {}),
    ],
)
async def test_params_of_the_wrong_type_are_invalid_params(method: str, params: JsonObject) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = Caller(door)
        body = modern_body(method, params)
        named = next((str(each) for each in (params.get("name"), params.get("uri")) if isinstance(each, str)), "")
        reply = await caller.send(caller.visit(body, mcp_protocol_version=MODERN, mcp_method=method, mcp_name=named))
    assert reply.status == 400
    assert reply.json["error"]["code"] in (-32602, -32020)
    assert gateway.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("params", [{}, {"protocolVersion": 7}, {"protocolVersion": None}])
async def test_an_initialize_without_a_version_is_invalid_params(params: JsonObject) -> None:
    async with opened(ShopGateway()) as door:
        reply = await Caller(door).say("initialize", params)
    assert reply.json["error"]["code"] == -32602


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "status"),
    [("ping", 404), ("initialize", 404), ("logging/setLevel", 404), ("x" * 5000, 404), ("tasks/get", 404)],
)
async def test_methods_a_modern_server_does_not_have_are_not_found(method: str, status: int) -> None:
    async with opened(ShopGateway()) as door:
        reply = await Caller(door).ask(method)
    assert (reply.status, reply.json["error"]["code"]) == (404, -32601)


@pytest.mark.anyio
async def test_a_posted_response_is_taken_from_legacy_clients_only() -> None:
    body: JsonObject = {"jsonrpc": "2.0", "id": 1, "result": {}}
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        legacy = await caller.send(caller.visit(body))
        modern = await caller.send(caller.visit(body, mcp_protocol_version=MODERN))
    assert (legacy.status, legacy.body) == (202, b"")
    assert (modern.status, modern.json["error"]["code"]) == (400, -32600)


@pytest.mark.anyio
async def test_a_modern_notification_is_taken_and_dropped() -> None:
    body: JsonObject = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        taken = await caller.send(caller.visit(body, mcp_protocol_version=MODERN))
        unknown = await caller.send(caller.visit(body, mcp_protocol_version="2099-01-01"))
    assert (taken.status, taken.body) == (202, b"")
    assert unknown.json["error"]["code"] == -32022


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": ""}, 415),
        ({"accept": "text/html"}, 406),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": ""}, 401),
    ],
)
async def test_http_says_what_is_wrong_with_a_header(headers: dict[str, str], status: int) -> None:
    gateway = ShopGateway(tool("refund"))
    async with opened(gateway) as door:
        caller = Caller(door)
        visit = caller.modern("tools/call", CALL)
        lines: dict[bytes, bytes] = dict(visit.scope["headers"])  # type: ignore[call-overload]
        lines |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        visit.scope["headers"] = list(lines.items())
        reply = await caller.send(visit)
    assert reply.status == status
    assert "error" in reply.json
    assert gateway.requests == []
    if status == 401:
        assert reply.headers[b"www-authenticate"].startswith(b"Bearer")
        assert (gateway.records[0].outcome, gateway.records[0].principal) == ("denied", None)


@pytest.mark.anyio
async def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    async with opened(ShopGateway(), limits=Limits(body_bytes=1000)) as door:
        caller = Caller(door)
        announced = await caller.send(caller.visit(b"", content_length="20000000"))
        absurd = await caller.send(caller.visit(b"", content_length="9" * 5000))
        whole = await caller.send(caller.visit(b" " * 1001))
        visit = caller.visit(b"")
        pieces = Visit("POST", "/mcp", visit.scope["headers"], [b" " * 400 for _ in range(50)])  # type: ignore[arg-type]
        reply = await caller.send(pieces)
        last = Visit("POST", "/mcp", visit.scope["headers"], [b" " * 400, b" " * 700])  # type: ignore[arg-type]
        at_the_end = await caller.send(last)
    for each in (announced, absurd, whole, reply, at_the_end):
        assert (each.status, each.json["error"]["code"]) == (413, -32600)
        assert each.headers[b"connection"] == b"close"
    assert (await pieces.receive())["more_body"] is True


@pytest.mark.anyio
async def test_a_client_that_leaves_before_its_body_is_whole_is_let_go() -> None:
    async with opened(ShopGateway()) as door:
        caller = Caller(door)
        for chunks in ([], [b"{", b""]):
            visit = Visit("POST", "/mcp", caller.visit(b"").scope["headers"], list(chunks))  # type: ignore[arg-type]
            visit.left.set()
            if chunks:
                visit = Halved(visit)
            await door(visit.scope, visit.receive, visit.send)
            assert visit.reply.status == 0


class Halved(Visit):
    """Sends a first piece, promises another, and leaves."""

    def __init__(self, other: Visit) -> None:
        super().__init__("POST", "/mcp", other.scope["headers"], [])  # type: ignore[arg-type]
        self.left.set()
        self._begun = False

    async def receive(self) -> dict[str, Any]:
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"{", "more_body": True}
        return await super().receive()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
METHODS = st.sampled_from(
    [
        *("tools/call", "tools/list", "prompts/get", "resources/read", "completion/complete", "server/discover"),
        *("initialize", "ping", "logging/setLevel", "subscriptions/listen", "notifications/cancelled", ""),
    ]
)
META = st.dictionaries(
    st.sampled_from([VERSION, CAPABILITIES, "progressToken", "traceparent", "drawbridge/idempotency-key", "x"]),
    st.just(MODERN) | JSON,
    max_size=6,
)
PARAMS = st.dictionaries(
    st.sampled_from(
        [
            "name",
            "uri",
            "arguments",
            "cursor",
            "ref",
            "level",
            "requestId",
            "requestState",
            "notifications",
            "protocolVersion",
        ]
    ),
    st.sampled_from(["orders__refund", "2025-11-25", "file:///a", {"type": "ref/prompt", "name": "orders__x"}]) | JSON,
    max_size=4,
)


def with_meta(params: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    return {**params, "_meta": meta}


MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | JSON, "method": METHODS | JSON},
    optional={
        "id": st.integers(0, 5) | st.text(max_size=3) | JSON,
        "params": st.builds(with_meta, PARAMS, META) | PARAMS | JSON,
        "result": JSON,
    },
)
BODY = st.binary(max_size=40) | (MESSAGES | JSON).map(lambda value: msgspec.json.encode(value))
VERSIONS = st.sampled_from(["", MODERN, "2025-11-25", "2024-11-05", "x"])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BODY, VERSIONS, st.sampled_from(["", "tools/call", "tools/list", "server/discover"]), st.booleans())
def test_no_body_and_no_headers_bring_the_door_down(body: bytes, version: str, method: str, in_session: bool) -> None:
    async def once() -> None:
        async with opened(ShopGateway(tool("refund"))) as door:
            caller = Caller(door)
            if in_session:
                await caller.initialize()
            visit = caller.visit(
                body,
                mcp_protocol_version=version,
                mcp_method=method,
                mcp_name="orders__refund",
                mcp_session_id=caller.session,
            )
            visit.left.set()  # a subscription ends at once, and then nothing is written
            listens = b"subscriptions/listen" in body
            if not listens:
                visit.left = anyio.Event()
            reply = await caller.send(visit)
            assert reply.status < 500
            assert listens or reply.status in (200, 202, 400, 404)

    anyio.run(once)
