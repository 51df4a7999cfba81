"""A client that leaves what it is sent unread costs a bounded buffer, then its stream; it is told, and counted."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest
import uvicorn

from adapters.http.gathering import GatheringProtocol
from adapters.mcp.exchange import Pace
from adapters.mcp.tapes import SHARE
from adapters.mcp.wire import Answer, Frame
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import Complete, Emit, Log, Progress, Request, Result
from gateway.core.record import Record
from tests.fakes_mcp_door import Caller, Reply, ShopGateway, Visit, opened, resource, together, tool

pytestmark = pytest.mark.anyio
CALL: JsonObject = {"name": "orders__refund", "arguments": {}, "_meta": {"progressToken": 1}}
IMPATIENT = Pace(attend_after_s=10.0, keep_alive_s=5.0, slow_reader_s=0.05)
URI = "file:///a"


class Counted(ShopGateway):
    """Says when a client is counted as one that does not read."""

    def __init__(self) -> None:
        super().__init__(tool("refund"), resource(URI))
        self.unread: list[Record] = []
        self.some = anyio.Event()

    def note(self, record: Record) -> None:
        super().note(record)
        if record.code == 1429:
            self.unread.append(record)
            self.some.set()


def get(caller: Caller, last: str = "") -> Visit:
    return caller.visit(b"", method="GET", mcp_session_id=caller.session, last_event_id=last)


def ids(reply: Reply) -> list[str]:
    return [line[4:].decode() for line in reply.body.split(b"\n") if line.startswith(b"id: ")]


def methods(reply: Reply) -> list[str]:
    return [each["method"].removeprefix("notifications/") for each in reply.events]


async def test_a_stream_of_changes_that_is_left_unread_ends_and_what_it_told_is_read_on() -> None:
    gateway = Counted()
    async with opened(gateway, pace=IMPATIENT) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = get(caller)
        group.start_soon(caller.send, visit)
        await visit.until(b"id: ")
        visit.room = anyio.Event()
        gateway.change(tool("new"))
        await gateway.some.wait()
        visit.room.set()
        await visit.until(b"left unread")
        again = get(caller, ids(visit.reply)[-1])
        group.start_soon(caller.send, again)
        await again.until(b"tools/list_changed")
        again.left.set()
    assert visit.reply.complete
    assert b"\nretry: 1000\n" in visit.reply.body
    assert methods(visit.reply) == []
    assert methods(again.reply) == ["tools/list_changed"]
    assert [(each.operation, each.outcome, each.detail) for each in gateway.unread] == [
        ("GET", "error", {"limit": "reading"})
    ]


async def test_a_modern_stream_that_is_left_unread_ends_with_the_reason() -> None:
    gateway = Counted()
    async with opened(gateway, pace=IMPATIENT) as door, together() as group:
        caller = Caller(door)
        visit = caller.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        group.start_soon(caller.send, visit)
        await visit.until(b"acknowledged")
        visit.room = anyio.Event()
        gateway.change(tool("new"))
        await gateway.some.wait()
        visit.room.set()
        await visit.until(b'"error"')
    assert visit.reply.complete
    assert visit.reply.events[-1]["error"]["code"] == 1429
    assert [each.operation for each in gateway.unread] == ["subscriptions/listen"]


async def test_a_client_that_cannot_take_streams_up_again_is_told_that_its_call_ended() -> None:
    gateway = Counted()
    canceled = anyio.Event()

    async def run(request: Request, emit: Emit) -> Result:
        try:
            await emit(Progress(progress=1))
            await anyio.sleep_forever()
        finally:
            canceled.set()
        raise AssertionError

    gateway.runs["tool:orders/refund"] = run
    async with opened(gateway, pace=IMPATIENT) as door, together() as group:
        caller = Caller(door)
        await caller.initialize("2024-11-05")
        visit = caller.legacy("tools/call", CALL)
        visit.room = anyio.Event()
        group.start_soon(caller.send, visit)
        await canceled.wait()
        visit.room.set()
        await visit.until(b'"error"')
    assert visit.reply.json["error"]["code"] == 1429
    assert [each.operation for each in gateway.unread] == ["tools/call"]


async def test_a_second_stream_is_refused_and_leaves_the_first_as_it_was() -> None:
    gateway = Counted()
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        first = get(caller)
        group.start_soon(caller.send, first)
        await first.until(b"id: ")
        assert (await caller.send(get(caller))).status == 409
        first.left.set()
        await anyio.wait_all_tasks_blocked()
        again = get(caller, ids(first.reply)[-1])
        group.start_soon(caller.send, again)
        await again.until(b": keep-alive")
        gateway.change(tool("new"))
        await again.until(b"tools/list_changed")
        again.left.set()


async def test_whoever_takes_a_stream_up_ends_the_connection_it_broke_on() -> None:
    gateway = Counted()
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        stale = get(caller)
        group.start_soon(caller.send, stale)
        await stale.until(b"id: ")
        again = get(caller, ids(stale.reply)[-1])
        group.start_soon(caller.send, again)
        await again.until(b": keep-alive")
        gateway.change(tool("new"))
        await again.until(b"tools/list_changed")
        third = await caller.send(get(caller))
        again.left.set()
    assert stale.reply.complete
    assert methods(stale.reply) == []
    assert third.status == 409


async def test_resources_that_may_have_changed_meanwhile_are_told_when_a_stream_is_taken_up() -> None:
    gateway = Counted()
    async with opened(gateway) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        await caller.say("resources/subscribe", {"uri": URI})
        visit = get(caller)
        group.start_soon(caller.send, visit)
        await visit.until(b"id: ")
        visit.left.set()
        await anyio.wait_all_tasks_blocked()
        again = get(caller, ids(visit.reply)[-1])
        group.start_soon(caller.send, again)
        await again.until(b"resources/updated")
        again.left.set()
    assert again.reply.events[0]["params"] == {"uri": URI}
    assert len(ids(again.reply)) == 1


async def test_a_stream_of_changes_of_which_some_is_gone_tells_of_everything_anew() -> None:
    gateway = Counted()

    async def run(request: Request, emit: Emit) -> Result:
        for number in range(9):
            await emit(Progress(progress=number))
        return Complete(body=Answer(b'{"content":[]}', era="legacy"))

    gateway.runs["tool:orders/refund"] = run
    async with opened(gateway, limits=Limits(kept_events=2 * SHARE)) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        visit = get(caller)
        group.start_soon(caller.send, visit)
        await visit.until(b"id: ")
        gateway.change(tool("new"))
        await visit.until(b"tools/list_changed")
        visit.left.set()
        await caller.send(caller.legacy("tools/call", CALL))
        again = get(caller, ids(visit.reply)[0])
        group.start_soon(caller.send, again)
        await again.until(b"list_changed")
        again.left.set()
    assert again.reply.status == 200
    assert methods(again.reply) == ["tools/list_changed", "prompts/list_changed", "resources/list_changed"]


async def test_streams_that_nobody_reads_on_in_are_forgotten() -> None:
    async with opened(Counted()) as door, together() as group:
        caller = Caller(door)
        await caller.initialize()
        first = ""
        for _ in range(3):
            visit = get(caller)
            group.start_soon(caller.send, visit)
            await visit.until(b"id: ")
            visit.left.set()
            await anyio.wait_all_tasks_blocked()
            first = first or ids(visit.reply)[0]
        assert (await caller.send(get(caller, first))).status == 410


class Flood:
    """A tool that says more than anybody's buffers hold, and then answers."""

    events = 120
    text = b"x" * 100_000

    async def __call__(self, request: Request, emit: Emit) -> Result:
        for number in range(self.events):
            params = b'{"level":"info","logger":"%d","data":"%b"}' % (number, self.text)
            raw = b'{"jsonrpc":"2.0","method":"notifications/message","params":%b}' % params
            await emit(Log(level="info", text="", native=Frame(raw)))
        return Complete(body=Answer(b'{"content":[]}', era="legacy"))


@asynccontextmanager
async def served(gateway: ShopGateway, limits: Limits) -> AsyncGenerator[tuple[Caller, int]]:
    """A caller of a door, and the port at which the same door is served as in earnest."""
    pace = Pace(attend_after_s=30.0, slow_reader_s=1.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with opened(gateway, limits=limits, pace=pace, within_s=60) as door, together() as group:
            config = uvicorn.Config(door, http=GatheringProtocol, log_config=None, lifespan="off", loop="none")
            server = uvicorn.Server(config)
            group.start_soon(lambda: server.serve(sockets=[listener]))
            yield Caller(door), listener.getsockname()[1]
            door.stop()
            server.should_exit = True


async def asked(port: int, visit: Visit) -> socket.socket:
    """The connection on which a request was sent, by a client with hardly any room for its answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    body = (await visit.receive())["body"]
    lines = [b"%b: %b" % pair for pair in visit.scope["headers"]]
    head = [f"{visit.scope['method']} /mcp HTTP/1.1".encode(), b"host: x", *lines, b"content-length: %d" % len(body)]
    client.send(b"\r\n".join([*head, b"", body]))
    return client


async def read(client: socket.socket, until: bytes = b"0\r\n\r\n") -> bytes:
    """The body of a chunked answer that ends orderly."""
    received = bytearray()
    while not received.endswith(until):
        piece = await asyncio.get_running_loop().sock_recv(client, 1_000_000)
        assert piece, "the answer was cut short"
        received += piece
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    body = b""
    while rest != b"0\r\n\r\n":
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def logged(body: bytes) -> list[int | str]:
    """The numbers of what was logged, and the id of the answer."""
    found = [msgspec.json.decode(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    return [int(each["params"]["logger"]) if "method" in each else each["id"] for each in found]


async def test_a_call_over_a_connection_that_is_not_read_goes_on_and_all_of_it_is_read_later() -> None:
    gateway = Counted()
    gateway.runs["tool:orders/refund"] = Flood()
    async with served(gateway, Limits(kept_bytes=SHARE * 64_000_000)) as (caller, port):
        await caller.initialize()
        with await asked(port, caller.legacy("tools/call", CALL, request_id="call")) as client:
            await gateway.some.wait()
            first = await read(client)
        last = [line[4:] for line in first.split(b"\n") if line.startswith(b"id: ")][-1]
        with await asked(port, get(caller, last.decode())) as client:
            rest = await read(client)
    assert first.endswith(b"read on by Last-Event-ID\nretry: 1000\n\n")
    assert 0 < len(logged(first)) < Flood.events
    assert logged(first) + logged(rest) == [*range(Flood.events), "call"]
    assert [each.operation for each in gateway.unread] == ["tools/call"]


async def test_a_modern_call_over_a_connection_that_is_not_read_ends_and_says_so() -> None:
    gateway = Counted()
    gateway.runs["tool:orders/refund"] = Flood()
    meta: JsonObject = {"io.modelcontextprotocol/logLevel": "debug"}
    async with served(gateway, Limits()) as (caller, port):
        with await asked(port, caller.modern("tools/call", CALL, meta=meta)) as client:
            await gateway.some.wait()
            said = await read(client)
    assert msgspec.json.decode(said.split(b"data: ")[-1])["error"]["code"] == 1429
    assert len(logged(said)) < Flood.events
