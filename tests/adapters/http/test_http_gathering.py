"""An answer leaves in one write, whole and in order, under the real server."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
import uvicorn

from adapters.http.gathering import GATHERED_BYTES, Gathering, GatheringProtocol
from adapters.http.server import Door, Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """Notes what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


async def test_writes_of_one_turn_leave_together_and_the_next_turns_apart() -> None:
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"head")
    gathering.write(b"body")
    assert wire.written == []
    await anyio.lowlevel.checkpoint()
    gathering.write(b"more")
    await anyio.lowlevel.checkpoint()
    assert wire.written == [b"headbody", b"more"]


async def test_what_is_much_is_not_held_back_until_the_turn_ends() -> None:
    """Whoever writes without a pause would not be told to wait, and fill the memory instead of the connection."""
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"head")
    for _ in range(3):
        gathering.write(b"x" * GATHERED_BYTES)
    assert [len(each) for each in wire.written] == [GATHERED_BYTES + 4, GATHERED_BYTES, GATHERED_BYTES]
    gathering.write(b"end")
    await anyio.lowlevel.checkpoint()
    assert wire.written[3:] == [b"end"]


async def test_closing_sends_what_is_gathered_and_aborting_does_not() -> None:
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"bye")
    gathering.close()
    assert wire.written == [b"bye"]
    assert gathering.is_closing()
    lost = Wire()
    gathering = Gathering(lost, asyncio.get_running_loop())
    gathering.write(b"gone")
    gathering.abort()
    await anyio.lowlevel.checkpoint()
    assert lost.written == []


@asynccontextmanager
async def serving(door: Door, protocol: type[GatheringProtocol]) -> AsyncGenerator[int]:
    """The port at which a real server answers with `door`."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        config = uvicorn.Config(door, http=protocol, lifespan="off", log_config=None, loop="none")
        server = uvicorn.Server(config)
        with anyio.fail_after(120):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: server.serve(sockets=[bound]))
                yield bound.getsockname()[1]
                server.should_exit = True


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    message: Message = await receive()
    body = b"x" * 100_000 + message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before the body is there, and reads none of it."""
    headers = [(b"content-length", b"3"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"no!"})


async def test_who_still_sends_what_was_refused_gets_to_read_why(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may need longer for all of it than a client is given.
    monkeypatch.setattr("adapters.http.gathering.LINGER_S", 60.0)
    answered = b""
    async with serving(refusing, GatheringProtocol) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n")
        answered += await stream.receive()
        # The whole of it, though nobody wants it: a connection that is reset refuses the next piece.
        for _ in range(200):
            await stream.send(b" " * 100_000)
        with pytest.raises(anyio.EndOfStream):
            while True:
                answered += await stream.receive()
    assert answered.startswith(b"HTTP/1.1 413")
    assert answered.endswith(b"no!")


async def test_who_never_stops_sending_what_was_refused_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.http.gathering.LINGER_S", 0.05)
    async with serving(refusing, GatheringProtocol) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(b"5\r\nhello\r\n" * 1000)


class Impatient(GatheringProtocol):
    unread_s = 0.05
    gone: asyncio.Event

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone.set()


async def flooding(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends more than anybody's buffers hold, and gives up on whoever does not read it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    with anyio.move_on_after(0.5):
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})


async def test_who_does_not_read_loses_its_connection_and_the_buffer_with_it() -> None:
    Impatient.gone = asyncio.Event()
    with socket.socket() as bound, socket.socket() as silent:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        config = uvicorn.Config(flooding, http=Impatient, lifespan="off", log_config=None, loop="none")
        server = uvicorn.Server(config)
        with anyio.fail_after(120):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: server.serve(sockets=[bound]))
                silent.setblocking(False)
                await asyncio.get_running_loop().sock_connect(silent, bound.getsockname())
                silent.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                await Impatient.gone.wait()
                server.should_exit = True


class Hasty(GatheringProtocol):
    head_within_s = 0.05


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1GET / HT"]
)
async def test_who_does_not_finish_the_head_of_a_request_is_cut_off(sent: bytes) -> None:
    async with serving(app, Hasty) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(sent)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await stream.receive()


async def test_a_body_may_take_longer_than_a_head() -> None:
    answered = b""
    async with serving(app, Hasty) as port:
        # The head is there before the server has a chance to look for it.
        connected = socket.create_connection(("127.0.0.1", port))
        connected.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n")
        stream = await anyio.abc.SocketStream.from_socket(connected)
        async with await anyio.connect_tcp("127.0.0.1", port) as other:
            # Cut off, it tells that the time for a head is over.
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await other.receive()
        await stream.send(b"!")
        while not answered.endswith(b"!"):
            answered += await stream.receive()
        await stream.aclose()
    assert answered.startswith(b"HTTP/1.1 200")


async def test_pipelined_requests_are_answered_whole_and_in_order() -> None:
    answered = b""
    async with serving(app, GatheringProtocol) as port:
        stream = await anyio.connect_tcp("127.0.0.1", port)
        asked = b"".join(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n%d" % n for n in range(3))
        await stream.send(asked)
        while answered.count(b"x" * 100_000) < 3 or not answered.endswith(b"2"):
            answered += await stream.receive()
        await stream.aclose()
    ends = [part[100_000:100_001] for part in answered.split(b"\r\n\r\n")[1:]]
    assert ends == [b"0", b"1", b"2"]
