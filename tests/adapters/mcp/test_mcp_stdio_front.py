"""The stdio front between a client and a gateway that runs, does not, or was started again."""

import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest
import uvicorn
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import Client, MCPError, StdioServerParameters

from adapters.mcp.stdio_front import relay
from adapters.mcp.wire import FOLLOWED, Answer
from gateway.core.content import plain
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, Log, Progress, Request, Result
from tests.fakes_mcp_door import ShopGateway, modern_body, opened, prompt, resource, together, tool, workflow

pytestmark = pytest.mark.anyio

MIRRORED: JsonObject = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


def shop() -> ShopGateway:
    gateway = ShopGateway(tool("refund"), tool("ship", schema=MIRRORED), workflow("help"), prompt("reply"))

    async def refund(request: Request, emit: Emit) -> Result:
        await emit(Progress(progress=1))
        return Complete(body=Answer(b'{"content":[],\n"resultType":"complete"}', era="modern"))

    gateway.runs["tool:orders/refund"] = refund
    return gateway


@asynccontextmanager
async def served(gateway: ShopGateway, port: int = 0) -> AsyncGenerator[int]:
    async with opened(gateway) as door, together() as group:
        listener = socket.create_server(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(door, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        group.start_soon(server.serve, [listener])
        yield listener.getsockname()[1]
        door.stop()
        server.should_exit = True


class Terminal:
    """A client's side of the pipe."""

    def __init__(
        self,
        say: MemoryObjectSendStream[bytes],
        said: MemoryObjectSendStream[bytes],
        hear: MemoryObjectReceiveStream[bytes],
    ) -> None:
        self._say = say
        self._said = said
        self._hear = hear

    async def say(self, message: object) -> None:
        await self._say.send((message if isinstance(message, bytes) else msgspec.json.encode(message)) + b"\n")

    async def write(self, line: bytes) -> None:
        await self._said.send(line)

    async def hear(self) -> Any:
        line = await self._hear.receive()
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        return msgspec.json.decode(line)

    async def ask(self, message: JsonObject) -> Any:
        """The answer to a request, whatever comes before it."""
        await self.say(message)
        while True:
            heard = await self.hear()
            if heard.get("id") == message.get("id"):
                return heard

    def hang_up(self) -> None:
        self._say.close()


@asynccontextmanager
async def fronted(port: int) -> AsyncGenerator[Terminal]:
    say, stdin = anyio.create_memory_object_stream[bytes](10)
    said, hear = anyio.create_memory_object_stream[bytes](100)
    terminal = Terminal(say, said, hear)

    async def run() -> None:
        url = f"http://127.0.0.1:{port}/mcp"
        await relay(
            stdin,
            terminal.write,
            endpoint_url=url,
            authorization="Bearer ana",
            limits=Limits(),
            listen_again_s=(0.02, 0.1),
        )

    with say, stdin, said, hear, anyio.fail_after(60):
        async with together() as group:
            group.start_soon(run)
            yield terminal
            terminal.hang_up()


def legacy(method: str, params: "JsonObject | None" = None, request_id: int = 1) -> JsonObject:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}


HELLO = legacy("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}, 0)
CALL: JsonObject = {"name": "orders__refund", "arguments": {}}


async def test_a_legacy_client_is_relayed_with_its_session() -> None:
    async with served(shop()) as port, fronted(port) as terminal:
        hello = await terminal.ask(HELLO)
        await terminal.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        tools = await terminal.ask(legacy("tools/list"))
        await terminal.say(legacy("tools/call", {**CALL, "_meta": {"progressToken": 9}}, 2))
        progress, answer = await terminal.hear(), await terminal.hear()
    assert hello["result"]["protocolVersion"] == "2025-06-18"
    assert len(tools["result"]["tools"]) == 3
    assert progress["params"] == {"progressToken": 9, "progress": 1}
    assert answer == {"jsonrpc": "2.0", "id": 2, "result": {"content": []}}


async def test_a_modern_client_gets_the_headers_it_does_not_send() -> None:
    gateway = shop()
    async with served(gateway) as port, fronted(port) as terminal:
        found = await terminal.ask(modern_body("server/discover", {}, request_id="d"))
        called = await terminal.ask(modern_body("tools/call", CALL, request_id="c"))
        early = await terminal.ask(modern_body("tools/call", {"name": "orders__ship", "arguments": {"region": "eu"}}))
        await terminal.ask(modern_body("tools/list", {}))
        shipped = await terminal.ask(modern_body("tools/call", {"name": "orders__ship", "arguments": {"region": "eu"}}))
    assert found["result"]["supportedVersions"]
    assert called["result"]["content"] == []
    assert early["error"]["code"] == -32020
    assert "result" in shipped


class Slow:
    def __init__(self) -> None:
        self.began = anyio.Event()
        self.canceled = anyio.Event()

    async def __call__(self, request: Request, emit: Emit) -> Result:
        self.began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.canceled.set()
            raise
        return Complete(body=plain(""))


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_giving_up_reaches_the_call(era: str) -> None:
    gateway = shop()
    slow = gateway.runs["workflow:help"] = Slow()
    params: JsonObject = {"name": "workflows__help"}
    async with served(gateway) as port, fronted(port) as terminal:
        await terminal.ask(HELLO)
        await terminal.say(
            modern_body("tools/call", params, request_id=7) if era == "modern" else legacy("tools/call", params, 7)
        )
        await slow.began.wait()
        meta: JsonObject = (
            {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}} if era == "modern" else {}
        )
        await terminal.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7, **meta}})
        await slow.canceled.wait()
        again = await terminal.ask(legacy("ping", request_id=8))
    assert again["result"] == {}


async def test_changed_lists_are_told() -> None:
    gateway = shop()
    async with served(gateway) as port, fronted(port) as terminal:
        await terminal.say(
            modern_body("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, request_id=3)
        )
        acknowledged = await terminal.hear()
        gateway.change(tool("new"))
        changed = await terminal.hear()
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert changed["method"] == "notifications/tools/list_changed"


@pytest.mark.parametrize("message", [HELLO, modern_body("server/discover", {}, request_id=0)], ids=["legacy", "modern"])
async def test_where_no_gateway_runs_the_answer_says_how_to_start_one(message: JsonObject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with fronted(port) as terminal:
        answer = await terminal.ask(message)
    assert answer["error"]["code"] == 1503
    assert "drawbridge serve" in answer["error"]["message"]


async def test_a_session_outlives_a_gateway_that_is_started_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with fronted(port) as terminal:
        async with served(shop(), port):
            await terminal.ask(HELLO)
        down = await terminal.ask(legacy("ping", request_id=2))
        async with served(shop(), port):
            up = await terminal.ask(legacy("ping", request_id=3))
    assert down["error"]["code"] == 1503
    assert up["result"] == {}


INITIALIZED: JsonObject = {"jsonrpc": "2.0", "method": "notifications/initialized"}
EVERY_LIST = [f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")]
UPDATED = "notifications/resources/updated"


async def test_a_client_that_asks_nothing_learns_what_changed_while_the_gateway_was_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    first, second = shop(), shop()
    watched, resumed = resource("file:///a"), anyio.Event()

    async def follow(request: Request, emit: Emit) -> Result:
        await emit(Log(level="debug", text=FOLLOWED))
        resumed.set()
        await anyio.sleep_forever()
        raise AssertionError

    second.runs[watched.name] = follow
    for each in (first, second):
        each.change(watched)
        each.abouts = {"orders": {"capabilities": {"resources": {"subscribe": True}}}}
    async with fronted(port) as terminal:
        async with served(first, port):
            await terminal.ask(HELLO)
            await terminal.say(INITIALIZED)
            await terminal.ask(legacy("resources/subscribe", {"uri": "file:///a"}))
            first.change(tool("earlier"))
            assert (await terminal.hear())["method"] == "notifications/tools/list_changed"
        async with served(second, port):
            await resumed.wait()
            second.change(prompt("later"))
            told: list[str] = []
            while told[-5:] != [*EVERY_LIST, UPDATED, "notifications/prompts/list_changed"]:
                told.append((await terminal.hear())["method"])


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"jsonrpc":"2.0","id":1}', b"\xff"])
async def test_a_line_that_is_no_message_gets_an_error(line: bytes) -> None:
    async with served(shop()) as port, fronted(port) as terminal:
        await terminal.say(line)
        answer = await terminal.hear()
        await terminal.say(b'{"jsonrpc":"2.0","id":1,"result":{}}')
        await terminal.say(b"")
        hello = await terminal.ask(HELLO)
    assert answer["error"]["code"] in (-32700, -32602)
    assert "result" in hello


async def test_requests_sent_before_the_client_closed_are_still_answered() -> None:
    async with served(shop()) as port, fronted(port) as terminal:
        await terminal.say(modern_body("tools/call", CALL, request_id=1))
        terminal.hang_up()
        answer = await terminal.hear()
    assert answer["result"]["content"] == []


async def test_arguments_that_cannot_be_read_cost_their_own_call_only() -> None:
    async with served(shop()) as port, fronted(port) as terminal:
        await terminal.ask(modern_body("tools/list", {}))
        body = msgspec.json.encode(modern_body("tools/call", {"name": "orders__ship", "arguments": {"region": "EU"}}))
        await terminal.say(body.replace(b'"EU"', b"1e999"))
        refused = await terminal.hear()
        shipped = await terminal.ask(modern_body("tools/call", {"name": "orders__ship", "arguments": {"region": "eu"}}))
    assert refused["id"] == 1
    assert "error" in refused
    assert "result" in shipped


@asynccontextmanager
async def answering_with(payload: bytes) -> AsyncGenerator[int]:
    """The port of a server that answers every request with the same bytes, and closes."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(payload)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, together() as group:
        group.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()


NONSENSE = [
    b"HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: nothing\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: garbage\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut",
    b"garbage",
]


@pytest.mark.parametrize("payload", NONSENSE)
async def test_whatever_the_other_side_answers_the_client_gets_an_error(payload: bytes) -> None:
    async with answering_with(payload) as port, fronted(port) as terminal:
        answer = await terminal.ask(modern_body("tools/list", {}))
    assert answer["error"]["code"] == -32603


OF_BATCHES = legacy("initialize", {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {}}, 0)


async def test_a_batch_goes_to_the_gateway_whole_and_its_answers_come_back() -> None:
    async with served(shop()) as port, fronted(port) as terminal:
        await terminal.ask(OF_BATCHES)
        await terminal.say([{"jsonrpc": "2.0", "method": "notifications/initialized"}, {"no": "message"}])
        broken = await terminal.hear()
        await terminal.say([legacy("ping", request_id=1), legacy("tools/list", request_id=2)])
        plain_ones = await terminal.hear()
        call = legacy("tools/call", {**CALL, "_meta": {"progressToken": 9}}, 3)
        await terminal.say([call, legacy("ping", request_id=4)])
        heard = [await terminal.hear() for _ in range(3)]
    assert [(each["id"], each["error"]["code"]) for each in broken] == [(None, -32600)]
    assert [each["id"] for each in plain_ones] == [1, 2]
    assert plain_ones[0]["result"] == {}
    assert {each.get("id", each.get("method")) for each in heard} == {3, 4, "notifications/progress"}


async def test_each_request_of_a_batch_that_is_refused_whole_learns_it_by_its_id() -> None:
    async with served(shop()) as port, fronted(port) as terminal:
        await terminal.ask(HELLO)
        await terminal.say([legacy("ping", request_id=1), legacy("tools/call", CALL, 2)])
        refused = await terminal.hear()
        await terminal.say([{"jsonrpc": "2.0", "method": "notifications/progress"}])
        alone = await terminal.hear()
    assert [(each["id"], each["error"]["code"]) for each in refused] == [(1, -32602), (2, -32602)]
    assert (alone["id"], alone["error"]["code"]) == (None, -32602)


async def test_a_batch_is_sent_again_to_a_gateway_that_was_started_again() -> None:
    async with served(shop()) as port:
        pass
    async with fronted(port) as terminal:
        async with served(shop(), port):
            await terminal.ask(OF_BATCHES)
        async with served(shop(), port):
            await terminal.say([legacy("ping", request_id=1)])
            answers = await terminal.hear()
        await terminal.say([legacy("ping", request_id=2), legacy("ping", request_id=3)])
        gone = await terminal.hear()
    assert answers == [{"jsonrpc": "2.0", "id": 1, "result": {}}]
    assert [(each["id"], "error" in each) for each in gone] == [(2, True), (3, True)]


@pytest.mark.parametrize(
    "payload", [*NONSENSE, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[7]"]
)
async def test_whatever_the_other_side_answers_each_request_of_a_batch_gets_an_error(payload: bytes) -> None:
    async with answering_with(payload) as port, fronted(port) as terminal:
        await terminal.say([legacy("ping", request_id=1), legacy("ping", request_id=2)])
        answers = await terminal.hear()
    assert [(each["id"], each["error"]["code"]) for each in answers] == [(1, -32603), (2, -32603)]


SCRIPT = """
import sys, anyio
from adapters.mcp.stdio_front import StdinLines, relay, write_stdout
from gateway.core.limits import Limits
async def main():
    stdin = StdinLines(1000000)
    await relay(stdin, write_stdout, endpoint_url=sys.argv[1], authorization="Bearer ana", limits=Limits())
anyio.run(main)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_talks_through_a_process_of_its_own(mode: Any) -> None:
    gateway = shop()
    async with served(gateway) as port:
        process = StdioServerParameters(command=sys.executable, args=["-c", SCRIPT, f"http://127.0.0.1:{port}/mcp"])
        async with Client(process, mode=mode) as client:
            assert len((await client.list_tools()).tools) == 3
            assert not (await client.call_tool("orders__ship", {"region": "eu"})).is_error
            with pytest.raises(MCPError):
                await client.call_tool("orders__nothing", {})
