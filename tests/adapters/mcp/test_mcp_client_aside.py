"""Legacy servers that ask beside the call they ask for: on the session's own stream."""

import asyncio

import anyio
import pytest

from adapters.mcp import client_legacy
from adapters.mcp.client_unanswered import Unanswered
from adapters.mcp.wire import encode
from adapters.net.response import Response
from gateway.core.errors import DeadlineExceeded
from gateway.core.json import Json, JsonObject
from gateway.core.model import Event, InputRequired, Log, Result, ignore_event
from tests.adapters.mcp.test_mcp_client_http import DONE, bench, legacy, message, result
from tests.fakes_mcp_client import LoopClock, a_request, call, params, said, tool
from tests.fakes_upstreams import Behave, Exchange

pytestmark = pytest.mark.anyio

ACCEPTED: JsonObject = {"action": "accept", "content": {}}
NOTHING: JsonObject = {"io.modelcontextprotocol/clientCapabilities": {}}


def asks(request_id: Json, method: str = "elicitation/create") -> bytes:
    return encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"message": "?"}})


class Beside:
    """A server whose calls wait, and that has a stream beside them."""

    def __init__(self, *, plain: bool = False) -> None:
        """`plain`: it answers in JSON, and says nothing of a call before that."""
        self.plain = plain
        self.streams: list[Exchange] = []
        self.calls: list[Exchange] = []
        self.told: list[JsonObject] = []
        self.answers_after = 1
        """So many answers to its questions."""
        self.under_way = anyio.Event()

    @property
    def behave(self) -> Behave:
        calls = legacy(self._call)

        def behave(exchange: Exchange) -> None:
            if exchange.method == b"GET":
                self.streams.append(exchange)
                exchange.stream()
            elif exchange.method == b"POST" and "method" not in message(exchange):
                self.told.append(message(exchange))
                exchange.answer(b"", status=202)
                if len(self.told) >= self.answers_after:
                    self.answer()
            else:
                calls(exchange)

        return behave

    def answer(self) -> None:
        call = self.calls[-1]
        if self.plain:
            call.answer(result(call, DONE))
        else:
            call.event(result(call, DONE))
            call.end()

    def _call(self, exchange: Exchange) -> None:
        self.calls.append(exchange)
        if not self.plain:
            exchange.stream()
        self.under_way.set()


async def asked_aside(server: Beside, *questions: bytes) -> None:
    await server.under_way.wait()
    server.under_way = anyio.Event()
    for each in questions:
        server.streams[-1].event(each)


@pytest.mark.parametrize("plain", [False, True])
async def test_a_question_beside_its_call_is_asked_of_its_caller_and_its_answer_reaches_the_server(plain: bool) -> None:
    server = Beside(plain=plain)
    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        for number in (1, 2):
            group.start_soon(asked_aside, server, asks(f"e-{number}"))
            first = await call(upstream, tool(), a_request(params("modern")))
            assert isinstance(first, InputRequired)
            again = params("modern", inputResponses={"question": ACCEPTED})
            assert said(await call(upstream, tool(), a_request(again, continuation=first.state))) == DONE
    assert [(each["id"], each["result"]) for each in server.told] == [("e-1", ACCEPTED), ("e-2", ACCEPTED)]
    assert len(server.streams) == 1, "it stays open between the calls"
    assert server.streams[0].headers[b"mcp-session-id"] == b"s1"


async def test_log_lines_beside_a_call_reach_its_caller() -> None:
    server, heard = Beside(), list[str]()
    line = encode({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hello"}})

    async def emit(event: Event) -> None:
        assert isinstance(event, Log)
        heard.append(event.text)
        server.calls[-1].event(result(server.calls[-1], DONE))

    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        group.start_soon(asked_aside, server, line)
        with anyio.fail_after(60):
            await upstream.call(a_request(params("modern")), tool(), emit)
    assert heard == ["hello"]


async def test_a_question_nobody_can_be_asked_ends_the_stream_it_came_by_and_the_next_call_has_another() -> None:
    server = Beside()
    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        for number in (1, 2):
            group.start_soon(asked_aside, server, asks(f"e-{number}"))
            first = await call(upstream, tool(), a_request(params("modern")))
            assert isinstance(first, InputRequired)
            server.streams[-1].event(asks("late", "ping"))
            with anyio.fail_after(60):
                await server.streams[-1].gone.wait()
    assert len(server.streams) == 2


@pytest.mark.parametrize("wrong", [b"no json", encode({"jsonrpc": "2.0", "id": 1, "result": {}})])
async def test_what_makes_no_sense_beside_a_call_does_the_call_no_harm(wrong: bytes) -> None:
    server = Beside()

    async def then() -> None:
        await asked_aside(server, wrong)
        server.calls[-1].event(result(server.calls[-1], DONE))

    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        group.start_soon(then)
        assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE


async def test_a_client_that_can_be_asked_nothing_is_not_listened_for() -> None:
    server = Beside()

    async def then() -> None:
        await server.under_way.wait()
        server.calls[-1].event(result(server.calls[-1], DONE))

    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        group.start_soon(then)
        assert said(await call(upstream, tool(), a_request(params("modern", meta=NOTHING)))) == DONE
    assert server.streams == []


async def test_a_server_that_leaves_the_question_for_a_stream_unanswered_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_legacy, "HEAR_S", 2.0)
    asked: list[Exchange] = []

    def done(exchange: Exchange) -> None:
        exchange.stream()
        exchange.event(result(exchange, DONE))
        exchange.end()

    calls = legacy(done)

    def behave(exchange: Exchange) -> None:
        if exchange.method == b"GET":
            asked.append(exchange)  # held open, and never answered
        else:
            calls(exchange)

    async with bench(behave) as (_, upstream):
        for _ in range(2):
            assert said(await call(upstream, tool(), a_request(params("modern")))) == DONE
    assert len(asked) == 1


async def test_a_server_that_gives_two_callers_one_session_asks_each_on_a_stream_of_their_own() -> None:
    server, found = Beside(), dict[str, Result]()

    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:

        async def one(who: str) -> None:
            found[who] = await call(upstream, tool(), a_request(params("modern"), subject=who))

        for who in ("ana", "bob"):
            group.start_soon(one, who)
            await server.under_way.wait()
            server.under_way = anyio.Event()
        assert {each.headers[b"mcp-session-id"] for each in server.streams} == {b"s1"}
        server.streams[0].event(asks("e-1"))
        while "ana" not in found:
            await anyio.wait_all_tasks_blocked()
        assert isinstance(found["ana"], InputRequired)
        server.calls[1].event(result(server.calls[1], DONE))
    assert len(server.streams) == 2
    assert said(found["bob"]) == DONE


async def test_a_call_that_is_answered_in_json_after_lines_and_two_questions_beside_it() -> None:
    server, heard = Beside(plain=True), list[str]()
    line = encode({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hello"}})
    server.answers_after = 2

    async def emit(event: Event) -> None:
        assert isinstance(event, Log)
        heard.append(event.text)

    async with bench(server.behave) as (_, upstream), anyio.create_task_group() as group:
        group.start_soon(asked_aside, server, line, asks("e-1"), asks("e-2"))
        first = await upstream.call(a_request(params("modern")), tool(), emit)
        assert isinstance(first, InputRequired)
        again = params("modern", inputResponses={"question": ACCEPTED})
        second = await call(upstream, tool(), a_request(again, continuation=first.state))
        assert isinstance(second, InputRequired)
        assert said(await call(upstream, tool(), a_request(again, continuation=second.state))) == DONE
    assert heard == ["hello"]
    assert [each["id"] for each in server.told] == ["e-1", "e-2"]


async def test_a_call_in_json_whose_session_says_nothing_any_more_keeps_its_answer() -> None:
    server = Beside(plain=True)
    behave = server.behave

    def once(exchange: Exchange) -> None:
        if exchange.method == b"GET" and server.streams:
            exchange.answer(b"", status=409)  # to the server it may have its stream still
        else:
            behave(exchange)

    async with bench(once) as (_, upstream), anyio.create_task_group() as group:
        # What follows the question makes no sense, and ends the stream.
        group.start_soon(asked_aside, server, asks("e-1") + b"\r\n\r\ndata: {")
        asked = await call(upstream, tool(), a_request(params("modern")))
        assert isinstance(asked, InputRequired)
        again = params("modern", inputResponses={"question": ACCEPTED})
        assert said(await call(upstream, tool(), a_request(again, continuation=asked.state))) == DONE
    assert [each["id"] for each in server.told] == ["e-1"]


async def test_a_call_without_an_answer_in_json_ends_in_time_and_the_server_is_told() -> None:
    server = Beside(plain=True)
    async with bench(server.behave) as (_, upstream):
        with anyio.fail_after(60), pytest.raises(DeadlineExceeded):
            await upstream.call(a_request(params("modern"), within_s=5), tool(), ignore_event)
        await server.calls[0].gone.wait()
    assert server.streams, "it was listened to"


class Connection:
    """See `Source`."""

    def __init__(self) -> None:
        self.closed = False

    def abort(self) -> None:
        self.closed = True

    def resume(self) -> None: ...

    def hurry(self, until_s: float) -> None: ...


async def test_an_answer_that_began_while_its_caller_was_asked_ends_with_the_call() -> None:
    connection, began = Connection(), anyio.Event()

    async def begin() -> Response:
        began.set()
        return Response(connection, asyncio.get_running_loop().create_future(), 1e9, "shop")

    unanswered = Unanswered(1, b"", begin(), 1e9, LoopClock())
    with anyio.fail_after(30):
        await began.wait()
        await anyio.wait_all_tasks_blocked()
    unanswered.close()
    assert connection.closed
