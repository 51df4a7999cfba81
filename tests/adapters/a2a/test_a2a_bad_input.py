"""What callers get wrong at the door, through real sockets: the right error, a record, and nobody else disturbed."""

import json
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from gateway.core.content import Plain
from gateway.core.json import Json
from gateway.core.limits import Limits
from gateway.core.model import Capability, Complete, Emit, Request, Result
from tests.fakes import FakeUpstream
from tests.fakes_a2a import Door, door_to, message_value, saying

pytestmark = pytest.mark.anyio

LIMITS = Limits(body_bytes=64 * 1024)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async def answer(request: Request, capability: Capability, emit: Emit) -> Result:
        return Complete(body=Plain(saying("fine")))

    capability = Capability(name="workflow:help", kind="workflow", owner="help", local="help")
    async with door_to(FakeUpstream("help", [capability], answer), limits=LIMITS) as door:
        yield door
        # Whatever came before, the next caller is served.
        fine = await door.ask("SendMessage", {"message": message_value()}, slug="help")
        assert fine["result"]["message"]["parts"] == [{"text": "fine", "mediaType": "text/plain"}]


def call(method: Json = "SendMessage", params: Json = None, **members: Json) -> bytes:
    given: Json = {"message": message_value()} if params is None else params
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": given, **members}).encode()


def deep(levels: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"a":' + b"[" * levels + b"]" * levels + b"}}"


BAD_BODIES: list[tuple[str, bytes, int]] = [
    ("no JSON", b"{", -32700),
    ("no text", b"\xff\xfe", -32700),
    ("nothing", b"", -32700),
    ("a batch", b"[" + call() + b"]", -32600),
    ("a number", b"7", -32600),
    ("another version of JSON-RPC", call(jsonrpc="1.0"), -32600),
    ("no method", call(method=None), -32600),
    ("an id that is an object", call(id={}), -32600),
    ("an id that is a truth", call(id=True), -32600),
    ("an endless id", call(id="x" * 300), -32600),
    ("no id", b'{"jsonrpc":"2.0","method":"SendMessage","params":{}}', -32600),
    ("parameters in a list", call(params=[]), -32602),
    ("an unknown method", call("message/send"), -32601),
    ("push notifications", call("CreateTaskPushNotificationConfig", {"taskId": "t"}), -32003),
    (
        "a webhook in a message",
        call(params={"message": message_value(), "configuration": {"taskPushNotificationConfig": {"url": "http://x"}}}),
        -32003,
    ),
    ("an extended card", call("GetExtendedAgentCard", {}), -32004),
    ("nested too deeply", deep(100), -32600),
    ("nested beyond reason", deep(10_000), -32700),
    ("no message", call(params={}), -32602),
    ("no message id", call(params={"message": message_value(messageId="")}), -32602),
    ("no parts", call(params={"message": message_value(parts=[])}), -32602),
    ("a part that says two things", call(params={"message": message_value(parts=[{"text": "a", "url": "b"}])}), -32602),
    ("a part that says nothing", call(params={"message": message_value(parts=[{}])}), -32602),
    ("a role of its own", call(params={"message": message_value(role="ROLE_SYSTEM")}), -32602),
    ("a task id that is a path", call("GetTask", {"id": "a b/../c"}), -32602),
    ("a context id with a line break", call(params={"message": message_value(contextId="a\nb")}), -32602),
    ("no task id", call("GetTask", {}), -32602),
    ("a history of minus one", call("GetTask", {"id": "t", "historyLength": -1}), -32602),
    ("a page too large", call("ListTasks", {"pageSize": 1000}), -32602),
    ("an unknown state", call("ListTasks", {"status": "BUSY"}), -32602),
    (
        "a forged delegation",
        call(params={"message": message_value(metadata={"urn:drawbridge:delegation:1": {"token": "x"}})}),
        -32602,
    ),
    (
        "a forged delegation, spelled out",
        call().replace(b'"role"', b'"metadata":{"urn:drawbridge:del\\u0065gation:1":{}},"role"'),
        -32602,
    ),
    (
        "a forged delegation, behind a second metadata",
        call().replace(b'"role"', b'"metadata":{"urn:drawbridge:delegation:1":{}},"metadata":{},"role"'),
        -32602,
    ),
    (
        "a webhook, behind a second configuration member",
        call(params={"message": message_value(), "configuration": {"x": 1}}).replace(
            b'"x"', b'"taskPushNotificationConfig":{"url":"http://x"},"taskPushNotificationConfig":null,"x"'
        ),
        -32602,
    ),
]


@pytest.mark.parametrize(("body", "code"), [bad[1:] for bad in BAD_BODIES], ids=[bad[0] for bad in BAD_BODIES])
async def test_a_bad_body_gets_the_error_for_it_and_a_record(door: Door, body: bytes, code: int) -> None:
    answer = await door.post(body, slug="help")

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (200, code)
    record = door.gate.audit.records[-1]
    assert error["data"][0]["metadata"]["record"] == record.id
    assert (record.principal is not None and record.principal.subject, record.protocol) == ("ana", "a2a")


@pytest.mark.parametrize("number", [b"1e400", b"1" * 400, b"1" * 5000], ids=["1e400", "400 digits", "5000 digits"])
async def test_a_number_beyond_all_others_is_refused_with_its_place(door: Door, number: bytes) -> None:
    message = message_value(parts=[{"data": {"lines": [1, 777777]}}])
    error = (await door.post(call(params={"message": message}).replace(b"777777", number), slug="help")).json()["error"]
    assert error["code"] in (-32600, -32602)
    assert "parts[0].data.lines[1] is a number beyond" in error["message"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"a2a_version": ""}, 200, -32009),
        ({"a2a_version": "0.3"}, 200, -32009),
        ({"a2a_version": "2.0"}, 200, -32009),
        ({"content_type": "text/plain"}, 415, -32005),
        ({"content_type": ""}, 415, -32005),
        ({"authorization": ""}, 401, -32600),
        ({"authorization": "Bearer eve"}, 401, -32600),
    ],
)
async def test_a_bad_header_gets_the_error_for_it(door: Door, headers: dict[str, str], status: int, code: int) -> None:
    answer = await door.post(call(), slug="help", **headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(door.gate.audit.records) == 1
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_the_version_may_come_as_a_parameter_of_the_address(door: Door) -> None:
    async with httpx.AsyncClient(verify=False) as http:
        headers = {"content-type": "application/json", "authorization": "Bearer ana"}
        answer = await http.post(f"{door.address('help')}/?A2A-Version=1.0", content=call(), headers=headers)

    assert "result" in answer.json()


@pytest.mark.parametrize("name", ["a2a-version", "authorization"])
async def test_a_header_that_decides_something_comes_only_once(door: Door, name: str) -> None:
    headers = [
        ("content-type", "application/json"),
        ("a2a-version", "1.0"),
        ("authorization", "Bearer ana"),
        (name, "1.0" if name == "a2a-version" else "Bearer bob"),
    ]
    async with httpx.AsyncClient(verify=False) as http:
        answer = await http.post(door.address("help"), content=call(), headers=headers)

    assert answer.json()["error"]["code"] == -32600


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_beyond_the_limit_is_refused(door: Door, chunked: bool) -> None:
    body = b" " * (LIMITS.body_bytes + 1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    headers = {"content-type": "application/json", "a2a-version": "1.0", "authorization": "Bearer ana"}
    async with httpx.AsyncClient(verify=False) as http:
        content = pieces() if chunked else body
        answer = await http.post(door.address("help"), content=content, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, -32600)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/agents/help", 405),
        ("DELETE", "/agents/help", 405),
        ("POST", "/agents/help/.well-known/agent-card.json", 405),
        ("GET", "/agents/", 404),
        ("GET", "/agents/HELP", 404),
        ("GET", "/agents/help/tasks", 404),
        ("GET", "/agents/%2e%2e/x", 404),
        ("GET", "/agents/" + "a" * 25, 404),
    ],
)
async def test_a_path_or_method_that_is_not_there_says_so(door: Door, method: str, path: str, status: int) -> None:
    async with httpx.AsyncClient(verify=False, headers={"authorization": "Bearer ana"}) as http:
        answer = await http.request(method, door.url + path)

    assert answer.status_code == status


async def test_an_agent_that_does_not_exist_is_refused_on_the_path(door: Door) -> None:
    error = (await door.ask("SendMessage", {"message": message_value()}, slug="nobody"))["error"]

    assert (error["code"], error["data"][0]["reason"]) == (-32602, "NOT_FOUND")
    assert door.gate.audit.records[-1].capability == "agent:nobody"


async def test_a_client_that_goes_away_in_the_middle_of_its_body_harms_nobody(door: Door) -> None:
    port = int(door.url.rpartition(":")[2])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(
            b"POST /agents/help HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ana\r\na2a-version: 1.0\r\n"
            b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
        )
