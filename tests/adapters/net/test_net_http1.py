"""The pooled client against a server that says exactly the bytes it is told, on real sockets."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from adapters.net.address import address_from_url
from adapters.net.connection import HEAD_BYTES
from adapters.net.http1 import Pool, PoolLimits, header_lines
from adapters.net.response import Response
from gateway.core.errors import (
    DeadlineExceeded,
    Exhausted,
    GatewayError,
    InvalidRequest,
    Unavailable,
    UpstreamFailed,
)
from tests.fakes_upstreams import Behave, Exchange, RawServer, raw_server

pytestmark = pytest.mark.anyio
SOON_S = 2.0
"""For deadlines that are to be met while an answer is awaited: a busy machine takes some of it to connect."""


@asynccontextmanager
async def bench(behave: Behave | None = None, **limits: float) -> AsyncGenerator[tuple[RawServer, Pool], None]:
    async with raw_server(behave) as server:
        pool = Pool(address_from_url(server.url), name="orders", limits=PoolLimits(**limits))  # type: ignore[arg-type]
        try:
            with anyio.fail_after(60):
                yield server, pool
        finally:
            await pool.aclose()


async def post(pool: Pool, body: bytes = b"{}", *, within_s: float = 60.0, replay: bool = False) -> Response:
    deadline_s = asyncio.get_running_loop().time() + within_s
    return await pool.send(b"POST", b"/mcp", b"", body, deadline_s=deadline_s, replay=replay)


def echo(exchange: Exchange) -> None:
    exchange.answer(exchange.body)


async def test_a_request_is_sent_whole_and_its_answer_read_whole() -> None:
    async with bench(echo) as (server, pool):
        lines = header_lines([("mcp-name", "refund"), (b"accept", b"application/json")])
        response = await pool.send(
            b"POST", b"/mcp?x=1", lines, b"hello", deadline_s=asyncio.get_running_loop().time() + 60
        )
        assert (response.status, response.header(b"content-type")) == (200, b"application/json")
        assert await response.read(100) == b"hello"
        seen = server.exchanges[0]
        assert (seen.method, seen.target, seen.body) == (b"POST", b"/mcp?x=1", b"hello")
        assert seen.headers[b"host"] == f"127.0.0.1:{server.port}".encode()
        assert seen.headers[b"mcp-name"] == b"refund"


async def test_one_connection_carries_one_request_after_another() -> None:
    async with bench(echo) as (server, pool):
        for _ in range(5):
            await (await post(pool)).read(100)
        assert len(server.connections) == 1


async def test_the_connection_used_last_is_used_first() -> None:
    async with bench() as (server, pool), anyio.create_task_group() as calls:

        async def call(body: bytes) -> None:
            await (await post(pool, body)).read(100)

        calls.start_soon(call, b"first")
        first = await server.next()
        calls.start_soon(call, b"second")
        second = await server.next()
        first.answer(b"")
        await anyio.wait_all_tasks_blocked()
        second.answer(b"")
        await anyio.wait_all_tasks_blocked()
        calls.start_soon(call, b"third")
        third = await server.next()
        assert third.connection == second.connection
        third.answer(b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=["chunked", "length", "continue", "early hints"],
)
async def test_every_way_to_end_a_body_is_read_byte_by_byte_too(raw: bytes) -> None:
    def trickle(exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        for at in range(len(raw)):
            loop.call_later(at / 10_000, exchange.send, raw[at : at + 1])

    async with bench(trickle) as (server, pool):
        for _ in range(2):
            assert await (await post(pool)).read(100) == b"hello"
        assert len(server.connections) == 1


async def test_a_body_without_length_ends_with_its_connection() -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        exchange.close()

    async with bench(behave) as (server, pool):
        assert await (await post(pool)).read(100) == b"hello"
        assert await (await post(pool)).read(100) == b"hello"
        assert len(server.connections) == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>not http</html>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (HEAD_BYTES + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_BYTES // 20),
    ],
    ids=["html", "two lengths", "length and chunks", "no number", "gzip", "upgrade", "huge head", "endless interim"],
)
async def test_what_is_not_plain_http_fails_the_call_and_closes_the_connection(raw: bytes) -> None:
    async with bench(lambda exchange: exchange.send(raw)) as (server, pool):
        with pytest.raises(UpstreamFailed) as failure:
            await (await post(pool)).read(100)
        assert str(server.port) not in failure.value.message
        await server.exchanges[0].gone.wait()
        assert pool.in_use == 0


async def test_chunk_extensions_without_end_are_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;"
    async with bench(lambda exchange: exchange.send(head + b"x" * 2 * HEAD_BYTES)) as (_, pool):
        with pytest.raises(UpstreamFailed):
            await (await post(pool)).read(100)


@pytest.mark.parametrize("length", [True, False], ids=["declared", "chunked"])
async def test_a_body_over_the_limit_is_not_read_to_its_end(length: bool) -> None:
    def behave(exchange: Exchange) -> None:
        head = b"content-length: 100000000" if length else b"transfer-encoding: chunked"
        exchange.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        exchange.send(b"F4240\r\n" + b"x" * 1_000_000 + b"\r\n")

    async with bench(behave) as (server, pool):
        with pytest.raises(UpstreamFailed):
            await (await post(pool)).read(10_000)
        await server.exchanges[0].gone.wait()


async def test_a_body_that_is_cut_short_fails() -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello")
        exchange.close()

    async with bench(behave) as (_, pool):
        response = await post(pool)
        with pytest.raises(UpstreamFailed):
            await response.read(100)


async def test_a_chunked_stream_that_is_cut_gives_its_pieces_and_then_fails() -> None:
    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        exchange.close()

    async with bench(behave) as (_, pool):
        response = await post(pool)
        assert await response.chunk() == b"hello"
        with pytest.raises(UpstreamFailed):
            await response.chunk()


async def test_a_stream_gives_its_pieces_as_they_come_and_its_end() -> None:
    pieces: list[bytes] = []
    async with bench() as (server, pool), anyio.create_task_group() as calls:

        async def call() -> None:
            response = await post(pool)
            while piece := await response.chunk():
                pieces.append(piece)

        calls.start_soon(call)
        exchange = await server.next()
        exchange.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two"):
            exchange.send(b"3\r\n" + piece + b"\r\n")
            while not pieces or pieces[-1] != piece:
                await anyio.wait_all_tasks_blocked()
        exchange.end()
    assert pieces == [b"one", b"two"]


async def test_a_slow_reader_stops_the_sender() -> None:
    total = 50_000_000

    def behave(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total + b"x" * total)

    async with bench(behave) as (server, pool):
        response = await post(pool, within_s=60)
        received = len(await response.chunk())
        await anyio.wait_all_tasks_blocked()
        # What neither the sockets nor the reader hold is still at the server: nobody has read it.
        assert server.exchanges[0].transport.get_write_buffer_size() > total // 2
        while piece := await response.chunk():
            received += len(piece)
        assert received == total


async def test_cancelling_the_call_closes_its_connection() -> None:
    async with bench() as (server, pool):
        async with anyio.create_task_group() as calls:
            calls.start_soon(post, pool)
            await server.next()
            calls.cancel_scope.cancel()
        await server.exchanges[0].gone.wait()
        assert pool.in_use == 0


async def test_cancelling_the_reading_closes_the_connection_too() -> None:
    async with bench() as (server, pool):
        async with anyio.create_task_group() as calls:

            async def call() -> None:
                await (await post(pool)).read(100)

            calls.start_soon(call)
            exchange = await server.next()
            exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello")
            await anyio.wait_all_tasks_blocked()
            calls.cancel_scope.cancel()
        await server.exchanges[0].gone.wait()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"], ids=["silence", "no body"])
async def test_a_server_that_hangs_meets_the_deadline(head: bytes) -> None:
    async with bench(lambda exchange: exchange.send(head)) as (server, pool):
        with pytest.raises(DeadlineExceeded):
            await (await post(pool, within_s=SOON_S)).read(100)
        await server.exchanges[0].gone.wait()


async def test_the_nearer_deadline_counts_even_if_it_was_set_later() -> None:
    async with bench() as (_, pool), anyio.create_task_group() as calls:
        calls.start_soon(post, pool)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(DeadlineExceeded):
            await post(pool, within_s=SOON_S)
        calls.cancel_scope.cancel()


async def test_a_connection_that_spoke_unasked_is_never_used_again() -> None:
    async with bench(echo) as (server, pool):
        await (await post(pool)).read(100)
        server.exchanges[0].answer(b"not asked for")
        await server.exchanges[0].gone.wait()
        assert await (await post(pool, b"mine")).read(100) == b"mine"
        assert len(server.connections) == 2


async def test_a_second_answer_in_the_same_packet_is_nobodys() -> None:
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    async with bench(lambda exchange: exchange.send(one + b"first" + one + b"other")) as (server, pool):
        for _ in range(2):
            assert await (await post(pool)).read(100) == b"first"
        assert len(server.connections) == 2


async def test_a_request_into_a_closing_connection_is_sent_again_only_if_it_may_be() -> None:
    def behave(exchange: Exchange) -> None:
        if exchange.connection == 0 and len(server.exchanges) == 2:
            exchange.close()
        else:
            exchange.answer(exchange.body)

    async with bench(behave) as (server, pool):
        await (await post(pool)).read(100)
        assert await (await post(pool, b"again", replay=True)).read(100) == b"again"
        assert [each.connection for each in server.exchanges] == [0, 0, 1]

    async with bench(behave) as (server, pool):
        await (await post(pool)).read(100)
        with pytest.raises(UpstreamFailed):
            await post(pool, b"once")
        assert len(server.exchanges) == 2


async def test_nothing_is_sent_again_on_a_fresh_connection() -> None:
    async with bench(lambda exchange: exchange.close()) as (server, pool):
        with pytest.raises(UpstreamFailed):
            await post(pool, replay=True)
        assert len(server.exchanges) == 1


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with bench(echo, idle_s=0.05) as (server, pool):
        await (await post(pool)).read(100)
        await server.exchanges[0].gone.wait()
        await (await post(pool)).read(100)
        assert len(server.connections) == 2


async def test_more_requests_than_connections_wait_their_turn() -> None:
    answers: list[bytes] = []
    async with bench(connections=2) as (server, pool), anyio.create_task_group() as calls:

        async def call(number: int) -> None:
            answers.append(await (await post(pool, b"%d" % number)).read(100))

        for number in range(5):
            calls.start_soon(call, number)
        for _ in range(5):
            exchange = await server.next()
            assert pool.in_use <= 2
            echo(exchange)
        while len(answers) < 5:
            await anyio.wait_all_tasks_blocked()
        assert len(server.connections) == 2
    assert sorted(answers) == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_full_queue_refuses_at_once() -> None:
    async with bench(connections=1, queue=1) as (server, pool), anyio.create_task_group() as calls:
        calls.start_soon(post, pool)
        await server.next()
        calls.start_soon(post, pool)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Exhausted):
            await post(pool)
        calls.cancel_scope.cancel()


async def test_whoever_gives_up_waiting_leaves_the_place_to_the_next() -> None:
    async with bench(connections=1) as (server, pool), anyio.create_task_group() as calls:

        async def failing() -> None:
            with pytest.raises(UpstreamFailed):
                await post(pool)

        calls.start_soon(failing)
        first = await server.next()
        with pytest.raises(DeadlineExceeded):
            await post(pool, within_s=0.05)
        calls.start_soon(post, pool, b"patient")
        await anyio.wait_all_tasks_blocked()
        first.reset()
        second = await server.next()
        assert second.body == b"patient"
        second.answer(b"")


async def test_nobody_listening_is_unavailable_and_certainly_not_sent() -> None:
    async with raw_server() as server:
        port = server.port
    pool = Pool(address_from_url(f"http://127.0.0.1:{port}/"), name="orders")
    with pytest.raises(Unavailable) as failure:
        await post(pool)
    assert failure.value.detail == {"sent": False}
    assert "127.0.0.1" not in failure.value.message
    await pool.aclose()


async def test_closing_fails_what_is_under_way_and_what_comes_after() -> None:
    async with bench(connections=1) as (server, pool):
        failures: list[type[GatewayError]] = []

        async def call() -> None:
            try:
                await post(pool)
            except GatewayError as error:
                failures.append(type(error))

        async with anyio.create_task_group() as calls:
            for _ in range(3):
                calls.start_soon(call)
            await server.next()
            await anyio.wait_all_tasks_blocked()
            await pool.aclose()
        await call()
        assert failures == [Unavailable] * 4
        await server.exchanges[0].gone.wait()


async def test_the_rest_of_an_answer_can_be_left_without_losing_the_connection() -> None:
    async with bench() as (server, pool), anyio.create_task_group() as calls:

        async def call() -> None:
            response = await post(pool)
            await response.chunk()
            response.leave(asyncio.get_running_loop().time() + 60)

        calls.start_soon(call)
        first = await server.next()
        first.stream(b"{}")
        await anyio.wait_all_tasks_blocked()
        first.event(b"late")
        first.end()
        while pool.in_use:
            await anyio.wait_all_tasks_blocked()
        calls.start_soon(post, pool)
        second = await server.next()
        assert second.connection == first.connection
        second.answer(b"")


async def test_a_rest_that_never_ends_costs_the_connection() -> None:
    async with bench() as (server, pool), anyio.create_task_group() as calls:

        async def call() -> None:
            response = await post(pool)
            await response.chunk()
            response.leave(asyncio.get_running_loop().time() + 0.05)

        calls.start_soon(call)
        exchange = await server.next()
        exchange.stream(b"{}")
        await exchange.gone.wait()


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\0b"])
def test_a_header_that_would_smuggle_another_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        header_lines([("mcp-name", value)])
    with pytest.raises(InvalidRequest):
        header_lines([(value, "x")])
