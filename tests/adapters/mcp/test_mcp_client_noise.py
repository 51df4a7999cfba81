"""Messages of servers with members of every wrong kind: what comes behind them is heard all the same."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.mcp.client_answers import Answers
from adapters.mcp.client_channel import Call, Channel
from adapters.mcp.client_conversation import Conversation
from adapters.mcp.client_exchange import Asked, nothing
from adapters.mcp.client_params import outgoing
from adapters.mcp.client_updates import Updates
from adapters.mcp.client_wire import Message, own_answer
from adapters.mcp.settings import ServerSettings
from adapters.mcp.wire import encode
from gateway.core.errors import GatewayError, UpstreamFailed
from gateway.core.json import JsonObject
from gateway.core.limits import Limits
from gateway.core.model import ignore_event
from tests.adapters.mcp.test_mcp_client_http import bench, modern, result
from tests.fakes_mcp_client import LoopClock, a_request, call, params, parts, said, tool
from tests.fakes_upstreams import Exchange

SEED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DONE: JsonObject = {"content": [], "isError": False}

SCALARS = st.sampled_from(
    [
        *(b"null", b"true", b"0", b"-1", b"1", b"1.5", b"1e999", b'"1"', b'""', b"[]", b"{}", b'{"a":{}}', b"[[[[]]]]"),
        *(b'"\\ud800"', b'"\\u0000"', b'"note://a"', b"123456789012345678901234567890", b'{"uri":"\\ud800"}'),
        *(b'{"uri":7}', b'{"progressToken":1,"progress":"x"}', b'{"progressToken":1,"progress":1}', b'{"level":7}'),
        *(b'{"level":"info","data":"\\udc00"}', b'{"progressToken":1,"progress":1e999}', b"[" * 600 + b"]" * 600),
    ]
)
METHODS = st.sampled_from(
    [
        *(b'"ping"', b'"notifications/progress"', b'"notifications/message"', b'"notifications/resources/updated"'),
        *(b'"notifications/tools/list_changed"', b'"elicitation/create"', b'"x"', b'""', b"7"),
    ]
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        b"jsonrpc": SCALARS | st.just(b'"2.0"'),
        b"id": SCALARS,
        b"method": METHODS,
        b"params": SCALARS,
        b"result": SCALARS,
        b"error": SCALARS,
    },
)
NOISE = st.lists(
    MEMBERS.map(lambda each: b"{%b}" % b",".join(b'"%b":%b' % pair for pair in each.items())) | SCALARS, max_size=5
)


class Deaf:
    """A program that is told things and says nothing."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def send(self, line: bytes) -> None:
        self.heard.append(line)

    def kill(self) -> None:
        raise AssertionError("a few odd lines break nothing")


def answers() -> Answers:
    return Answers("shop", ServerSettings(command=("x",)), parts(clock=LoopClock()).seal)


async def by_program(noise: list[bytes]) -> None:
    conversation = Conversation(answers(), LoopClock(), lambda: None, Updates(), event_bytes=1000)
    program: Any = Deaf()
    conversation.process = program
    out = outgoing(a_request(params("legacy", meta={"progressToken": "t"})), tool(), "legacy", None, "")
    raw: list[bytes] = []

    async def ask() -> None:
        try:
            answer = await conversation.request(out, asker=a_request(), emit=ignore_event, deadline_s=1e12)
            raw.append(b"" if isinstance(answer, Asked) else bytes(answer))
        except GatewayError:
            raw.append(b"")  # one of the lines was an answer to it

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for each in noise:
            conversation.line(each)
        conversation.line(encode({"jsonrpc": "2.0", "id": 1, "result": DONE}))
    assert raw in ([encode(DONE)], [b""]) or any(b'"result"' in each for each in noise)


async def by_stream(noise: list[bytes]) -> None:
    refused: list[Message] = []

    def refuse(channel: Channel, message: Message) -> None:
        own_answer(message)
        refused.append(message)

    channel = Channel("http://127.0.0.1/sse", answers(), Limits(), lambda: None, Updates(), refuse)
    channel.received(b"event: endpoint\ndata: /post\n\n")
    waiting = Call(number=1, token=None, may_ask=nothing, deadline_s=1e12, give_up=lambda call: None)
    channel.expect(waiting)
    for each in [*noise, encode({"jsonrpc": "2.0", "id": 1, "result": DONE})]:
        channel.received(b"data: %b\n\n" % each)
    assert waiting.answer is not None
    assert channel.over is None or isinstance(channel.over, UpstreamFailed)


async def by_answer(noise: list[bytes]) -> None:
    def speak(exchange: Exchange) -> None:
        if not exchange.body:
            exchange.answer(b"", status=405)
            return
        exchange.stream(*noise, result(exchange, DONE))
        exchange.end()

    async with bench(modern(speak)) as (_, upstream):
        try:
            answered = await call(upstream, tool(), a_request(params("modern")))
        except GatewayError as error:
            assert not hasattr(error, "member") and error.message.startswith("shop")
            return
        assert said(answered)


@pytest.mark.parametrize("way", [by_program, by_stream], ids=lambda way: str(way.__name__))
@SEED
@given(NOISE)
def test_no_message_of_a_server_takes_the_next_one_away(way: Callable[[list[bytes]], Any], noise: list[bytes]) -> None:
    anyio.run(way, noise)


@settings(SEED, max_examples=60)
@given(NOISE)
def test_what_a_server_says_wrong_is_the_servers_fault(noise: list[bytes]) -> None:
    anyio.run(by_answer, noise)
